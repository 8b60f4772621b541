// Views and deltas from untrusted bytes: what is accepted makes sense, and has only one encoding.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "core/cluster/cluster_view.h"
#include "tests/core/cluster_fixture.h"

using namespace shoal;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto view = decode_view(bytes); view.ok()) {
    if (!check(*view).ok()) std::abort();
    const auto again = encode_view(*view);
    if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end())) std::abort();
  }
  static const auto from = small_view();
  if (const auto to = apply_delta(from, bytes); to.ok()) {
    if (!check(*to).ok() || to->epoch <= from.epoch) std::abort();
    if (const auto again = apply_delta(from, encode_delta(from, *to)); !again.ok()) std::abort();
  }
  return 0;
}
