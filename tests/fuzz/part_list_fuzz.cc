// Part lists from untrusted bytes. What is accepted covers rows, stays inside its keys and values,
// and every run can be read. Two bytes of flags, two of status, two that say where the payload
// begins.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/table/messages.h"

using namespace shoal;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

template <class Run>
void look_at(std::span<const Run> runs, std::span<const KeySignature> signatures, bool by_keys,
             std::uint64_t keys) {
  std::uint64_t parts = 0;
  require(!runs.empty());
  for (const auto& run : runs) {
    require(run.part_count > 0 && run.row_count >= run.part_count);
    require(run.row_begin + run.row_count > run.row_begin);
    require(!by_keys || run.row_begin + run.row_count <= keys);
    parts += run.part_count;
  }
  require(parts <= kPartsMax);
  require(signatures.empty() || signatures.size() == parts);
  for (const auto& signature : signatures) require(signature == signature);  // reads them
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint16_t head[3] = {};
  if (size < sizeof head) return 0;
  std::memcpy(head, data, sizeof head);
  const auto rest = size - sizeof head;
  const std::size_t meta_bytes = std::min<std::size_t>(head[2], rest);
  std::vector<std::uint64_t> meta((meta_bytes + 7) / 8);  // aligned, as the transports do
  if (meta_bytes > 0) std::memcpy(meta.data(), data + sizeof head, meta_bytes);

  FrameView frame;
  frame.header.flags = head[0];
  frame.header.status = head[1];
  frame.meta = std::as_bytes(std::span(meta)).first(meta_bytes);
  frame.payload = std::as_bytes(std::span(data + sizeof head + meta_bytes, rest - meta_bytes));
  const bool by_keys = (head[0] & frame_flag::kKeyList) != 0;
  const bool burnt = (head[0] & frame_flag::kBurnt) != 0;

  if (const auto push = parse_push(frame); push.ok()) {
    const auto keys = push->prefix.keys.bytes != 0 ? push->prefix.keys.bytes / sizeof(Key)
                                                   : frame.payload.size() / sizeof(Key);
    look_at(push->runs, push->signatures, by_keys && !burnt, keys);
    for (const auto& run : push->runs)
      require(run.first_q.value != 0 && run.first_q.value + run.part_count > run.first_q.value);
  }
  if (const auto pull = parse_pull(frame); pull.ok()) {
    const auto keys = pull->prefix.keys.bytes != 0 ? pull->prefix.keys.bytes / sizeof(Key)
                                                   : frame.payload.size() / sizeof(Key);
    look_at(pull->runs, pull->signatures, by_keys, keys);
  }
  if (const auto answer = parse_answer(frame); answer.ok())
    for (const auto code : answer->part_codes) require(!name_of(static_cast<Errc>(code)).empty());
  if (parse_directory(frame).ok()) require(meta_bytes == sizeof(DirectoryMeta));
  std::size_t slots = 0;
  if (for_each_directory_slot(frame.payload, [&](const DirectorySlot&) { ++slots; }).ok())
    require(slots * sizeof(DirectorySlot) == frame.payload.size());
  return 0;
}
