#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/memory/dtype.h"
#include "core/ops/copy_rows.h"
#include "core/ops/functor.h"
#include "core/ops/rule_kind.h"
#include "cuda/tiles.h"

namespace shoal::cuda {

/// How many threads of a block share a row, and so how rows are dealt to tiles: neighbours in a
/// warp take neighbouring packs of a row, as its bytes are all that they have in common.
class RowTeams {
 public:
  /// For rows of `packs` packs.
  explicit RowTeams(std::size_t packs)
      : shift_(static_cast<std::uint32_t>(
            std::bit_width(std::clamp<std::size_t>(packs, 1, kTeamMax) - 1))) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles(std::size_t rows) const {
    const std::size_t each = kBlockThreads >> shift_;
    return static_cast<std::uint32_t>((rows + each - 1) / each);
  }
  SHOAL_HOST_DEVICE std::uint64_t row(std::uint32_t tile, std::uint32_t thread) const {
    return std::uint64_t{tile} * (kBlockThreads >> shift_) + (thread >> shift_);
  }
  /// Which of a row's threads this one is, of how many.
  SHOAL_HOST_DEVICE std::uint32_t member(std::uint32_t thread) const {
    return thread & (size() - 1);
  }
  SHOAL_HOST_DEVICE std::uint32_t size() const { return 1u << shift_; }

 private:
  static constexpr std::size_t kTeamMax = 32;
  std::uint32_t shift_;
};

/// Rows by position as kernels see them: all of it in memory that they can read.
struct ListedPlaces {
  const SegmentArrays* pages;
  const std::uint32_t* positions;
  std::uint64_t rows;
  RowShape shape;

  explicit ListedPlaces(const ListedRows& listed)
      : pages(listed.pages),
        positions(listed.positions.data()),
        rows(listed.positions.size()),
        shape(listed.shape) {}

  SHOAL_HOST_DEVICE const SegmentArrays& page(std::uint32_t position) const {
    return pages[position >> shape.page_shift];
  }
  SHOAL_HOST_DEVICE std::uint32_t row(std::uint32_t position) const {
    return position & ((1u << shape.page_shift) - 1);
  }
  SHOAL_HOST_DEVICE std::uint32_t* step(std::uint32_t position) const {
    return reinterpret_cast<std::uint32_t*>(reinterpret_cast<std::byte*>(page(position).steps) +
                                            row(position) * shape.step_row_bytes);
  }
};

/// Raises the counts of distinct listed rows by one, or sets them to 0; of those that are there.
class StepTiles : public OneEach {
 public:
  StepTiles(const ListedRows& rows, bool reset)
      : OneEach(rows.positions.size()), places_(rows), reset_(reset) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto r = element(tile, thread);
    if (!has(r) || places_.positions[r] == kAbsentRow) return;
    auto* step = places_.step(places_.positions[r]);
    *step = reset_ ? 0 : *step + 1;
  }

 private:
  ListedPlaces places_;
  bool reset_;
};

/// What listed rows, which are distinct, are updated with, each by a team of threads; those at
/// kAbsentRow are left out. What the rows
/// have in common is `Elements`: `at(r, step)` gives the element of listed row r, whose count of
/// updates stands at `step`; `skips(r)`, if it has that, says that the row stays.
template <class Elements, class T, class In, std::uint32_t States, std::uint32_t Inputs>
class ListedTiles {
  using S = Accumulator<T>;
  using Element = decltype(std::declval<const Elements&>().at(std::uint64_t{}, nullptr));
  static constexpr std::uint32_t kN = std::max(kRun<T>, kRun<In>);

