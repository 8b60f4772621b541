#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "core/memory/dtype.h"
#include "core/ops/math.h"
#include "cuda/listed_tiles.h"
#include "cuda/tiles.h"
#include "cuda/warp.h"

// Bodies that choose rows of an array and pack them: a score for each row, a flag, the indices of
// those that are flagged (Passes::select), and the rows themselves.

namespace shoal::cuda {

/// scores[r] = the greatest |values - base| of row r; infinity, if one of them is NaN.
template <class T>
class ScoreTiles {
  using S = Accumulator<T>;

 public:
  static constexpr bool kByWarp = true;

  /// `base` null: zeros.
  ScoreTiles(const T* values, const T* base, std::uint64_t rows, std::uint32_t width, float* scores)
      : values_(values),
        base_(base),
        rows_(rows),
        width_(width),
        teams_((width + kRun<T> - 1) / kRun<T>),
        scores_(scores) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return teams_.tiles(rows_); }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto first = thread / kWarpLanes * kWarpLanes;
    PerLane<float> scores;
    each(thread, [&](std::uint32_t lane) {
      const auto r = teams_.row(tile, first + lane);
      S most = 0;
      if (r < rows_)
        for (auto i = teams_.member(first + lane); i < width_; i += teams_.size())
          most = math::greater(most, difference(r * width_ + i));
      scores[lane] = static_cast<float>(most);
    });
    reduce_groups(scores, teams_.size(), [](float a, float b) { return math::greater(a, b); });
    each(thread, [&](std::uint32_t lane) {
      const auto r = teams_.row(tile, first + lane);
      if (r >= rows_ || teams_.member(first + lane) != 0) return;
      const float score = scores[lane];
      scores_[r] = score == score ? score : std::numeric_limits<float>::infinity();
    });
  }

 private:
  SHOAL_HOST_DEVICE S difference(std::uint64_t at) const {
    const auto value = static_cast<S>(values_[at]);
    return math::magnitude(base_ == nullptr ? value : value - static_cast<S>(base_[at]));
  }

  const T* values_;
  const T* base_;
  std::uint64_t rows_;
  std::uint32_t width_;
  RowTeams teams_;
  float* scores_;
};

/// flags[r] = scores[r] > threshold.
class FlagTiles : public OneEach {
 public:
  FlagTiles(const float* scores, float threshold, std::uint64_t rows, std::uint8_t* flags)
      : OneEach(rows), scores_(scores), threshold_(threshold), flags_(flags) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto r = element(tile, thread);
    if (has(r)) flags_[r] = scores_[r] > threshold_;
  }

 private:
  const float* scores_;
  float threshold_;
  std::uint8_t* flags_;
};

/// Keys whose ascending order is that of falling scores; and no flags.
class RankTiles : public OneEach {
 public:
  RankTiles(const float* scores, std::uint64_t rows, std::uint32_t* keys, std::uint32_t* indices,
            std::uint8_t* flags)
      : OneEach(rows), scores_(scores), keys_(keys), indices_(indices), flags_(flags) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto r = element(tile, thread);
    if (!has(r)) return;
    // No score has a sign, so their bits are in the order of the scores.
    keys_[r] = ~std::bit_cast<std::uint32_t>(scores_[r]);
    indices_[r] = static_cast<std::uint32_t>(r);
    flags_[r] = 0;
  }
  /// Of a score of 0.
  static constexpr std::uint32_t kLast = ~std::uint32_t{0};

 private:
  const float* scores_;
  std::uint32_t* keys_;
  std::uint32_t* indices_;
  std::uint8_t* flags_;
};

/// Flags the first rows of that order, but for those whose score is 0.
class MarkTiles : public OneEach {
 public:
  MarkTiles(const std::uint32_t* sorted_keys, const std::uint32_t* sorted_indices,
            std::uint64_t first, std::uint8_t* flags)
      : OneEach(first), keys_(sorted_keys), indices_(sorted_indices), flags_(flags) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (has(i) && keys_[i] != RankTiles::kLast) flags_[indices_[i]] = 1;
  }

 private:
  const std::uint32_t* keys_;
  const std::uint32_t* indices_;
  std::uint8_t* flags_;
};

/// What becomes of a row that was packed.
enum class Taken : std::uint8_t {
  kept,      ///< nothing
  cleared,   ///< all zeros: what was sent of a sum of gradients is not sent again
  recorded,  ///< copied to `base`: what the others know of it
};

/// out[i] = values[indices[i]] for the first *count rows of at most `rows`, in units of which rows
/// are made.
template <class Unit, Taken What>
class TakeTiles {
 public:
  TakeTiles(std::byte* values, std::byte* base, std::uint64_t rows, std::size_t row_bytes,
            const std::uint32_t* indices, const std::uint32_t* count, std::byte* out)
      : values_(reinterpret_cast<Unit*>(values)),
        base_(reinterpret_cast<Unit*>(base)),
        rows_(rows),
        row_units_(row_bytes / sizeof(Unit)),
        teams_(row_units_),
        indices_(indices),
        count_(count),
        out_(reinterpret_cast<Unit*>(out)) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return teams_.tiles(rows_); }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = teams_.row(tile, thread);
    if (i >= rows_ || i >= *count_) return;
    const auto from = indices_[i] * row_units_;
    for (std::size_t u = teams_.member(thread); u < row_units_; u += teams_.size()) {
      const auto unit = values_[from + u];
      out_[i * row_units_ + u] = unit;
      if constexpr (What == Taken::cleared) values_[from + u] = Unit{};
      if constexpr (What == Taken::recorded) base_[from + u] = unit;
    }
  }

 private:
  Unit* values_;
  Unit* base_;
  std::uint64_t rows_;
  std::size_t row_units_;
  RowTeams teams_;
  const std::uint32_t* indices_;
  const std::uint32_t* count_;
  Unit* out_;
};

}  // namespace shoal::cuda
