// What a store exports for one-sided pulls: see docs/design/one_sided.md.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <thread>

#include "server/store/dense_store.h"
#include "tests/server/store_fixture.h"

namespace shoal {
namespace {

using test::bytes_of;
using test::StoreFixture;

/// Keys are numbers; what they name is read here as a device would.
class FakeExporter final : public Exporter {
 public:
  std::uint64_t expose(MemoryView memory) override {
    if (refuses) return 0;
    exposed.emplace(++last_, memory);
    return last_;
  }
  void conceal(std::uint64_t key) override {
    if (on_conceal) on_conceal(key);
    EXPECT_EQ(exposed.erase(key), 1u);
  }
  const std::byte* at(const ExportedPlace& place) const {
    return exposed.at(place.key).data + place.address;
  }
  bool refuses = false;
  std::function<void(std::uint64_t)> on_conceal;
  std::map<std::uint64_t, MemoryView> exposed;

 private:
  std::uint64_t last_ = 0;
};

struct Store {
  explicit Store(std::uint64_t rows = 64, std::uint32_t segment_bytes = 64)
      : rules(f.rules(spec_of(rows, segment_bytes), 1)) {
    f.pool.set_exporter(exporter);
    store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
  }
  static TableSpec spec_of(std::uint64_t rows, std::uint32_t segment_bytes) {
    TableSpec spec;
    spec.name = "t";
    spec.rows = rows;
    spec.segment_bytes = segment_bytes;
    spec.update = Add{};
    spec.apply = Apply::on_arrival;
    spec.staleness = unbounded;
    return spec;
  }
  void expose() {
    ASSERT_NE(store->expose_directory(), 0u);
    while (store->expose_some()) {
    }
  }
  const OwnEntry& entry(std::size_t segment) const { return store->directory().entries()[segment]; }
  float read(std::size_t segment, std::size_t row = 0) const {
    const auto& e = entry(segment);
    EXPECT_EQ(e.version % 2, 0u);
    return reinterpret_cast<const float*>(exporter.at({e.key, e.address}))[row];
  }
  FakeExporter exporter;
  StoreFixture f;
  TableRules rules;
  std::unique_ptr<DenseStore> store;
};

TEST(ExportedSegments, NothingIsExportedUntilItIsAskedFor) {
  Store s;
  const std::vector<float> values(64, 1.0f);
  ASSERT_EQ(s.store->apply(RowRange{0, 16}, bytes_of(values)), Outcome::applied);
  EXPECT_TRUE(s.exporter.exposed.empty());
  for (const auto& entry : s.store->directory().entries()) EXPECT_EQ(entry.key, 0u);
  s.expose();
  EXPECT_EQ(s.exporter.exposed.size(), 2u) << "the directory, and the chunk with all segments";
  EXPECT_EQ(s.read(0), 1.0f);
}

/// What stood in the memory before is nobody's to read.
TEST(ExportedSegments, ASegmentHasNoPlaceUntilItsRowsAreThere) {
  Store s;
  s.expose();
  EXPECT_EQ(s.entry(1).key, 0u);
  const std::vector<float> values(16, 3.0f);
  ASSERT_EQ(s.store->apply(RowRange{16, 32}, bytes_of(values)), Outcome::applied);
  EXPECT_EQ(s.read(1), 3.0f);
  EXPECT_EQ(s.entry(1).bytes, 64u);
  auto context = s.f.context();
  unpin(context, *s.store->pin(2).memory);
  EXPECT_EQ(s.read(2), 0.0f) << "a pull makes its rows";
  EXPECT_EQ(s.entry(3).key, 0u);
}

TEST(ExportedSegments, WhatCannotBeExportedHasNoPlace) {
  Store s;
  s.exporter.refuses = true;
  EXPECT_EQ(s.store->expose_directory(), 0u);
  s.exporter.refuses = false;
  ASSERT_NE(s.store->expose_directory(), 0u);
  s.exporter.refuses = true;
  const std::vector<float> values(16, 3.0f);
  ASSERT_EQ(s.store->apply(RowRange{0, 16}, bytes_of(values)), Outcome::applied);
  while (s.store->expose_some()) {
  }
  EXPECT_EQ(s.entry(0).key, 0u);
  EXPECT_EQ(s.entry(0).version % 2, 0u);
}

TEST(ExportedSegments, EveryChangeRaisesTheVersionAndAMoveChangesThePlace) {
  Store s;
  s.expose();
  const std::vector<float> values(16, 1.0f);
  const std::vector<Key> keys{1, 3, 5};
  auto context = s.f.context();
  ASSERT_EQ(s.store->apply(RowRange{0, 16}, bytes_of(values)), Outcome::applied);
  const std::vector<std::pair<const char*, std::function<void()>>> changes{
      {"apply",
       [&] {
         s.store->apply(RowRange{0, 16}, bytes_of(values));
       }},
      {"apply a list", [&] { s.store->apply(std::span(keys), bytes_of(values)); }},
      {"set",
       [&] {
         s.store->set(RowRange{2, 7}, bytes_of(values));
       }},
      {"set a list", [&] { s.store->set(std::span(keys), bytes_of(values)); }},
  };
  for (const auto& [name, change] : changes)
    for (const bool pinned : {false, true}) {
      SCOPED_TRACE(testing::Message() << name << (pinned ? ", pinned" : ""));
      const auto version = s.entry(0).version.load();
      const auto address = s.entry(0).address.load();
      const auto snapshot = pinned ? s.store->pin(0) : Snapshot{};
      change();
      EXPECT_GT(s.entry(0).version, version);
      EXPECT_EQ(s.entry(0).version % 2, 0u);
      EXPECT_EQ(s.entry(0).address != address, pinned);
      if (pinned) unpin(context, *snapshot.memory);
    }
}

/// Whoever READs memory that another table has by then finds that the entry has changed.
TEST(ExportedSegments, EntriesAreOddBeforeTheirMemoryIsGivenBack) {
  Store s;
  s.expose();
  const auto directory = s.exporter.exposed.begin()->second;
  s.exporter.on_conceal = [&](std::uint64_t key) {
    if (s.exporter.exposed.at(key).data != directory.data) return;
    const auto* entries = reinterpret_cast<const OwnEntry*>(directory.data);
    for (std::size_t i = 0; i < directory.bytes / sizeof(OwnEntry); ++i)
      EXPECT_EQ(entries[i].version % 2, 1u);
  };
  s.store.reset();
  EXPECT_EQ(s.exporter.exposed.size(), 1u) << "the chunk stays with the pool";
  s.f.pool.trim();
  EXPECT_TRUE(s.exporter.exposed.empty());
}

TEST(ExportedSegments, ChunksAreConcealedBeforeTheyGoBackToTheDevice) {
  Store s(1024, 64 << 10);
  s.expose();
  const auto before = s.exporter.exposed.size();
  s.store.reset();
  s.f.pool.trim();
  EXPECT_LT(s.exporter.exposed.size(), before);
  EXPECT_TRUE(s.exporter.exposed.empty());
}

/// A thread reads as a device does, while rows are applied, set and moved: every way in which rows
/// change is between an odd version and the next even one.
TEST(ExportedSegments, AReaderBesideTheLoopNeverSeesHalfAPush) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a race on purpose, as devices race";
#endif
  constexpr std::size_t kRows = 16u << 10;
  Store s(kRows, kRows * sizeof(float));
  s.expose();
  std::vector<float> values(kRows, 1.0f);
  ASSERT_EQ(s.store->apply(RowRange{0, kRows}, bytes_of(values)), Outcome::applied);
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> whole{0}, torn{0}, again{0};
  // Memory of the pool stays mapped, whatever it is used for.
  const auto* const chunk = s.exporter.exposed.rbegin()->second.data;
  const auto key = s.exporter.exposed.rbegin()->first;
  std::thread reader([&] {
    std::vector<float> rows(kRows);
    const auto& entry = s.entry(0);
    while (!over.load()) {
      const auto version = entry.version.load(std::memory_order_acquire);
      if (version % 2 != 0 || entry.key.load() != key) continue;
      std::memcpy(rows.data(), chunk + entry.address.load(), kRows * sizeof(float));
      std::atomic_thread_fence(std::memory_order_acquire);
      if (entry.version.load() != version) {
        ++again;
        continue;
      }
      ++whole;
      if (std::any_of(rows.begin(), rows.end(), [&](float row) { return row != rows[0]; })) ++torn;
    }
  });
  std::vector<Key> keys(kRows);
  for (std::size_t i = 0; i < kRows; ++i) keys[i] = i;
  auto context = s.f.context();
  for (int i = 0; whole < 100 || again < 5; ++i) {
    const auto snapshot = i % 3 == 0 ? s.store->pin(0) : Snapshot{};
    const auto* rows = bytes_of(values);
    const RowRange all{0, kRows};
    const auto outcome = i % 4 == 0   ? s.store->apply(all, rows)
                         : i % 4 == 1 ? s.store->apply(std::span(keys), rows)
                         : i % 4 == 2 ? s.store->set(all, rows)
                                      : s.store->set(std::span(keys), rows);
    EXPECT_EQ(outcome, Outcome::applied);
    if (snapshot.memory != nullptr) unpin(context, *snapshot.memory);
    if (i % 8 == 7) std::this_thread::yield();
  }
  over = true;
  reader.join();
  EXPECT_EQ(torn, 0u);
}

}  // namespace
}  // namespace shoal
