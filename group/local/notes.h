#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "core/base/result.h"
#include "group/local/meeting.h"

namespace shoal::local {

enum class Call : std::uint32_t { reduce_scatter, all_gather, agree };
std::string_view name_of(Call call);

/// What a member calls for, and how it fared: shown at the first step of each operation.
struct CallNote {
  Call call = Call::agree;
  Errc code = Errc::ok;  ///< of what it tells by agree()
  DType dtype = DType::f32;
  Aggregate aggregate = Aggregate::sum;
  std::uint32_t table = 0;
  std::int64_t clock = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t unit = 0;  ///< rows that shares do not divide: other units, other shares
  std::uint64_t row_values = 0;
  std::uint64_t bytes = 0;  ///< of the buffer that has all rows
  std::array<char, 480> text{};

  static CallNote of(Call call, const GroupWork& work, std::uint64_t bytes);
  static CallNote of(const Status& status);
};

/// Meets for a call. Errors: as Meeting::step's; what a member tells by agree(); mismatch, naming
/// the first field in which one differs from member 0.
Status meet(Meeting& meeting, const CallNote& note, TimePoint deadline);

/// Errors: invalid_argument (`last`, another group's shares), mismatch (a buffer of another size).
Status check(const GroupWork& work, const Meeting& meeting, std::uint64_t all_bytes,
             std::uint64_t share_bytes);

/// Copies as much as has room and ends it with 0.
template <std::size_t N>
void set_text(std::array<char, N>& to, std::string_view text) {
  to[text.copy(to.data(), N - 1)] = 0;
}

}  // namespace shoal::local
