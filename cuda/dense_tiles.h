#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "core/base/assert.h"
#include "core/memory/dtype.h"
#include "core/ops/combine.h"
#include "core/ops/rule_kind.h"
#include "cuda/tiles.h"

namespace shoal::cuda {

/// What runs of consecutive rows are updated with, several segments in one launch: each value of
/// all pushes is read once, combined in the order of the pushes, and given to the element with
/// weight and states, which are read and written once. So a round's fold and its update are one
/// pass. The same bits as the host's kernels: value by value it is the same arithmetic.
///
/// Element: `(S& weight, S& state..., S input...) const`. Weights are of type T, pushed values of
/// In, states and all arithmetic of S.
template <class Element, class T, class In, std::uint32_t States, std::uint32_t Inputs,
          Aggregate A = Aggregate::sum>
class DenseTiles {
  using S = Accumulator<T>;
  /// Values that a thread takes at a time: of each array whole packs.
  static constexpr std::uint32_t kN = std::max(kRun<T>, kRun<In>);
  static constexpr std::uint64_t kTileValues = kBlockThreads * kUnroll * kN;
  static constexpr std::uint32_t kStateArrays = std::max(1u, States);
  static constexpr std::uint32_t kInputArrays = std::max(1u, Inputs);
  static constexpr std::uint32_t kLoads = 8;  ///< pushes that are loaded before the first is added

 public:
  /// Pushes of an update; more must be combined in several steps.
  static constexpr std::uint32_t kPushesMax = Inputs == 0 ? 0 : 16;

  /// For segments of one table. States must be packed, as dense segments have them.
  DenseTiles(const RowShape& shape, std::uint32_t pushes)
      : state_stride_(shape.state_stride), width_(shape.width), pushes_(pushes) {
    SHOAL_ASSERT(pushes <= kPushesMax && (Inputs == 0) == (pushes == 0), "pushes of an update");
    SHOAL_ASSERT(States == 0 || shape.state_row_bytes == 0 ||
                     shape.state_row_bytes == shape.width * sizeof(S),
                 "states of dense rows are packed");
  }

