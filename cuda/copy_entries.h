#pragma once

#include <cstddef>
#include <cstdint>

#include "core/ops/copy_rows.h"
#include "core/ops/rule_kind.h"
#include "cuda/add_tiles.h"
#include "cuda/initial_tiles.h"
#include "cuda/listed_tiles.h"
#include "cuda/of_type.h"

namespace shoal::cuda {

/// Copies the weights of listed rows to `packed` rows (gather_rows), or from there (scatter_rows;
/// distinct rows), in units of `Unit`, of which rows and addresses are made.
template <class Unit, bool Gather>
class CopyTiles {
 public:
  CopyTiles(const ListedRows& rows, std::size_t row_bytes, std::byte* packed)
      : places_(rows), row_units_(row_bytes / sizeof(Unit)), teams_(row_units_), packed_(packed) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return teams_.tiles(places_.rows); }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto r = teams_.row(tile, thread);
    if (r >= places_.rows) return;
    const auto position = places_.positions[r];
    if (position == kAbsentRow) return;
    auto* row = reinterpret_cast<Unit*>(places_.page(position).weights) +
                places_.row(position) * row_units_;
    auto* out = reinterpret_cast<Unit*>(packed_) + r * row_units_;
    for (std::size_t i = teams_.member(thread); i < row_units_; i += teams_.size()) {
      if constexpr (Gather)
        out[i] = row[i];
      else
        row[i] = out[i];
    }
  }

 private:
  ListedPlaces places_;
  std::size_t row_units_;
  RowTeams teams_;
  std::byte* packed_;
};

/// What is done to rows beside updates, for an executor (see rule_entries.h).
template <class Executor>
class CopyEntries {
  template <bool Gather>
  static void copy(const ListedRows& rows, DType dtype, std::byte* packed,
                   RuleKernels::Stream stream) {
    const auto row_bytes = rows.shape.width * byte_size(dtype);
    const auto unit = row_bytes | reinterpret_cast<std::uintptr_t>(packed);
    if (unit % kPackBytes == 0)
      Executor::run(CopyTiles<Pack<std::uint32_t>, Gather>(rows, row_bytes, packed), stream);
    else if (unit % sizeof(std::uint64_t) == 0)
      Executor::run(CopyTiles<std::uint64_t, Gather>(rows, row_bytes, packed), stream);
    else if (unit % sizeof(std::uint32_t) == 0)
      Executor::run(CopyTiles<std::uint32_t, Gather>(rows, row_bytes, packed), stream);
    else
      Executor::run(CopyTiles<std::uint16_t, Gather>(rows, row_bytes, packed), stream);
  }

 public:
  /// `out` is aligned to the type.
  static void gather(const ListedRows& rows, DType dtype, std::byte* out,
                     RuleKernels::Stream stream) {
    copy<true>(rows, dtype, out, stream);
  }
  /// Distinct rows.
  static void scatter(const ListedRows& rows, DType dtype, const std::byte* in,
                      RuleKernels::Stream stream) {
    copy<false>(rows, dtype, const_cast<std::byte*>(in), stream);
  }
  /// Rows may repeat. `in` is aligned to the type.
  static void add(const ListedRows& rows, DType dtype, const std::byte* in,
                  RuleKernels::Stream stream) {
    of_type(dtype, [&]<class T>() { Executor::run(AddTiles<T>(rows, in), stream); });
  }
  static void initialize(const Initializer& initializer, DType dtype, Row first, std::size_t count,
                         std::uint32_t width, std::byte* rows, RuleKernels::Stream stream) {
    of_type(dtype, [&]<class T>() {
      Executor::run(InitialTiles<T>(initializer, first, count, width, reinterpret_cast<T*>(rows)),
                    stream);
    });
  }
};

}  // namespace shoal::cuda
