#include "tests/kernels/rule_checks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "core/base/random.h"
#include "core/ops/copy_rows.h"
#include "core/ops/initializer.h"
#include "core/ops/rule_set.h"
#include "tests/core/rule_fixture.h"

namespace shoal::test {

namespace {

const RuleSet& builtin() {
  static const auto rules = RuleSet::builtin();
  return rules;
}

/// A rule with the parameters of a reference, its two forms, and two tables
/// with the same rows, one for each.
template <class T>
class Pair {
 public:
  using S = Accumulator<T>;

  Pair(RuleTarget& target, const Reference& reference, std::size_t pages, std::size_t rows,
       std::uint32_t width, bool by_row, std::uint64_t seed)
      : target_(target),
        reference_(reference),
        rule_(*builtin().find(reference.rule), reference, dtype_of<T>(), host::Simd::baseline),
        kernels_(target.kernels(reference.rule)[static_cast<std::size_t>(dtype_of<T>())]),
        layout_(StateLayout::of(rule_.kind().traits.states, rule_.kind().counts_steps,
                                dtype_of<T>(), rows, width, by_row)),
        rows_(rows),
        width_(width),
        random_(seed) {
    std::uint32_t shift = 0;
    while ((std::size_t{1} << shift) < rows) ++shift;
    shape_ = layout_.shape(width, shift);
    for (auto& table : tables_) make(table, pages);
    for (std::size_t p = 0; p < pages; ++p) {
      auto* weights = reinterpret_cast<T*>(arrays(kHost, p).weights);
      for (std::size_t i = 0; i < rows * width; ++i)
        weights[i] = of_double<T>((std::is_integral_v<T> ? 1000 : 1) *
                                  (random_.chance(0.2) ? 0 : 2 * random_.uniform() - 1));
      std::memcpy(arrays(kKernels, p).weights, weights, rows * width * sizeof(T));
    }
  }

  enum Side { kHost, kKernels };
  const RawRule& rule() const { return rule_; }
  const void* functor() const { return rule_.functor(); }
  const RuleKernels& kernels(Side side) const { return side == kHost ? rule_.kernels() : kernels_; }
  const RowShape& shape() const { return shape_; }
  const SegmentArrays& arrays(Side side, std::size_t page) const {
    return tables_[side].arrays[page];
  }
  DenseRows dense(Side side, std::size_t page, std::size_t first, std::size_t count) const {
    return {arrays(side, page), shape_, first, count};
  }
  ListedRows listed(Side side, std::span<const std::uint32_t> positions) const {
    return {tables_[side].arrays, shape_, positions};
  }
  Random& random() { return random_; }

  /// Values of V in memory that kernels read, a push for so many rows.
  template <class V>
  const std::byte* pushed(std::size_t rows) {
    const auto values =
        random_inputs<V>(random_, reference_, rule_.kind().traits.inputs, rows, width_);
    return copy(values);
  }
  template <class V>
  const std::byte* copy(const std::vector<V>& values) {
    auto* memory = target_.allocate(std::max<std::size_t>(1, values.size()) * sizeof(V));
    if (!values.empty()) std::memcpy(memory, values.data(), values.size() * sizeof(V));
    return memory;
  }

  void raise_steps(std::size_t page) {
    for (const auto side : {kHost, kKernels})
      if (auto* steps = arrays(side, page).steps) ++*steps;
  }

  void expect_same() {
    target_.finish();
    for (std::size_t p = 0; p < tables_[kHost].pages; ++p) {
      ASSERT_EQ(0, std::memcmp(arrays(kHost, p).weights, arrays(kKernels, p).weights,
                               rows_ * width_ * sizeof(T)))
          << "weights of page " << p;
      if (layout_.bytes == 0) continue;
      ASSERT_EQ(0, std::memcmp(arrays(kHost, p).states, arrays(kKernels, p).states, layout_.bytes))
          << "states of page " << p;
    }
  }