  /// `count` rows from row `first`, with a value of each push, which is aligned to its type, for
  /// each value and input. False: no more fits into this launch.
  bool add(const SegmentArrays& arrays, std::size_t first, std::size_t count,
           std::span<const std::byte* const> pushes, const Element& element) {
    SHOAL_ASSERT(pushes.size() == pushes_, "as many pushes as the launch is for");
    if (count == 0) return true;
    const auto tiles = (count * width_ + kTileValues - 1) / kTileValues;
    if (items_ == kItemsMax || tiles > kTilesMax - tiles_) return false;
    auto& item = item_[items_++];
    item.weights = reinterpret_cast<T*>(arrays.weights) + first * width_;
    item.values = count * width_;
    item.first_tile = tiles_;
    item.element = element;
    item.packed = on_pack(item.weights);
    if constexpr (States != 0) {
      item.states = arrays.states + first * width_ * sizeof(S);
      item.packed = item.packed && on_pack(item.states) && state_stride_ % kPackBytes == 0;
    }
    if constexpr (Inputs != 0)
      for (std::size_t p = 0; p < pushes.size(); ++p) {
        item.pushes[p] = reinterpret_cast<const In*>(pushes[p]);
        item.packed = item.packed && (Inputs > 1 || on_pack(pushes[p]));
      }
    tiles_ += static_cast<std::uint32_t>(tiles);
    return true;
  }

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return tiles_; }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto& item = item_[item_of(tile)];
    const auto begin = (tile - item.first_tile) * kTileValues + thread * kN;
    Values<kN> values[kUnroll];
    SHOAL_UNROLL
    for (std::uint32_t u = 0; u < kUnroll; ++u)
      if (const auto at = begin + u * kBlockThreads * kN; at + kN <= item.values)
        load(item, at, item.packed, values[u]);
    SHOAL_UNROLL
    for (std::uint32_t u = 0; u < kUnroll; ++u) {
      const auto at = begin + u * kBlockThreads * kN;
      if (at + kN <= item.values) {
        update(item, at, item.packed, values[u]);
      } else {
        for (auto one = at; one < item.values; ++one) {
          Values<1> alone;
          load(item, one, false, alone);
          update(item, one, false, alone);
        }
      }
    }
  }

 private:
  struct Item {
    T* weights;
    std::byte* states;
    const In* pushes[std::max(1u, kPushesMax)];
    std::uint64_t values;
    std::uint32_t first_tile;
    bool packed;  ///< all arrays begin on a pack
    Element element;
  };
  static constexpr std::uint32_t kItemsMax =
      std::min<std::uint32_t>(64, (kBodyBytesMax - 64) / sizeof(Item));
  static constexpr std::uint64_t kTilesMax = 0x7fffffff;

  /// What a thread has in registers: N values next to each other.
  template <std::uint32_t N>
  struct Values {
    T weights[N];
    S states[kStateArrays][N];
    S inputs[kInputArrays][N];
  };

  SHOAL_HOST_DEVICE std::uint32_t item_of(std::uint32_t tile) const {
    std::uint32_t low = 0;
    for (std::uint32_t high = items_; high - low > 1;) {
      const auto middle = (low + high) / 2;
      (item_[middle].first_tile <= tile ? low : high) = middle;
    }
    return low;
  }

  SHOAL_HOST_DEVICE S* state(const Item& item, std::uint32_t k, std::uint64_t at) const {
    return reinterpret_cast<S*>(item.states + k * state_stride_) + at;
  }

  template <std::uint32_t N>
  SHOAL_HOST_DEVICE void load(const Item& item, std::uint64_t at, bool packed,
                              Values<N>& to) const {
    load_run(to.weights, item.weights + at, packed);
    if constexpr (States != 0) {
      SHOAL_UNROLL
      for (std::uint32_t k = 0; k < States; ++k) load_run(to.states[k], state(item, k, at), packed);
    }
    if constexpr (Inputs != 0) {
      SHOAL_UNROLL
      for (std::uint32_t k = 0; k < Inputs; ++k) load_input(item, k, at, packed, to.inputs[k]);
    }
  }

  /// Input k of all pushes, combined.
  template <std::uint32_t N>
  SHOAL_HOST_DEVICE void load_input(const Item& item, std::uint32_t k, std::uint64_t at,
                                    bool packed, S (&to)[N]) const {
    In pushed[kLoads][N];
    load_pushed(item.pushes[0], k, at, packed, pushed[0]);
    SHOAL_UNROLL
    for (std::uint32_t i = 0; i < N; ++i) to[i] = static_cast<S>(pushed[0][i]);
    for (std::uint32_t begin = 1; begin < pushes_; begin += kLoads) {
      SHOAL_UNROLL
      for (std::uint32_t p = 0; p < kLoads; ++p)
        if (begin + p < pushes_) load_pushed(item.pushes[begin + p], k, at, packed, pushed[p]);
      SHOAL_UNROLL
      for (std::uint32_t p = 0; p < kLoads; ++p)
        if (begin + p < pushes_) {
          SHOAL_UNROLL
          for (std::uint32_t i = 0; i < N; ++i)
            to[i] = math::combine<A>(to[i], static_cast<S>(pushed[p][i]));
        }
    }
  }

  template <std::uint32_t N>
  SHOAL_HOST_DEVICE void load_pushed(const In* push, std::uint32_t k, std::uint64_t at, bool packed,
                                     In (&to)[N]) const {
    if constexpr (Inputs == 1) {
      load_run(to, push + at, packed);
    } else {
      auto row = at / width_;
      auto column = static_cast<std::uint32_t>(at % width_);
      SHOAL_UNROLL
      for (std::uint32_t i = 0; i < N; ++i) {
        to[i] = push[(row * Inputs + k) * width_ + column];
        if (++column == width_) {
          column = 0;
          ++row;
        }
      }
    }
  }

  template <std::uint32_t N>
  SHOAL_HOST_DEVICE void update(const Item& item, std::uint64_t at, bool packed,
                                Values<N>& values) const {
    SHOAL_UNROLL
    for (std::uint32_t i = 0; i < N; ++i)
      update_one(item.element, values, i, std::make_index_sequence<States>(),
                 std::make_index_sequence<Inputs>());
    if constexpr (!KeepsWeights<Element>) store_run(item.weights + at, values.weights, packed);
    if constexpr (States != 0) {
      SHOAL_UNROLL
      for (std::uint32_t k = 0; k < States; ++k)
        store_run(state(item, k, at), values.states[k], packed);
    }
  }

  template <std::uint32_t N, std::size_t... K, std::size_t... I>
  SHOAL_HOST_DEVICE static void update_one(const Element& element, Values<N>& values,
                                           std::uint32_t i, std::index_sequence<K...>,
                                           std::index_sequence<I...>) {
    auto weight = static_cast<S>(values.weights[i]);
    element(weight, values.states[K][i]..., values.inputs[I][i]...);
    if constexpr (!KeepsWeights<Element>) values.weights[i] = static_cast<T>(weight);
  }

  std::size_t state_stride_;  ///< bytes from an item's state k to its state k + 1
  std::uint32_t width_;
  std::uint32_t pushes_;
  std::uint32_t items_ = 0;
  std::uint32_t tiles_ = 0;
  Item item_[kItemsMax];
};

}  // namespace shoal::cuda
