#include "core/table/messages.h"

#include <fmt/core.h>

#include <cstring>
#include <limits>

#include "core/table/geometry.h"

namespace shoal {

namespace {

constexpr std::size_t kAnswerAlignment = 8;
constexpr auto kLastErrc = static_cast<std::uint16_t>(Errc::untrusted);

Error malformed(const char* what, const char* why) {
  return {Errc::protocol, fmt::format("malformed {}: {}", what, why)};
}

bool adds_up(std::uint64_t a, std::uint64_t b, std::uint64_t max) {
  return a <= max && b <= max - a;
}

/// The prefix, and the runs and signatures in place. The rest of the checks need them.
template <class Parts>
Status read_lists(const FrameView& frame, const char* what, Parts& parts) {
  using Run = typename decltype(parts.runs)::element_type;
  const auto meta = frame.meta;
  if (meta.size() < sizeof parts.prefix) return malformed(what, "it is too short");
  std::memcpy(&parts.prefix, meta.data(), sizeof parts.prefix);
  auto rest = meta.subspan(sizeof parts.prefix);
  const std::size_t runs = parts.prefix.run_count;
  if (runs == 0) return malformed(what, "it has no runs");
  if (rest.size() / sizeof(Run) < runs)
    return malformed(what, "its length does not match its number of runs");
  if (reinterpret_cast<std::uintptr_t>(rest.data()) % alignof(Run) != 0)
    return malformed(what, "its runs are not aligned");
  parts.runs = {reinterpret_cast<const Run*>(rest.data()), runs};
  rest = rest.subspan(runs * sizeof(Run));
  std::uint64_t signatures = 0;
  if ((frame.header.flags & frame_flag::kSigned) != 0)
    for (const auto& run : parts.runs) signatures += run.part_count;
  if (rest.size() % sizeof(KeySignature) != 0 || rest.size() / sizeof(KeySignature) != signatures)
    return malformed(what, "its length does not match its number of runs and signatures");
  parts.signatures = {reinterpret_cast<const KeySignature*>(rest.data()),
                      static_cast<std::size_t>(signatures)};
  return {};
}

/// What all runs must fulfil: rows, parts, no sum that overflows, keys inside the list that was
/// sent.
template <class Run>
Status check_runs(std::span<const Run> runs, std::uint64_t keys, const char* what) {
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::uint64_t parts = 0;
  for (const auto& run : runs) {
    if (run.part_count == 0 || run.row_count < run.part_count)
      return malformed(what, "a run without rows or parts");
    if (!adds_up(run.row_begin, run.row_count, keys) || run.offset > kMax)
      return malformed(what, "a run beyond its end");
    parts += run.part_count;
  }
  if (parts > kPartsMax) return malformed(what, "too many parts");
  return {};
}

bool is_empty(const WireSpan& span) { return span.bytes == 0; }

/// How far runs may reach: to the end of the key list, as it was sent or is to be READ.
Result<std::uint64_t> key_limit(const FrameView& frame, const WireSpan& keys, const char* what) {
  constexpr auto kRowsMax = std::numeric_limits<std::uint64_t>::max() / 2;
  if ((frame.header.flags & frame_flag::kKeyList) == 0) {
    if (!is_empty(keys)) return malformed(what, "keys of a range");
    return kRowsMax;
  }
  const auto bytes = is_empty(keys) ? frame.payload.size() : keys.bytes;
  if (bytes % sizeof(Key) != 0 && !is_empty(keys)) return malformed(what, "half a key");
  return bytes / sizeof(Key);
}

Status check_push(const FrameView& frame, const PushParts& push) {
  const auto flags = frame.header.flags;
  const auto& meta = push.prefix;
  const bool burnt = (flags & frame_flag::kBurnt) != 0;
  const bool rendezvous = (flags & frame_flag::kRendezvous) != 0;
  if (meta.inputs == 0 || meta.inputs > kInputsMax) return malformed("push", "its inputs");
  if (burnt && rendezvous) return malformed("push", "burnt parts have no bytes to fetch");
  if (burnt || rendezvous) {
    if (!frame.payload.empty()) return malformed("push", "a payload that nothing needs");
  } else if (frame.payload.empty() || !is_empty(meta.keys) || !is_empty(meta.values)) {
    return malformed("push", "an eager push has its rows in the message");
  }
  if (burnt && !(is_empty(meta.keys) && is_empty(meta.values)))
    return malformed("push", "burnt parts have no bytes to fetch");
  if (rendezvous && is_empty(meta.values)) return malformed("push", "nothing to fetch");
  if (rendezvous && (flags & frame_flag::kKeyList) != 0 && is_empty(meta.keys))
    return malformed("push", "no keys to fetch");
  if (!push.signatures.empty() && (!rendezvous || is_empty(meta.keys)))
    return malformed("push", "signatures without keys to fetch");
  auto keys = std::numeric_limits<std::uint64_t>::max() / 2;
  if (!burnt) {
    SHOAL_ASSIGN(keys, key_limit(frame, meta.keys, "push"));
  }
  SHOAL_TRY(check_runs(push.runs, keys, "push"));
  const auto bytes = rendezvous ? meta.values.bytes : frame.payload.size();
  for (const auto& run : push.runs) {
    if (run.first_q.value == 0 ||
        !adds_up(run.first_q.value, run.part_count, std::numeric_limits<std::uint64_t>::max()))
      return malformed("push", "a sequence number");
    if (!burnt && run.offset >= bytes) return malformed("push", "values beyond their end");
  }
  return {};
}

Status check_pull(const FrameView& frame, const PullParts& pull) {
  const auto& meta = pull.prefix;
  const bool by_keys = (frame.header.flags & frame_flag::kKeyList) != 0;
  if (!frame.payload.empty() && (!by_keys || !is_empty(meta.keys)))
    return malformed("pull", "a payload that nothing needs");
  if (!pull.signatures.empty() && (is_empty(meta.keys) || is_empty(meta.destination)))
    return malformed("pull", "signatures without keys to fetch");
  if (by_keys && is_empty(meta.keys) && frame.payload.size() % sizeof(Key) != 0)
    return malformed("pull", "half a key");
  SHOAL_ASSIGN(const auto keys, key_limit(frame, meta.keys, "pull"));
  SHOAL_TRY(check_runs(pull.runs, keys, "pull"));
  for (const auto& run : pull.runs)
    if (!is_empty(meta.destination) && run.offset >= meta.destination.bytes)
      return malformed("pull", "a destination beyond its end");
  return {};
}

}  // namespace

Result<PushParts> parse_push(const FrameView& frame) {
  PushParts parts;
  SHOAL_TRY(read_lists(frame, "push", parts));
  SHOAL_TRY(check_push(frame, parts));
  return parts;
}

Result<PullParts> parse_pull(const FrameView& frame) {
  PullParts parts;
  SHOAL_TRY(read_lists(frame, "pull", parts));
  SHOAL_TRY(check_pull(frame, parts));
  return parts;
}

Result<DirectoryMeta> parse_directory(const FrameView& frame) {
  DirectoryMeta meta;
  if (frame.meta.size() != sizeof meta || !frame.payload.empty())
    return malformed("directory", "its length");
  std::memcpy(&meta, frame.meta.data(), sizeof meta);
  return meta;
}

Result<AnswerParts> parse_answer(const FrameView& frame) {
  AnswerParts parts;
  const auto meta = frame.meta;
  if (frame.header.status > kLastErrc) return malformed("answer", "an unknown status");
  if (meta.size() < sizeof parts.prefix) return malformed("answer", "it is too short");
  std::memcpy(&parts.prefix, meta.data(), sizeof parts.prefix);
  const std::size_t count = parts.prefix.part_count;
  const auto padded =
      (count * sizeof(std::uint16_t) + kAnswerAlignment - 1) & ~(kAnswerAlignment - 1);
  const auto rest = meta.subspan(sizeof parts.prefix);
  if (count > kPartsMax || padded > rest.size()) return malformed("answer", "its number of parts");
  if (reinterpret_cast<std::uintptr_t>(rest.data()) % alignof(std::uint16_t) != 0)
    return malformed("answer", "its part codes are not aligned");
  parts.part_codes = {reinterpret_cast<const std::uint16_t*>(rest.data()), count};
  for (const auto code : parts.part_codes)
    if (code > kLastErrc) return malformed("answer", "an unknown code of a part");
  parts.rest = rest.subspan(padded);
  const auto status = static_cast<Errc>(frame.header.status);
  if (!parts.rest.empty() && status == Errc::ok) return malformed("answer", "bytes after its end");
  if (parts.rest.size() > kReasonBytesMax && status != Errc::stale_view)
    return malformed("answer", "a reason that is too long");
  return parts;
}

}  // namespace shoal
