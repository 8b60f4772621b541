#include "server/scheduler/view_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <utility>

#include "tests/core/cluster_fixture.h"
#include "tests/support/temp_dir.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

class ViewStoreTest : public testing::Test {
 protected:
  FileViewStore open() { return FileViewStore::open(directory_.string()).value(); }
  std::string read() {
    std::ifstream in(directory_ / "view", std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& bytes) {
    std::ofstream(directory_ / "view", std::ios::binary) << bytes;
  }

  TempDir home_;
  const fs::path directory_ = home_.path() / "state";
  StoredView first_{small_view(),
                    301,
                    131,
                    WorkerClock(9),
                    {{NodeId(3), 7}, {NodeId(5), 8}},
                    {{{{"add", 3, 1, Aggregate::sum}, {"lion", 1, 2, Aggregate::min}}, {NodeId(1)}},
                     {{{"add", 3, 1, Aggregate::sum}}, {NodeId(2)}}},
                    {{NodeId(1), 1ull << 40}, {NodeId(2), 5}}};
};

TEST_F(ViewStoreTest, KeepsTheNewest) {
  {
    auto store = open();
    EXPECT_EQ(store.load().value(), std::nullopt);
    ASSERT_TRUE(store.save(first_).ok());
    EXPECT_EQ(store.load().value(), first_);
  }
  auto store = open();
  EXPECT_EQ(store.load().value(), first_);
  auto second = first_;
  ++second.view.epoch.number;
  second.barriers.clear();
  second.rules = {{{{"add", 3, 1, Aggregate::sum}}, {NodeId(2), NodeId(1)}}};
  ASSERT_TRUE(store.save(second).ok());
  EXPECT_EQ(store.load().value(), second);
}

/// With a right checksum, as a defect or another release might write it.
TEST_F(ViewStoreTest, WhatNoSchedulerCanGoOnFromIsDamaged) {
  ASSERT_TRUE(decode_stored(encode_stored(first_)).ok());
  const auto refused = [&](const char* why, auto change) {
    auto stored = first_;
    change(stored);
    EXPECT_EQ(decode_stored(encode_stored(stored)).code(), Errc::corrupt) << why;
  };
  refused("a node's id would be given twice", [](auto& s) { s.next_node = 300; });
  refused("a table's id would be given twice", [](auto& s) { s.next_table = 130; });
  refused("no term is left", [](auto& s) { s.view.epoch.term = ~0u; });
  refused("a clock that nobody reaches", [](auto& s) { s.clock_bound = WorkerClock(-1); });
  refused("a server without rules", [](auto& s) { s.rules.pop_back(); });
  refused("rules of nobody", [](auto& s) { s.rules[0].servers.push_back(NodeId(4)); });
  refused("a server that said it twice", [](auto& s) { s.rules[0].servers.push_back(NodeId(2)); });
  refused("a server without memory", [](auto& s) { s.memory.pop_back(); });
}

TEST_F(ViewStoreTest, ADamagedFileIsToldFromAnEmptyOne) {
  auto store = open();
  ASSERT_TRUE(store.save(first_).ok());
  const auto whole = read();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    write(whole.substr(0, n));
    EXPECT_EQ(store.load().code(), Errc::corrupt) << n << " bytes";
    auto flipped = whole;
    flipped[n] = static_cast<char>(flipped[n] ^ (1 << (n % 8)));
    write(flipped);
    EXPECT_EQ(store.load().code(), Errc::corrupt) << "byte " << n;
  }
  write(whole + "x");
  const auto longer = store.load();
  ASSERT_EQ(longer.code(), Errc::corrupt);
  EXPECT_NE(longer.error().what.find((directory_ / "view").string()), std::string::npos);
  write(whole);
  EXPECT_EQ(store.load().value(), first_);
}

TEST_F(ViewStoreTest, AFullDiskLeavesThePreviousView) {
  auto store = open();
  ASSERT_TRUE(store.save(first_).ok());
  auto second = first_;
  second.next_node = 999;
  // As a full disk does, a write comes back short and then fails.
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{100, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto saved = store.save(second);
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  ASSERT_EQ(saved.code(), Errc::io);
  EXPECT_NE(saved.error().native, 0);
  EXPECT_NE(saved.error().what.find(directory_.string()), std::string::npos);
  EXPECT_EQ(store.load().value(), first_);
  ASSERT_TRUE(store.save(second).ok());
  EXPECT_EQ(store.load().value(), second);
}

TEST_F(ViewStoreTest, AHalfWrittenFileBesideItIsIgnored) {
  auto store = open();
  ASSERT_TRUE(store.save(first_).ok());
  std::ofstream(directory_ / "view.new") << "half";
  EXPECT_EQ(store.load().value(), first_);
  ASSERT_TRUE(store.save(first_).ok());
  EXPECT_FALSE(fs::exists(directory_ / "view.new"));
}

TEST_F(ViewStoreTest, TwoSchedulersNeverShareADirectory) {
  auto store = std::make_unique<FileViewStore>(open());
  const auto second = FileViewStore::open(directory_.string());
  ASSERT_EQ(second.code(), Errc::exists);
  EXPECT_NE(second.error().what.find("state_dir"), std::string::npos);
  store.reset();
  EXPECT_TRUE(FileViewStore::open(directory_.string()).ok());
}

TEST_F(ViewStoreTest, ADirectoryThatCannotBeMadeIsAnError) {
  EXPECT_EQ(FileViewStore::open((home_.path() / "no" / "such").string()).code(), Errc::io);
  std::ofstream(home_.path() / "file") << "x";
  EXPECT_EQ(FileViewStore::open((home_.path() / "file").string()).code(), Errc::io);
}

TEST(MemoryViewStore, OutlivesItsScheduler) {
  MemoryViewStore store;
  EXPECT_EQ(store.load().value(), std::nullopt);
  const StoredView stored{small_view(), 5, 6, WorkerClock(7), {}};
  ASSERT_TRUE(store.save(stored).ok());
  EXPECT_EQ(store.load().value(), stored);
}

}  // namespace
}  // namespace shoal
