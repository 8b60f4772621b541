// Control messages from untrusted bytes: what is accepted has only one encoding. The first byte
// says which message.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "core/cluster/messages.h"
#include "core/table/table_spec.h"

using namespace shoal;

namespace {

template <class M>
void try_message(std::span<const std::byte> bytes) {
  const auto m = decode<M>(bytes);
  if (!m.ok()) return;
  std::vector<std::byte> buffer(bytes.size() + 64);
  Writer out(buffer);
  encode(out, *m);
  const auto again = out.written();
  if (!out.ok() || again.size() > bytes.size() ||
      !std::equal(again.begin(), again.end(), bytes.begin()))
    std::abort();
}

void try_spec(std::span<const std::byte> bytes) {
  Reader in(bytes);
  const auto spec = decode_table_spec(in);
  if (!in.finish("table spec").ok()) return;
  (void)validate(spec);
  (void)agrees(spec, spec);
  std::vector<std::byte> buffer(bytes.size() + 64);
  Writer out(buffer);
  encode(out, spec);
  const auto again = out.written();
  if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end())) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  switch (data[0] % 13) {
    case 0:
      try_message<Hello>(bytes);
      break;
    case 1:
      try_message<Welcome>(bytes);
      break;
    case 2:
      try_message<Join>(bytes);
      break;
    case 3:
      try_message<Joined>(bytes);
      break;
    case 4:
      try_message<Heartbeat>(bytes);
      break;
    case 5:
      try_message<Tick>(bytes);
      break;
    case 6:
      try_message<GlobalClock>(bytes);
      break;
    case 7:
      try_message<SetParameter>(bytes);
      break;
    case 8:
      try_message<Barrier>(bytes);
      break;
    case 9:
      try_message<Leave>(bytes);
      break;
    case 10:
      try_message<ReportLost>(bytes);
      break;
    case 12:
      try_message<Straggler>(bytes);
      break;
    default:
      try_spec(bytes);
      break;
  }
  return 0;
}
