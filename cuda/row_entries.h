#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/ops/row_kernels.h"
#include "core/ops/simple_rules.h"
#include "cuda/add_tiles.h"
#include "cuda/copy_tiles.h"
#include "cuda/dense_tiles.h"
#include "cuda/dispatch.h"
#include "cuda/initial_tiles.h"
#include "cuda/merge_entries.h"
#include "cuda/sum_tiles.h"

namespace shoal::cuda {

/// RowKernels, for an executor (see rule_entries.h).
template <class Executor>
class RowEntries {
  using Stream = RowKernels::Stream;

 public:
  static void initialize(const Initializer& initializer, DType dtype, Row first, std::size_t count,
                         std::uint32_t width, std::byte* rows, Stream stream) {
    of_type(dtype, [&]<class T>() {
      Executor::run(InitialTiles<T>(initializer, first, count, width, reinterpret_cast<T*>(rows)),
                    stream);
    });
  }
  static void gather(const ListedRows& rows, DType dtype, std::byte* out, Stream stream) {
    copy<true>(rows, dtype, out, stream);
  }
  static void scatter(const ListedRows& rows, DType dtype, const std::byte* in, Stream stream) {
    copy<false>(rows, dtype, const_cast<std::byte*>(in), stream);
  }
  /// Rows may repeat.
  static void scatter_add(const ListedRows& rows, DType dtype, const std::byte* in, Stream stream) {
    of_type(dtype, [&]<class T>() { Executor::run(AddTiles<T>(rows, in), stream); });
  }

  static void clear_sums(Aggregate aggregate, DType dtype, std::byte* sums, std::size_t count,
                         Stream stream) {
    of_type(dtype, [&]<class T>() {
      of_aggregate(aggregate, [&]<Aggregate A>() {
        using S = Accumulator<T>;
        Executor::run(ClearTiles<A, S>(reinterpret_cast<S*>(sums), count), stream);
      });
    });
  }
  static void start_sums(DType dtype, std::byte* sums, const std::byte* pushed, std::size_t count,
                         Stream stream) {
    of_type(dtype, [&]<class T>() {
      run_dense<T>(CombineElement<Aggregate::last>(), sums, pushed, count, stream);
    });
  }
  static void add_sums(Aggregate aggregate, DType dtype, std::byte* sums, const std::byte* pushed,
                       std::size_t count, Stream stream) {
    of_type(dtype, [&]<class T>() {
      of_aggregate(aggregate, [&]<Aggregate A>() {
        run_dense<T>(CombineElement<A>(), sums, pushed, count, stream);
      });
    });
  }
  static void add_listed_sums(Aggregate aggregate, DType dtype, std::byte* const* pages,
                              std::uint32_t page_shift, std::size_t row_values,
                              std::span<const std::uint32_t> positions, RuleInputs pushed,
                              Stream stream) {
    of_type(dtype, [&]<class T>() {
      of_aggregate(aggregate, [&]<Aggregate A>() {
        using S = Accumulator<T>;
        const auto run = [&]<class In>() {
          Executor::run(ListedSumTiles<A, S, In>(pages, page_shift, row_values, positions,
                                                 reinterpret_cast<const In*>(pushed.values)),
                        stream);
        };
        if (kSumsDiffer<T> && pushed.sums)
          run.template operator()<S>();
        else
          run.template operator()<T>();
      });
    });
  }

  static void finish_sums(DType dtype, std::byte* values, const std::byte* sums, std::size_t count,
                          Stream stream) {
    of_type(dtype, [&]<class T>() {
      using Element = CombineElement<Aggregate::last>;
      DenseTiles<Element, T, Accumulator<T>, 0, 1> tiles(RowShape{}, 1);
      tiles.add({values, nullptr, nullptr}, 0, count, {&sums, 1}, Element());
      Executor::run(tiles, stream);
    });
  }

  static void sum_runs(Aggregate aggregate, DType dtype, const PushRuns& runs,
                       std::size_t row_values, const std::byte* pushed, std::byte* sums,
                       Stream stream) {
    if (runs.begins.empty()) return;
    cuda::sum_runs<Executor>(
        {runs.begins.data(), runs.order.data(), runs.begins.size() - 1, nullptr}, dtype, aggregate,
        row_values, pushed, sums, stream);
  }

 private:
  template <bool Gather>
  static void copy(const ListedRows& rows, DType dtype, std::byte* packed, Stream stream) {
    const auto row_bytes = rows.shape.width * byte_size(dtype);
    of_unit(row_bytes | reinterpret_cast<std::uintptr_t>(packed), [&]<class Unit>() {
      Executor::run(CopyTiles<Unit, Gather>(rows, row_bytes, packed), stream);
    });
  }
  template <class T, class Element>
  static void run_dense(const Element& element, std::byte* sums, const std::byte* pushed,
                        std::size_t count, Stream stream) {
    DenseTiles<Element, Accumulator<T>, T, 0, 1> tiles(RowShape{}, 1);
    tiles.add({sums, nullptr, nullptr}, 0, count, {&pushed, 1}, element);
    Executor::run(tiles, stream);
  }
};

template <class Executor>
constexpr RowKernels row_kernels() {
  using Entries = RowEntries<Executor>;
  return {.initialize = &Entries::initialize,
          .gather = &Entries::gather,
          .scatter = &Entries::scatter,
          .clear_sums = &Entries::clear_sums,
          .start_sums = &Entries::start_sums,
          .add_sums = &Entries::add_sums,
          .add_listed_sums = &Entries::add_listed_sums,
          .finish_sums = &Entries::finish_sums,
          .sum_runs = &Entries::sum_runs};
}

}  // namespace shoal::cuda
