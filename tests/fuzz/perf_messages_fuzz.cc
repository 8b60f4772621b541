// What a peer of `shoal perf` is asked for by untrusted bytes: accepted only within its bounds, and
// with one encoding.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "perf/messages.h"

using namespace shoal;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto begin = perf::decode_begin(bytes);
  if (!begin.ok()) return 0;
  if (begin->bytes > perf::bytes_max(begin->op) || begin->inflight > perf::kInflightMax)
    std::abort();
  std::vector<std::byte> again(perf::kMetaMax);
  Writer out(again);
  perf::encode(out, *begin);
  const auto written = out.written();
  if (!std::equal(written.begin(), written.end(), bytes.begin(), bytes.end())) std::abort();
  return 0;
}