 private:
  struct Table {
    SegmentArrays* arrays = nullptr;
    std::size_t pages = 0;
  };
  void make(Table& table, std::size_t pages) {
    table.arrays = reinterpret_cast<SegmentArrays*>(target_.allocate(pages * sizeof *table.arrays));
    table.pages = pages;
    for (std::size_t p = 0; p < pages; ++p) {
      auto* weights = target_.allocate(rows_ * width_ * sizeof(T));
      std::byte* states = nullptr;
      if (layout_.bytes != 0) {
        states = target_.allocate(layout_.bytes);
        std::memset(states, 0, layout_.bytes);
      }
      table.arrays[p] = {weights, states,
                         rule_.kind().counts_steps
                             ? reinterpret_cast<std::uint32_t*>(states + layout_.steps_offset)
                             : nullptr};
    }
  }

  RuleTarget& target_;
  const Reference& reference_;
  RawRule rule_;
  const RuleKernels& kernels_;
  StateLayout layout_;
  RowShape shape_;
  std::size_t rows_;
  std::uint32_t width_;
  Random random_;
  Table tables_[2];
};

/// Calls f.operator()<T, In>() for each type of weights and of pushed values.
template <class F>
void for_each_type(const Reference& reference, const F& f) {
  f.template operator()<float, float>();
  f.template operator()<double, double>();
  f.template operator()<Float16, Float16>();
  f.template operator()<Float16, float>();
  f.template operator()<BFloat16, BFloat16>();
  f.template operator()<BFloat16, float>();
  if (!reference.integers) return;
  f.template operator()<std::int32_t, std::int32_t>();
  f.template operator()<std::int64_t, std::int64_t>();
}

template <class T, class In>
RuleInputs inputs_of(const std::byte* values) {
  return std::is_same_v<T, In> ? RuleInputs(values) : RuleInputs::of_sums(values);
}

struct Run {
  std::size_t rows, first, count;
};

/// Small whole numbers, of which sums are exact in any order and type.
template <class T>
void check_additions_of(RuleTarget& target) {
  constexpr std::uint32_t kPages = 2, kShift = 5, kListed = 500;
  for (const std::uint32_t width : {1, 3, 8, 64, 260})
    for (const std::size_t offset : {0, 1}) {
      SCOPED_TRACE(testing::Message() << name_of(dtype_of<T>()) << ", width " << width);
      Random random(width + offset);
      const auto values = std::size_t{width} << kShift;
      auto* pages =
          reinterpret_cast<SegmentArrays*>(target.allocate(kPages * sizeof(SegmentArrays)));
      std::vector<double> expected(kPages * values);
      for (std::uint32_t p = 0; p < kPages; ++p) {
        pages[p] = {target.allocate(values * sizeof(T)), nullptr, nullptr};
        for (std::size_t i = 0; i < values; ++i) {
          expected[p * values + i] = static_cast<double>(random.below(9)) - 4;
          reinterpret_cast<T*>(pages[p].weights)[i] = of_double<T>(expected[p * values + i]);
        }
      }
      auto* positions =
          reinterpret_cast<std::uint32_t*>(target.allocate(kListed * sizeof(std::uint32_t)));
      auto* in =
          reinterpret_cast<T*>(target.allocate((kListed * width + offset) * sizeof(T))) + offset;
      for (std::uint32_t r = 0; r < kListed; ++r) {
        const bool absent = r % 11 == 4;
        positions[r] =
            absent ? kAbsentRow : static_cast<std::uint32_t>(random.below(kPages << kShift));
        for (std::uint32_t i = 0; i < width; ++i) {
          const auto x = static_cast<double>(random.below(3)) - 1;
          in[r * width + i] = of_double<T>(x);
          if (!absent) expected[std::size_t{positions[r]} * width + i] += x;
        }
      }
      target.scatter_add({pages, {.width = width, .page_shift = kShift}, {positions, kListed}},
                         dtype_of<T>(), reinterpret_cast<const std::byte*>(in));
      target.finish();
      for (std::size_t i = 0; i < expected.size(); ++i)
        ASSERT_EQ(reinterpret_cast<T*>(pages[i / values].weights)[i % values],
                  of_double<T>(expected[i]))
            << i;
    }
}

/// Pages of sums on the host and for the kernels, which do the same to both.
template <class T>
void check_sums_of(RuleTarget& target, Aggregate aggregate) {
  using S = Accumulator<T>;
  constexpr std::uint32_t kPages = 3, kShift = 5, kListed = 60;
  const auto dtype = dtype_of<T>();
  const auto& host = host_row_kernels();
  const auto& kernels = target.rows();
  for (const std::size_t row_values : {1, 3, 8, 70}) {
    SCOPED_TRACE(testing::Message() << name_of(dtype) << ", " << row_values << " values a row");
    Random random(row_values);
    const auto pushed = [&]<class In>(std::size_t rows) {
      auto* values = reinterpret_cast<In*>(target.allocate(rows * row_values * sizeof(In)));
      for (std::size_t i = 0; i < rows * row_values; ++i)
        values[i] = static_cast<In>(static_cast<float>(random.below(4000)) / 16 - 100);
      return reinterpret_cast<const std::byte*>(values);
    };
    const auto values = row_values << kShift;
    const auto bytes = values * sizeof(S);
    std::byte* expected[kPages];
    auto** pages = reinterpret_cast<std::byte**>(target.allocate(kPages * sizeof(std::byte*)));
    for (std::uint32_t p = 0; p < kPages; ++p) {
      expected[p] = target.allocate(bytes);
      pages[p] = target.allocate(bytes);
      const auto* first = pushed.template operator()<T>(1u << kShift);
      for (const auto& [of, to] : {std::pair(&host, expected[p]), std::pair(&kernels, pages[p])}) {
        if (p == 0) {
          of->clear_sums(aggregate, dtype, to, values, nullptr);
        } else {
          of->start_sums(dtype, to, first, values, nullptr);
          of->add_sums(aggregate, dtype, to, first, values - 1, nullptr);
        }
      }
    }
    auto* positions =
        reinterpret_cast<std::uint32_t*>(target.allocate(kListed * sizeof(std::uint32_t)));
    for (std::uint32_t r = 0; r < kListed; ++r) positions[r] = r * 37 % (kPages << kShift);
    const auto* listed = pushed.template operator()<T>(kListed);
    const auto* sums = pushed.template operator()<S>(kListed);
    host.add_listed_sums(aggregate, dtype, expected, kShift, row_values, {positions, kListed},
                         listed, nullptr);
    aggregate_kernels(aggregate, dtype_of<S>())
        .rows(expected, kShift, row_values, {positions, kListed}, sums);
    for (const auto& inputs : {RuleInputs(listed), RuleInputs::of_sums(sums)})
      kernels.add_listed_sums(aggregate, dtype, pages, kShift, row_values, {positions, kListed},
                              inputs, nullptr);
    auto* rounded = target.allocate(values * sizeof(T));
    kernels.finish_sums(dtype, rounded, pages[1], values, nullptr);
    target.finish();
    for (std::uint32_t p = 0; p < kPages; ++p)
      ASSERT_EQ(0, std::memcmp(pages[p], expected[p], bytes)) << "page " << p;
    std::vector<std::byte> rounded_here(values * sizeof(T));
    host.finish_sums(dtype, rounded_here.data(), expected[1], values, nullptr);
    ASSERT_EQ(0, std::memcmp(rounded, rounded_here.data(), rounded_here.size()));
  }
}

}  // namespace

void check_initial_rows(RuleTarget& target) {
  using Kind = Initializer::Kind;
  for (const auto dtype : {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i32, DType::i64})
    for (const Initializer& initializer :
         {Initializer{}, Initializer{Kind::constant, 3}, Initializer{Kind::uniform, -40, 60, 5},
          Initializer{Kind::normal, 1, 30, 9}}) {
      constexpr std::size_t kRows = 700;
      constexpr std::uint32_t kWidth = 3;
      constexpr Row kFirst = (std::uint64_t{1} << 40) + 7;
      SCOPED_TRACE(testing::Message()
                   << name_of(dtype) << ", " << static_cast<int>(initializer.kind));
      std::vector<std::byte> expected(kRows * kWidth * byte_size(dtype));
      write_initial_rows(initializer, dtype, kFirst, kRows, kWidth, expected.data());
      auto* rows = target.allocate(expected.size());
      target.rows().initialize(initializer, dtype, kFirst, kRows, kWidth, rows, nullptr);
      target.finish();
      ASSERT_EQ(0, std::memcmp(rows, expected.data(), expected.size()));
    }
}

void check_sums(RuleTarget& target) {
  for (const auto aggregate : {Aggregate::sum, Aggregate::last, Aggregate::min, Aggregate::max}) {
    check_sums_of<float>(target, aggregate);
    check_sums_of<double>(target, aggregate);
    check_sums_of<Float16>(target, aggregate);
    check_sums_of<BFloat16>(target, aggregate);
    check_sums_of<std::int32_t>(target, aggregate);
    check_sums_of<std::int64_t>(target, aggregate);
  }
}

void check_additions(RuleTarget& target) {
  check_additions_of<float>(target);
  check_additions_of<double>(target);
  check_additions_of<Float16>(target);
  check_additions_of<BFloat16>(target);
  check_additions_of<std::int32_t>(target);
  check_additions_of<std::int64_t>(target);
}

void check_dense(RuleTarget& target, const Reference& reference) {
  for_each_type(reference, [&]<class T, class In>() {
    for (const std::uint32_t width : {1, 3, 8})
      for (const auto run : {Run{1, 0, 1}, Run{7, 0, 7}, Run{2048, 0, 2048}, Run{2051, 0, 2051},
                             Run{900, 16, 800}, Run{900, 3, 417}, Run{64, 5, 0}}) {
        SCOPED_TRACE(testing::Message() << name_of(dtype_of<T>()) << ", width " << width << ", "
                                        << run.count << " rows from " << run.first);
        Pair<T> pair(target, reference, 1, run.rows, width, false, run.rows + width);
        using Side = typename Pair<T>::Side;
        for (const auto side : {Side::kHost, Side::kKernels})
          pair.kernels(side).reset_dense(pair.functor(), pair.dense(side, 0, 0, run.rows), nullptr);
        for (int t = 0; t < 3; ++t) {
          const auto* pushed = pair.template pushed<In>(run.count);
          target.finish();
          pair.raise_steps(0);
          for (const auto side : {Side::kHost, Side::kKernels})
            pair.kernels(side).apply_dense(pair.functor(),
                                           pair.dense(side, 0, run.first, run.count),
                                           inputs_of<T, In>(pushed), nullptr);
        }
        ASSERT_NO_FATAL_FAILURE(pair.expect_same());
      }
  });
}

void check_pushes(RuleTarget& target, const Reference& reference) {
  for_each_type(reference, [&]<class T, class In>() {
    using S = Accumulator<T>;
    constexpr std::size_t kPages = 70, kRows = 60;  // more than a launch's 64
    constexpr std::uint32_t kWidth = 2;
    for (const std::size_t pushes : {1, 3, 8, 9, 16}) {
      SCOPED_TRACE(testing::Message() << name_of(dtype_of<T>()) << ", " << pushes << " pushes");
      Pair<T> pair(target, reference, kPages, kRows, kWidth, false, pushes);
      using Side = typename Pair<T>::Side;
      const auto aggregate = pair.rule().kind().traits.aggregate;
      const auto& of_pushed = aggregate_kernels(aggregate, dtype_of<In>());
      std::vector<DensePushes> updates(kPages);
      std::vector<std::vector<const std::byte*>> lists(kPages);
      for (std::size_t p = 0; p < kPages; ++p) {
        const auto first = pair.random().below(kRows), count = pair.random().below(kRows - first);
        const auto values = count * kWidth * pair.rule().kind().traits.inputs;
        for (std::size_t k = 0; k < pushes; ++k)
          lists[p].push_back(pair.template pushed<In>(count));
        pair.raise_steps(p);
        updates[p] = {pair.arrays(Side::kKernels, p), first, count, lists[p]};
        // The host's way: a sum, and then the rule.
        std::vector<S> sums(values + 1);
        auto* bytes = reinterpret_cast<std::byte*>(sums.data());
        of_pushed.start(bytes, lists[p][0], values);
        for (std::size_t k = 1; k < pushes; ++k) of_pushed.dense(bytes, lists[p][k], values);
        pair.kernels(Side::kHost)
            .apply_dense(pair.functor(), pair.dense(Side::kHost, p, first, count),
                         RuleInputs::of_sums(bytes), nullptr);
      }
      pair.kernels(Side::kKernels)
          .apply_pushes(pair.functor(), pair.shape(), updates, !std::is_same_v<T, In>, nullptr);
      ASSERT_NO_FATAL_FAILURE(pair.expect_same());
    }
  });
}

void check_listed(RuleTarget& target, const Reference& reference) {
  for_each_type(reference, [&]<class T, class In>() {
    for (const std::uint32_t width : {1, 3, 8, 64, 260}) {
      SCOPED_TRACE(testing::Message() << name_of(dtype_of<T>()) << ", width " << width);
      constexpr std::size_t kPages = 3, kRows = 37;  // no power of two: positions have holes
      Pair<T> pair(target, reference, kPages, kRows, width, true, width);
      using Side = typename Pair<T>::Side;
      std::vector<std::uint32_t> all;
      for (std::uint32_t p = 0; p < kPages; ++p)
        for (std::uint32_t r = 0; r < kRows; ++r) all.push_back(p << pair.shape().page_shift | r);
      for (std::size_t i = all.size(); i > 1; --i)
        std::swap(all[i - 1], all[pair.random().below(i)]);
      const std::span positions(reinterpret_cast<const std::uint32_t*>(pair.copy(all)), all.size());
      for (const auto side : {Side::kHost, Side::kKernels})
        pair.kernels(side).reset_rows(pair.functor(), pair.listed(side, positions), nullptr);
      for (const std::size_t count : {kPages * kRows, std::size_t{40}, std::size_t{0}}) {
        const auto* pushed = pair.template pushed<In>(count);
        for (const auto side : {Side::kHost, Side::kKernels})
          pair.kernels(side).apply_rows(pair.functor(), pair.listed(side, positions.first(count)),
                                        inputs_of<T, In>(pushed), nullptr);
      }
      ASSERT_NO_FATAL_FAILURE(pair.expect_same());
    }
  });
}

void check_catching_up(RuleTarget& target, const Reference& reference) {
  if (!builtin().find(reference.rule)->has_decay) {
    EXPECT_EQ(nullptr, target.kernels(reference.rule)[0].catch_up_dense);
    return;
  }
  for_each_type(reference, [&]<class T, class In>() {
    SCOPED_TRACE(name_of(dtype_of<T>()));
    constexpr std::size_t kRows = 300;
    Pair<T> dense(target, reference, 1, kRows, 3, false, 1);
    Pair<T> sparse(target, reference, 1, kRows, 3, true, 2);
    using Side = typename Pair<T>::Side;
    std::vector<std::uint32_t> rows(kRows);
    std::vector<std::uint64_t> missed(kRows);
    for (std::uint32_t r = 0; r < kRows; ++r) {
      rows[r] = r;
      missed[r] = r % 5 == 0 ? 0 : sparse.random().below(40);
    }
    const std::span positions(reinterpret_cast<const std::uint32_t*>(sparse.copy(rows)), kRows);
    const auto* counts = reinterpret_cast<const std::uint64_t*>(sparse.copy(missed));
    const auto* pushed = dense.template pushed<In>(kRows);
    dense.raise_steps(0);
    for (const auto side : {Side::kHost, Side::kKernels}) {
      const auto inputs = inputs_of<T, In>(pushed);
      const auto run = dense.dense(side, 0, 0, kRows);
      const auto list = sparse.listed(side, positions);
      dense.kernels(side).apply_dense(dense.functor(), run, inputs, nullptr);
      dense.kernels(side).catch_up_dense(dense.functor(), run, 7, nullptr);
      dense.kernels(side).catch_up_dense(dense.functor(), run, 0, nullptr);
      sparse.kernels(side).apply_rows(sparse.functor(), list, inputs, nullptr);
      sparse.kernels(side).catch_up_rows(sparse.functor(), list, counts, nullptr);
    }
    ASSERT_NO_FATAL_FAILURE(dense.expect_same());
    ASSERT_NO_FATAL_FAILURE(sparse.expect_same());
  });
}

void check_copies(RuleTarget& target) {
  constexpr std::uint32_t kPages = 3, kRows = 64, kShift = 6;
  for (const auto dtype : {DType::f16, DType::f32, DType::f64})
    for (const std::uint32_t width : {1, 2, 3, 4, 8, 20, 700})
      for (const std::size_t offset : {0, 8}) {
        SCOPED_TRACE(testing::Message() << name_of(dtype) << ", width " << width);
        const auto row_bytes = width * byte_size(dtype);
        Random random(width + offset);
        auto* pages =
            reinterpret_cast<SegmentArrays*>(target.allocate(kPages * sizeof(SegmentArrays)));
        for (std::uint32_t p = 0; p < kPages; ++p) {
          pages[p] = {target.allocate(kRows * row_bytes), nullptr, nullptr};
          for (std::size_t i = 0; i < kRows * row_bytes; ++i)
            pages[p].weights[i] = static_cast<std::byte>(random.below(256));
        }
        constexpr std::uint32_t kListed = kPages * kRows / 2;
        auto* positions =
            reinterpret_cast<std::uint32_t*>(target.allocate(kListed * sizeof(std::uint32_t)));
        // Each at most once, in an order of its own.
        for (std::uint32_t r = 0; r < kListed; ++r)
          positions[r] = r % 7 == 3 ? kAbsentRow : (r * 2 * 5 + 1) % (kPages * kRows);
        const ListedRows rows{pages, {.width = width, .page_shift = kShift}, {positions, kListed}};
        const auto bytes = kListed * row_bytes;
        auto* out = target.allocate(bytes + offset) + offset;
        std::memset(out, 0x5a, bytes);
        std::vector<std::byte> expected(out, out + bytes);
        gather_rows(rows, dtype, expected.data());
        target.rows().gather(rows, dtype, out, nullptr);
        target.finish();
        ASSERT_EQ(0, std::memcmp(out, expected.data(), bytes));

        for (auto& byte : expected) byte = static_cast<std::byte>(random.below(256));
        std::memcpy(out, expected.data(), bytes);
        target.rows().scatter(rows, dtype, out, nullptr);
        target.finish();
        std::memset(out, 0, bytes);
        gather_rows(rows, dtype, out);
        for (std::uint32_t r = 0; r < kListed; ++r)
          if (positions[r] == kAbsentRow)
            std::memset(expected.data() + r * row_bytes, 0, row_bytes);
        ASSERT_EQ(0, std::memcmp(out, expected.data(), bytes));
      }
}

}  // namespace shoal::test