 public:
  /// `inputs`: row after row, aligned to In.
  ListedTiles(const ListedRows& rows, const std::byte* inputs, const Elements& elements)
      : places_(rows),
        teams_((rows.shape.width + kN - 1) / kN),
        inputs_(reinterpret_cast<const In*>(inputs)),
        elements_(elements),
        packed_(rows.shape.width % kN == 0 && rows.shape.state_stride % kPackBytes == 0 &&
                rows.shape.state_row_bytes % kPackBytes == 0 && on_pack(inputs)),
        state_row_bytes_(rows.shape.state_row_bytes != 0 ? rows.shape.state_row_bytes
                                                         : rows.shape.width * sizeof(S)) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return teams_.tiles(places_.rows); }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto r = teams_.row(tile, thread);
    if (r >= places_.rows) return;
    if constexpr (requires { elements_.skips(r); })
      if (elements_.skips(r)) return;
    const auto position = places_.positions[r];
    if (position == kAbsentRow) return;
    const auto& page = places_.page(position);
    const auto row = places_.row(position);
    const auto width = places_.shape.width;
    Row at{reinterpret_cast<T*>(page.weights) + std::uint64_t{row} * width,
           States == 0 ? nullptr : page.states + row * state_row_bytes_,
           Inputs == 0 ? nullptr : inputs_ + r * width * Inputs};
    const auto element = elements_.at(r, page.steps == nullptr         ? nullptr
                                         : places_.shape.steps_per_row ? places_.step(position)
                                                                       : page.steps);
    for (auto column = teams_.member(thread) * kN; column < width; column += teams_.size() * kN) {
      if (packed_) {
        update<kN>(at, column, element);
      } else {
        for (auto one = column; one < std::min(column + kN, width); ++one)
          update<1>(at, one, element);
      }
    }
  }

 private:
  struct Row {
    T* weights;
    std::byte* states;
    const In* inputs;
  };

  SHOAL_HOST_DEVICE S* state(const Row& row, std::uint32_t k, std::uint32_t column) const {
    return reinterpret_cast<S*>(row.states + k * places_.shape.state_stride) + column;
  }

  template <std::uint32_t N>
  SHOAL_HOST_DEVICE void update(const Row& row, std::uint32_t column,
                                const Element& element) const {
    T weights[N];
    S states[std::max(1u, States)][N];
    In inputs[std::max(1u, Inputs)][N];
    load_run(weights, row.weights + column, N > 1);
    if constexpr (States != 0) {
      SHOAL_UNROLL
      for (std::uint32_t k = 0; k < States; ++k) load_run(states[k], state(row, k, column), N > 1);
    }
    if constexpr (Inputs != 0) {
      SHOAL_UNROLL
      for (std::uint32_t k = 0; k < Inputs; ++k)
        load_run(inputs[k], row.inputs + k * places_.shape.width + column, N > 1);
    }
    SHOAL_UNROLL
    for (std::uint32_t i = 0; i < N; ++i)
      update_one(element, i, weights, states, inputs, std::make_index_sequence<States>(),
                 std::make_index_sequence<Inputs>());
    if constexpr (!KeepsWeights<Element>) store_run(row.weights + column, weights, N > 1);
    if constexpr (States != 0) {
      SHOAL_UNROLL
      for (std::uint32_t k = 0; k < States; ++k) store_run(state(row, k, column), states[k], N > 1);
    }
  }

  template <std::uint32_t N, std::size_t KS, std::size_t IS, std::size_t... K, std::size_t... I>
  SHOAL_HOST_DEVICE static void update_one(const Element& element, std::uint32_t i, T (&weights)[N],
                                           S (&states)[KS][N], const In (&inputs)[IS][N],
                                           std::index_sequence<K...>, std::index_sequence<I...>) {
    auto weight = static_cast<S>(weights[i]);
    element(weight, states[K][i]..., static_cast<S>(inputs[I][i])...);
    if constexpr (!KeepsWeights<Element>) weights[i] = static_cast<T>(weight);
  }

  ListedPlaces places_;
  RowTeams teams_;
  const In* inputs_;
  Elements elements_;
  bool packed_;
  std::size_t state_row_bytes_;
};

}  // namespace shoal::cuda
