#include <gtest/gtest.h>

#include <array>
#include <functional>

#include "core/base/random.h"
#include "core/cluster/cluster_view.h"
#include "core/wire/varint.h"
#include "tests/core/cluster_fixture.h"
#include "tests/core/hex.h"

// The bytes of views and deltas: a change of any of these is a new kWireVersion.

namespace shoal {
namespace {

TEST(View, GoldenBytes) {
  const auto golden =
      "0700000001000000 0300000000000000 0400000000000000 01 "  // epoch, G, W, formed
      "05 "                                                     // nodes
      "01 00 00 43420f0000000000 08 7365727665722031 0d 31302e302e302e313a34373131 "
      "02 00 01 86841e0000000000 08 7365727665722032 0d 31302e302e302e323a34373131 "
      "03 01 00 23c72d0000000000 01 77 00 "
      "05 01 00 e54b4c0000000000 01 77 00 "
      "ac02 02 00 0900000000000000 04 6576616c 00 "
      "02 "  // tables
      "01 "
      "07000000 77656967687473 00 00 40420f0000000000 01000000 "            // spec
      "03000000 736764 01000000 04000000 72617465 000000000000e03f "        // rule
      "01000000 00 00 0000000000000000 0000000000000000 0000000000000000 "  // inputs ...
                                                                            // initializer
      "02 0200000000000000 01 00000000 00000000 "   // apply ... segment_bytes
      "01 01 04 72617465 000000000000d03f 0a "      // start, parameters
      "04 02 01 01 0103 01 01 02 0106 01 00 0107 "  // slots, in runs
      "8201 "
      "0a000000 656d62656464696e6773 01 01 0000000000000000 08000000 "
      "03000000 616464 00000000 "
      "01000000 00 03 0000000000000000 000000000000e03f 2a00000000000000 "
      "00 ffffffffffffff7f 00 00000000 00000000 "
      "00 00 "
      "02 01 02 02 01 0105 01 1a 02 01 "  // the second fills, and has the same since
      "02 00 05 00 00 02 03 07 01";       // roster
  EXPECT_EQ(hex(encode_view(small_view())), packed(golden));
}

TEST(View, IsReadAsItWasWritten) {
  for (const auto& view : {small_view(), ClusterView{}, large_view(50, 300)}) {
    const auto bytes = encode_view(view);
    const auto read = decode_view(bytes);
    ASSERT_TRUE(read.ok()) << read.error().message();
    EXPECT_EQ(*read, view);
  }
}

TEST(View, CutShortIsAnError) {
  const auto bytes = encode_view(small_view());
  for (std::size_t n = 0; n < bytes.size(); ++n)
    EXPECT_EQ(decode_view(std::span(bytes).first(n)).code(), Errc::protocol) << n;
  auto longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_EQ(decode_view(longer).code(), Errc::protocol);
}

TEST(View, WhatIsReadIsWhatWouldBeWritten) {
  Random random(1);
  const auto bytes = encode_view(small_view());
  int accepted = 0;
  for (int i = 0; i < 20000; ++i) {
    auto changed = bytes;
    for (std::uint64_t n = 1 + random.below(3); n > 0; --n)
      changed[random.below(changed.size())] = static_cast<std::byte>(random.next());
    const auto read = decode_view(changed);
    if (!read.ok()) continue;
    ++accepted;
    EXPECT_TRUE(check(*read).ok());
    EXPECT_EQ(hex(encode_view(*read)), hex(changed));
  }
  EXPECT_GT(accepted, 100);
}

TEST(View, ForgedCountsReserveNothing) {
  ClusterView empty;
  auto bytes = encode_view(empty);
  // The counts of nodes, tables and roster are the last three bytes.
  for (std::size_t at = bytes.size() - 3; at < bytes.size(); ++at) {
    auto forged = bytes;
    forged[at] = std::byte{0x7f};
    EXPECT_EQ(decode_view(forged).code(), Errc::protocol);
  }
}

TEST(View, SlotsOfAllTablesTogetherAreBounded) {
  auto view = small_view();
  auto& table = view.tables[0];
  table.spec.rows = kDenseRowsMax / 1024;
  table.slots.assign(kViewSlotsMax - 1, table.slots[0]);
  view.tables[1].slots.resize(1);
  EXPECT_TRUE(decode_view(encode_view(view)).ok());
  table.slots.push_back(table.slots[0]);
  EXPECT_EQ(check(view).code(), Errc::protocol);
  EXPECT_EQ(decode_view(encode_view(view)).code(), Errc::protocol);
}

TEST(View, ThatMakesNoSenseIsRefused) {
  struct Case {
    const char* what;
    std::function<void(ClusterView&)> break_it;
  };
  const Case cases[] = {
      {"node 0", [](auto& v) { v.nodes[0].id = NodeId(0); }},
      {"nodes out of order", [](auto& v) { std::swap(v.nodes[0], v.nodes[1]); }},
      {"a node twice", [](auto& v) { v.nodes[1].id = v.nodes[0].id; }},
      {"a server without an address", [](auto& v) { v.nodes[0].address.clear(); }},
      {"an oversized name", [](auto& v) { v.nodes[0].name.assign(kNodeNameBytesMax + 1, 'x'); }},
      {"table 0", [](auto& v) { v.tables[0].id = TableId(0); }},
      {"tables out of order", [](auto& v) { std::swap(v.tables[0], v.tables[1]); }},
      {"one name twice", [](auto& v) { v.tables[1].spec.name = v.tables[0].spec.name; }},
      {"a spec that is not valid", [](auto& v) { v.tables[0].spec.row_width = 0; }},
      {"more slots than segments", [](auto& v) { v.tables[0].slots.resize(17); }},
      {"three sparse slots", [](auto& v) { v.tables[1].slots.resize(3); }},
      {"no slots", [](auto& v) { v.tables[0].slots.clear(); }},
      {"a chain of a worker", [](auto& v) { v.tables[0].slots[2].servers[0] = NodeId(3); }},
      {"a chain of nobody", [](auto& v) { v.tables[0].slots[2].servers[0] = NodeId(4); }},
      {"a server twice in a chain", [](auto& v) { v.tables[1].slots[0].servers[1] = NodeId(2); }},
      {"a chain from the future",
       [](auto& v) {
         v.tables[0].slots[0].since = {1, 8};
       }},
      {"a chain that only fills", [](auto& v) { v.tables[0].slots[2].filling = true; }},
      {"a start before 0", [](auto& v) { v.tables[0].start = WorkerClock(-1); }},
      {"ranks out of order", [](auto& v) { std::swap(v.roster[0], v.roster[1]); }},
      {"a rank twice", [](auto& v) { v.roster[1].rank = Rank(0); }},
      {"a worker twice", [](auto& v) { v.roster[1].worker = NodeId(5); }},
      {"an observer in the roster", [](auto& v) { v.roster[0].worker = NodeId(300); }},
      {"a roster before it formed", [](auto& v) { v.formed = false; }},
      {"a window below 2", [](auto& v) { v.window = 1; }},
      {"an endless window", [](auto& v) { v.window = unbounded; }},
      {"a clock below 0", [](auto& v) { v.global_clock = WorkerClock(-1); }},
  };
  ASSERT_TRUE(check(small_view()).ok());
  for (const auto& c : cases) {
    auto view = small_view();
    c.break_it(view);
    EXPECT_EQ(check(view).code(), Errc::protocol) << c.what;
    EXPECT_FALSE(decode_view(encode_view(view)).ok()) << c.what;
  }
}

TEST(View, FindsWhatItHas) {
  const auto view = small_view();
  EXPECT_EQ(view.find_node(NodeId(300))->name, "eval");
  EXPECT_EQ(view.find_node(NodeId(4)), nullptr);
  EXPECT_EQ(view.find_table(TableId(130))->spec.name, "embeddings");
  EXPECT_EQ(view.find_table(TableId(2)), nullptr);
  EXPECT_EQ(view.find_table("weights")->id, TableId(1));
  EXPECT_EQ(view.find_table("weight"), nullptr);
  EXPECT_EQ(view.find_worker(NodeId(3))->rank, Rank(2));
  EXPECT_EQ(view.find_worker(NodeId(1)), nullptr);
}

TEST(View, OfAThousandServersFitsItsBudget) {
  const auto view = large_view(1000, 49152 / 3);
  const auto full = encode_view(view);
  EXPECT_LE(full.size(), 204u * 1000);
  const auto next = without_server(view, NodeId(500));
  const auto delta = encode_delta(view, next);
  EXPECT_LE(delta.size(), 700u);
  EXPECT_EQ(apply_delta(view, delta).value(), next);
}

TEST(Delta, GoldenBytes) {
  const auto from = small_view();
  auto to = without_server(from, NodeId(2));
  to.global_clock = WorkerClock(5);
  to.roster.pop_back();
  to.nodes.push_back(worker_node(301));
  const auto golden =
      "0700000001000000 "  // from
      "0800000001000000 0500000000000000 0400000000000000 01 "
      "01 02 "                                    // nodes gone
      "01 ad02 01 00 0d0cf11100000000 01 77 00 "  // nodes new
      "00 "                                       // tables gone
      "02 01 01 00 01 02 01 00 0108 "             // tables changed: no parameters, one run
      "01 8201 00 01 00 02 01 01 0108 "           //
      "01 02 00";                                 // ranks gone, none new
  EXPECT_EQ(hex(encode_delta(from, to)), packed(golden));
}

TEST(Delta, TakesAnyViewToAnyOther) {
  Random random(7);
  ClusterView from = small_view();
  for (int i = 0; i < 300; ++i) {
    auto to = from;
    ++to.epoch.number;
    to.global_clock = WorkerClock(static_cast<std::int64_t>(random.below(100)));
    switch (random.below(7)) {
      case 0:
        to.nodes.push_back(worker_node(400 + static_cast<std::uint32_t>(i)));
        break;
      case 1:
        to = without_server(from, NodeId(1 + static_cast<std::uint32_t>(random.below(2))));
        break;
      case 2:
        if (!to.tables.empty()) to.tables.erase(to.tables.begin());
        break;
      case 3: {
        auto table = small_view().tables[random.below(2)];
        table.id = TableId(1000 + static_cast<std::uint32_t>(i));
        table.spec.name += std::to_string(i);
        for (auto& chain : table.slots) chain = chain_of({1, 1}, {});
        to.tables.push_back(table);
        break;
      }
      case 4:
        for (auto& table : to.tables)
          table.parameters.push_back({"rate", random.uniform(), WorkerClock(i)});
        break;
      case 5:
        if (to.roster.size() > 1) to.roster.erase(to.roster.begin());
        for (auto& entry : to.roster) entry.start = WorkerClock(i);
        break;
      default:
        for (auto& table : to.tables)
          for (auto& chain : table.slots)
            if (random.chance(0.5)) chain = chain_of(to.epoch, {});
    }
    ASSERT_TRUE(check(to).ok()) << i << ": " << check(to).error().message();
    const auto made = apply_delta(from, encode_delta(from, to));
    ASSERT_TRUE(made.ok()) << made.error().message();
    ASSERT_EQ(*made, to);
    from = random.chance(0.1) ? small_view() : to;
  }
}

TEST(Delta, FitsOnlyWhereItBegan) {
  const auto from = small_view();
  const auto to = without_server(from, NodeId(2));
  const auto delta = encode_delta(from, to);
  EXPECT_EQ(apply_delta(to, delta).code(), Errc::stale_view);
  auto older = from;
  --older.epoch.number;
  older.tables.clear();
  EXPECT_EQ(apply_delta(older, delta).code(), Errc::stale_view);
  EXPECT_EQ(apply_delta(from, {}).code(), Errc::protocol);
  EXPECT_EQ(apply_delta(from, encode_delta(from, from)).code(), Errc::protocol) << "goes nowhere";
}

TEST(Delta, MadeOfNonsenseNeverMakesAView) {
  Random random(2);
  const auto from = small_view();
  const auto bytes = encode_delta(from, without_server(from, NodeId(2)));
  for (int i = 0; i < 20000; ++i) {
    auto changed = bytes;
    changed[random.below(changed.size())] = static_cast<std::byte>(random.next());
    if (random.chance(0.3)) changed.resize(random.below(changed.size()) + 1);
    const auto made = apply_delta(from, changed);
    if (made.ok()) {
      EXPECT_TRUE(check(*made).ok());
    }
  }
}

TEST(Varint, HasOneFormOnly) {
  for (const std::uint64_t value :
       {0ull, 1ull, 127ull, 128ull, 16383ull, 16384ull, 1ull << 63, ~0ull}) {
    std::array<std::byte, 10> buffer;
    Writer out(buffer);
    put_varint(out, value);
    Reader in(out.written());
    EXPECT_EQ(get_varint(in), value);
    EXPECT_TRUE(in.finish("varint").ok());
  }
  const std::vector<std::vector<unsigned>> wrong = {
      {0x80, 0x00},
      {0xff},
      {},
      std::vector<unsigned>(10, 0xff),
      {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}};
  for (const auto& numbers : wrong) {
    std::vector<std::byte> bytes;
    for (const auto n : numbers) bytes.push_back(static_cast<std::byte>(n));
    Reader in(bytes);
    EXPECT_EQ(get_varint(in), 0u);
    EXPECT_FALSE(in.ok());
  }
  const std::byte seven[] = {std::byte{7}};
  Reader in(seven);
  get_varint(in, 6);
  EXPECT_FALSE(in.ok()) << "beyond what the field may be";
}

}  // namespace
}  // namespace shoal
