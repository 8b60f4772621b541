#include "perf/messages.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "core/base/random.h"

namespace shoal::perf {

namespace {

/// Calls `piece(bytes of the buffer, bytes of the pattern)` for each eight bytes, while it is true.
template <class Span, class Piece>
bool for_each_word(Span buffer, std::uint64_t index, Piece&& piece) {
  for (std::size_t at = 0; at < buffer.size(); at += 8) {
    const auto word = mix64(index << 32 | at / 8);
    if (!piece(buffer.subspan(at, std::min<std::size_t>(8, buffer.size() - at)), &word))
      return false;
  }
  return true;
}

}  // namespace

void encode(Writer& out, const Begin& begin) {
  out.put(begin.op);
  out.put(begin.wait);
  out.put_bool(begin.echo);
  out.put_bool(begin.check);
  out.put(begin.bytes);
  out.put(begin.inflight);
  out.put(begin.memory);
}

Result<Begin> decode_begin(std::span<const std::byte> meta) {
  Reader in(meta);
  Begin begin;
  begin.op = in.get_enum<Op>(kOpCount);
  begin.wait = in.get_enum<Wait>(2);
  begin.echo = in.get_bool();
  begin.check = in.get_bool();
  begin.bytes = in.get<std::uint64_t>();
  begin.inflight = in.get<std::uint32_t>();
  begin.memory = in.get<RemoteSpan>();
  SHOAL_TRY(in.finish("start of a measurement"));
  if (is_table_op(begin.op) || begin.bytes == 0 || begin.bytes > bytes_max(begin.op) ||
      begin.inflight == 0 || begin.inflight > kInflightMax)
    return Error{Errc::invalid_argument,
                 fmt::format("{} operations of {} bytes under way: at most {} of at most {} bytes",
                             begin.inflight, begin.bytes, kInflightMax, bytes_max(begin.op))};
  return begin;
}

void fill_pattern(std::span<std::byte> buffer, std::uint64_t index) {
  for_each_word(buffer, index, [](std::span<std::byte> bytes, const void* word) {
    std::memcpy(bytes.data(), word, bytes.size());
    return true;
  });
}

bool has_pattern(std::span<const std::byte> buffer, std::uint64_t index) {
  return for_each_word(buffer, index, [](std::span<const std::byte> bytes, const void* word) {
    return std::memcmp(bytes.data(), word, bytes.size()) == 0;
  });
}

}  // namespace shoal::perf
