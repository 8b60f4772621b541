#include "core/cluster/messages.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/random.h"
#include "core/table/messages.h"
#include "tests/core/hex.h"

// The bytes of every message: a change of any of these is a new kWireVersion.

namespace shoal {
namespace {

template <class M>
std::vector<std::byte> bytes_of(const M& m) {
  std::vector<std::byte> bytes(4096);
  Writer out(bytes);
  encode(out, m);
  EXPECT_TRUE(out.ok());
  bytes.resize(out.size());
  return bytes;
}

/// Golden bytes, that they are read back, and that no shorter or longer ones are.
template <class M>
void expect_golden(const M& m, const std::string& golden, bool rest_may_follow = false) {
  auto bytes = bytes_of(m);
  EXPECT_EQ(hex(bytes), packed(golden));
  const auto read = decode<M>(bytes);
  ASSERT_TRUE(read.ok()) << read.error().message();
  EXPECT_EQ(hex(bytes_of(*read)), packed(golden));
  for (std::size_t n = 0; n < bytes.size(); ++n)
    EXPECT_EQ(decode<M>(std::span(bytes).first(n)).code(), Errc::protocol) << n;
  bytes.push_back(std::byte{0});
  EXPECT_EQ(decode<M>(bytes).ok(), rest_may_follow);
}

TEST(Messages, GoldenBytes) {
  expect_golden(Hello{NodeId(1), Incarnation(2), Role::observer, NodeId(3), Incarnation(4)},
                "01000000 0200000000000000 02 03000000 0400000000000000");
  expect_golden(Welcome{NodeId(1), Incarnation(2), 64, 256},
                "01000000 0200000000000000 40000000 00010000");
  expect_golden(
      Join{Role::server,
           Incarnation(5),
           "s0",
           "h:1",
           {{"add", 0x33, 1, Aggregate::sum},
            {"min", 0x03, 2, Aggregate::min, {{"l1", {0, 1, false, true, false}}}, 2, true}},
           0x0102},
      "00 0500000000000000 02000000 7330 03000000 683a31 0201000000000000 "
      "02000000 03000000 616464 33 01 00 00 00 00000000 "
      "03000000 6d696e 03 02 02 02 01 01000000 02000000 6c31 "
      "0000000000000000 000000000000f03f 02");
  expect_golden(
      Joined{NodeId(9), Rank(2), WorkerClock(7), Duration(2'000'000'000), Duration(250'000'000)},
      "09000000 02000000 0700000000000000 0094357700000000 80b2e60e00000000", true);
  expect_golden(Heartbeat{NodeId(1), Incarnation(2), 3},
                "01000000 0200000000000000 0300000000000000");
  expect_golden(Tick{NodeId(1), WorkerClock(2), WorkerClock(3), 4, 5, 6, 7, 8, 9},
                "01000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000 "
                "0600000000000000 0700000000000000 0800000000000000 0900000000000000");
  expect_golden(GlobalClock{NodeId(1), 2}, "01000000 02000000");
  expect_golden(Straggler{NodeId(1), WorkerClock(2), WorkerClock(3), 4},
                "01000000 0200000000000000 0300000000000000 04000000");
  expect_golden(SetParameter{"rate", 0.5, WorkerClock(-1)},
                "04000000 72617465 000000000000e03f ffffffffffffffff");
  expect_golden(Barrier{NodeId(1), 2}, "01000000 0200000000000000");
  expect_golden(Leave{NodeId(1)}, "01000000");
  expect_golden(ReportLost{NodeId(1), Incarnation(2)}, "01000000 0200000000000000");
}

TEST(Messages, AViewBeginsBehindAJoined) {
  EXPECT_EQ(bytes_of(Joined{}).size(), kJoinedBytes);
  EXPECT_LE(bytes_of(Tick{}).size(), kSmallMessageBytesMax);
}

TEST(Messages, ValuesThatNoPeerHasAreErrors) {
  const auto refused = [](const auto& m) {
    using M = std::decay_t<decltype(m)>;
    EXPECT_EQ(decode<M>(bytes_of(m)).code(), Errc::protocol);
  };
  refused(Hello{NodeId(1), Incarnation(2), static_cast<Role>(3), {}, {}});
  refused(Join{static_cast<Role>(9), {}, {}, {}});
  refused(Join{Role::worker, {}, std::string(kNodeNameBytesMax + 1, 'x'), {}});
  refused(Join{Role::worker, {}, {}, std::string(kNodeAddressBytesMax + 1, 'x')});
  const auto with_rules = [](std::vector<RuleInfo> rules, Role role = Role::server) {
    return Join{role, {}, {}, {}, std::move(rules)};
  };
  const RuleInfo rule{"add", 1, 1, Aggregate::sum};
  EXPECT_TRUE(decode<Join>(bytes_of(with_rules({rule}))).ok());
  refused(with_rules({rule}, Role::worker));
  refused(Join{Role::worker, {}, {}, {}, {}, 1});
  refused(with_rules({kRulesMax + 1, rule}));
  refused(with_rules({{"", 1, 1, Aggregate::sum}}));
  refused(with_rules({{std::string(kTableNameBytesMax + 1, 'x'), 1, 1, Aggregate::sum}}));
  refused(with_rules({{"add", 1u << kDTypeCount, 1, Aggregate::sum}}));
  refused(with_rules({{"add", 1, 0, Aggregate::sum}}));
  refused(with_rules({{"add", 1, kInputsMax + 1, Aggregate::sum}}));
  refused(with_rules({{"add", 1, 1, static_cast<Aggregate>(4)}}));
  refused(with_rules({{"add", 1, 1, Aggregate::sum, {}, kRuleStatesMax + 1}}));
  const auto with_parameters = [&](std::vector<RuleParameter> parameters) {
    return with_rules({{"add", 1, 1, Aggregate::sum, std::move(parameters)}});
  };
  EXPECT_TRUE(decode<Join>(bytes_of(with_parameters({kRuleParametersMax, {"l1"}}))).ok());
  refused(with_parameters({kRuleParametersMax + 1, {"l1"}}));
  refused(with_parameters({{""}}));
  refused(with_parameters({{std::string(kTableNameBytesMax + 1, 'x')}}));
  refused(with_parameters({{"l1", {1, 0}}}));
  refused(with_parameters({{"l1", {std::nan(""), 0}}}));
  refused(Joined{{}, {}, WorkerClock(-1), {}, {}});
  refused(Joined{{}, {}, {}, Duration(-1), {}});
  refused(Tick{NodeId(1), WorkerClock(2), WorkerClock(1)});
  refused(Tick{NodeId(1), WorkerClock(-1), WorkerClock(1)});
  refused(Tick{NodeId(1), kClockMax + 1, kClockMax + 1});
  refused(Straggler{NodeId(1), WorkerClock(2), WorkerClock(1), 0});
  refused(Straggler{NodeId(1), WorkerClock(-1), WorkerClock(1), 0});
  refused(SetParameter{"rate", 1, WorkerClock(-2)});
  refused(SetParameter{std::string(kTableNameBytesMax + 1, 'x'), 1, WorkerClock(0)});
}

// ---- Part lists.

/// A frame in memory of its own, aligned as the transports align it.
struct Frame {
  FrameHeader header;
  std::vector<std::uint64_t> meta_words;
  std::size_t meta_bytes = 0;
  std::vector<std::byte> payload;

  template <class T>
  void append(const T& value) {
    meta_words.resize((meta_bytes + sizeof value + 7) / 8);
    std::memcpy(reinterpret_cast<std::byte*>(meta_words.data()) + meta_bytes, &value, sizeof value);
    meta_bytes += sizeof value;
  }
  FrameView view() const {
    return {header, std::as_bytes(std::span(meta_words)).first(meta_bytes), payload};
  }
  std::string hex_meta() const { return hex(view().meta); }
};

PushRun push_run() { return {SlotIndex(1), 2, Sequence(3), 4, 5, 0, 7}; }
PullRun pull_run() { return {SlotIndex(1), 2, 4, 5, 0, Sequence(6), WorkerClock(-1), 7}; }

Frame push_frame(PushMeta meta = {}, std::vector<PushRun> runs = {push_run()},
                 std::size_t payload = 40, std::uint16_t flags = 0) {
  Frame frame;
  frame.header.kind = FrameKind::push;
  frame.header.flags = flags;
  meta.run_count = static_cast<std::uint32_t>(runs.size());
  frame.append(meta);
  for (const auto& run : runs) frame.append(run);
  frame.payload.resize(payload);
  return frame;
}
Frame pull_frame(PullMeta meta = {}, std::vector<PullRun> runs = {pull_run()},
                 std::size_t payload = 0, std::uint16_t flags = 0) {
  Frame frame;
  frame.header.kind = FrameKind::pull;
  frame.header.flags = flags;
  meta.run_count = static_cast<std::uint32_t>(runs.size());
  frame.append(meta);
  for (const auto& run : runs) frame.append(run);
  frame.payload.resize(payload);
  return frame;
}

TEST(PartLists, GoldenBytesOfAPush) {
  const auto frame = push_frame({0, 2, {1, 2, 3}, {4, 5, 6}});
  EXPECT_EQ(
      frame.hex_meta(),
      packed(
          "01000000 02000000 0100000000000000 0200000000000000 0300000000000000 "
          "0400000000000000 0500000000000000 0600000000000000 01000000 02000000 "
          "0300000000000000 0400000000000000 0500000000000000 0000000000000000 0700000000000000"));
}

TEST(PartLists, GoldenBytesOfASignedPush) {
  auto frame = push_frame({0, 2, {1, 2, 72}, {4, 5, 6}}, {push_run()}, 0,
                          frame_flag::kSigned | frame_flag::kRendezvous | frame_flag::kKeyList);
  frame.append(KeySignature{0x0807060504030201, 0x100f0e0d0c0b0a09});
  frame.append(KeySignature{1, 2});
  EXPECT_EQ(
      frame.hex_meta(),
      packed("01000000 02000000 0100000000000000 0200000000000000 4800000000000000 "
             "0400000000000000 0500000000000000 0600000000000000 01000000 02000000 "
             "0300000000000000 0400000000000000 0500000000000000 0000000000000000 0700000000000000 "
             "0102030405060708 090a0b0c0d0e0f10 0100000000000000 0200000000000000"));
  const auto view = frame.view();
  const auto parts = parse_push(view);
  ASSERT_TRUE(parts.ok()) << parts.error().message();
  ASSERT_EQ(parts->signatures.size(), 2u);
  EXPECT_EQ(parts->signatures[1], (KeySignature{1, 2}));
}

TEST(PartLists, SignaturesAreOneForEachPartOfAListThatCanBeRead) {
  constexpr auto kFlags = frame_flag::kSigned | frame_flag::kRendezvous | frame_flag::kKeyList;
  const auto push = [](PushMeta meta, std::uint16_t flags, int signatures,
                       std::size_t payload = 0) {
    auto frame = push_frame(meta, {push_run()}, payload, flags);
    for (int i = 0; i < signatures; ++i) frame.append(KeySignature{1, 2});
    return parse_push(frame.view()).code();
  };
  const PushMeta spans{0, 1, {1, 2, 72}, {4, 5, 6}};
  EXPECT_EQ(push(spans, kFlags, 2), Errc::ok);
  EXPECT_EQ(push(spans, kFlags, 1), Errc::protocol);
  EXPECT_EQ(push(spans, kFlags, 3), Errc::protocol);
  EXPECT_EQ(push(spans, kFlags & ~frame_flag::kSigned, 2), Errc::protocol);
  EXPECT_EQ(push({}, frame_flag::kSigned | frame_flag::kKeyList, 2, 96), Errc::protocol);
  EXPECT_EQ(push({}, frame_flag::kSigned | frame_flag::kBurnt, 2), Errc::protocol);

  const auto pull = [](PullMeta meta, int signatures) {
    auto frame = pull_frame(meta, {pull_run()}, 0, frame_flag::kSigned | frame_flag::kKeyList);
    for (int i = 0; i < signatures; ++i) frame.append(KeySignature{1, 2});
    return parse_pull(frame.view()).code();
  };
  EXPECT_EQ(pull({0, 0, 0, {}, {1, 2, 72}, {1, 2, 3}}, 2), Errc::ok);
  EXPECT_EQ(pull({0, 0, 0, {}, {1, 2, 72}, {1, 2, 3}}, 1), Errc::protocol);
  EXPECT_EQ(pull({0, 0, 0, {}, {1, 2, 72}, {}}, 2), Errc::protocol);
}

TEST(KeySignatures, NameTheContentsOfAList) {
  const std::vector<Key> keys = {1, 2, 3};
  // XXH3-128 of these 24 bytes by libxxhash.
  EXPECT_EQ(signature_of(keys), (KeySignature{0x026f21f9c50dcf1f, 0xd0d66ae2837a0117}));
  EXPECT_NE(signature_of(keys), signature_of(std::vector<Key>{1, 2, 4}));
  EXPECT_NE(signature_of(keys), signature_of(std::vector<Key>{2, 1, 3}));
  EXPECT_NE(signature_of(keys), signature_of(std::vector<Key>{1, 2, 3, 0}));
}

TEST(PartLists, GoldenBytesOfAPull) {
  const auto frame = pull_frame({0, 0, 9, WorkerClock(8), {1, 2, 3}, {4, 5, 6}});
  EXPECT_EQ(frame.hex_meta(),
            packed("01000000 00000000 0900000000000000 0800000000000000 0100000000000000 "
                   "0200000000000000 0300000000000000 0400000000000000 0500000000000000 "
                   "0600000000000000 01000000 02000000 0400000000000000 0500000000000000 "
                   "0000000000000000 0600000000000000 ffffffffffffffff 0700000000000000"));
}

TEST(PartLists, PushesAreReadInPlace) {
  const auto frame = push_frame({}, {push_run(), push_run()});
  const auto view = frame.view();
  const auto parts = parse_push(view);
  ASSERT_TRUE(parts.ok()) << parts.error().message();
  EXPECT_EQ(parts->runs.size(), 2u);
  EXPECT_EQ(parts->runs[1].first_q, Sequence(3));
  EXPECT_EQ(static_cast<const void*>(parts->runs.data()), view.meta.data() + sizeof(PushMeta));

  PushMeta rendezvous;
  rendezvous.values = {1, 2, 40};
  EXPECT_TRUE(
      parse_push(push_frame(rendezvous, {push_run()}, 0, frame_flag::kRendezvous).view()).ok());
  rendezvous.keys = {1, 2, 72};
  EXPECT_TRUE(parse_push(push_frame(rendezvous, {push_run()}, 0,
                                    frame_flag::kRendezvous | frame_flag::kKeyList)
                             .view())
                  .ok());
  EXPECT_TRUE(parse_push(push_frame({}, {push_run()}, 0, frame_flag::kBurnt).view()).ok());
  EXPECT_TRUE(
      parse_push(push_frame({}, {push_run()}, 0, frame_flag::kBurnt | frame_flag::kKeyList).view())
          .ok());
}

TEST(PartLists, PushesThatNoWorkerSendsAreErrors) {
  const auto refused = [](const char* what, const Frame& frame) {
    EXPECT_EQ(parse_push(frame.view()).code(), Errc::protocol) << what;
  };
  const auto run = [](auto change) {
    auto changed = push_run();
    change(changed);
    return push_frame({}, {changed});
  };
  constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();
  refused("empty", Frame{});
  refused("no runs", push_frame({}, {}));
  refused("no payload", push_frame({}, {push_run()}, 0));
  refused("no inputs", push_frame({0, 0, {}, {}}));
  refused("many inputs", push_frame({0, 99, {}, {}}));
  refused("no parts", run([](auto& r) { r.part_count = 0; }));
  refused("no rows", run([](auto& r) { r.row_count = 0; }));
  refused("fewer rows than parts", run([](auto& r) { r.row_count = 1; }));
  refused("sequence 0", run([](auto& r) { r.first_q = Sequence(0); }));
  refused("sequences that overflow", run([](auto& r) { r.first_q = Sequence(kMax - 1); }));
  refused("rows that overflow", run([](auto& r) { r.row_begin = kMax - 1; }));
  refused("values beyond the payload", run([](auto& r) { r.offset = 40; }));
  refused("too many parts",
          run([](auto& r) { r.part_count = kPartsMax + 1, r.row_count = 1u << 30; }));
  refused("eager with spans", push_frame({0, 1, {}, {1, 2, 3}}));
  refused("keys of a range",
          push_frame({0, 1, {1, 2, 8}, {1, 2, 40}}, {push_run()}, 0, frame_flag::kRendezvous));
  refused("half a key", push_frame({0, 1, {1, 2, 77}, {1, 2, 40}}, {push_run()}, 0,
                                   frame_flag::kRendezvous | frame_flag::kKeyList));
  refused("keys beyond their end", push_frame({0, 1, {1, 2, 64}, {1, 2, 40}}, {push_run()}, 0,
                                              frame_flag::kRendezvous | frame_flag::kKeyList));
  refused("eager keys beyond the payload", push_frame({}, {push_run()}, 64, frame_flag::kKeyList));
  refused("nothing to fetch", push_frame({}, {push_run()}, 0, frame_flag::kRendezvous));
  refused("no keys to fetch", push_frame({0, 1, {}, {1, 2, 40}}, {push_run()}, 0,
                                         frame_flag::kRendezvous | frame_flag::kKeyList));
  refused("rendezvous with a payload",
          push_frame({0, 1, {}, {1, 2, 40}}, {push_run()}, 8, frame_flag::kRendezvous));
  refused("burnt with a payload", push_frame({}, {push_run()}, 8, frame_flag::kBurnt));
  refused("burnt with values",
          push_frame({0, 1, {}, {1, 2, 40}}, {push_run()}, 0, frame_flag::kBurnt));
  refused("burnt and to be fetched",
          push_frame({}, {push_run()}, 0, frame_flag::kBurnt | frame_flag::kRendezvous));
  auto longer = push_frame();
  longer.append(std::uint64_t{0});
  refused("bytes behind the runs", longer);
  auto more = push_frame();
  more.meta_words[0] = 2;  // run_count
  refused("fewer runs than it says", more);
}

TEST(PartLists, RunsThatAreNotAlignedAreNeverTouched) {
  const auto frame = push_frame();
  std::vector<std::byte> shifted(frame.meta_bytes + 1);
  std::memcpy(shifted.data() + 1, frame.meta_words.data(), frame.meta_bytes);
  auto view = frame.view();
  view.meta = std::span(shifted).subspan(1);
  EXPECT_EQ(parse_push(view).code(), Errc::protocol);
}

TEST(PartLists, PullsAreReadInPlace) {
  const auto frame = pull_frame();
  const auto parts = parse_pull(frame.view());
  ASSERT_TRUE(parts.ok()) << parts.error().message();
  EXPECT_EQ(parts->runs[0].after, Sequence(6));
  EXPECT_TRUE(parse_pull(pull_frame({}, {pull_run()}, 72, frame_flag::kKeyList).view()).ok());
  EXPECT_TRUE(parse_pull(pull_frame({0, 0, 0, {}, {1, 2, 72}, {1, 2, 3}}, {pull_run()}, 0,
                                    frame_flag::kKeyList)
                             .view())
                  .ok());
}

TEST(PartLists, PullsThatNoWorkerSendsAreErrors) {
  const auto refused = [](const char* what, const Frame& frame) {
    EXPECT_EQ(parse_pull(frame.view()).code(), Errc::protocol) << what;
  };
  auto far = pull_run();
  far.offset = 3;
  auto none = pull_run();
  none.part_count = 0;
  refused("empty", Frame{});
  refused("no runs", pull_frame({}, {}));
  refused("no parts", pull_frame({}, {none}));
  refused("a range with a payload", pull_frame({}, {pull_run()}, 72));
  refused("keys here and there",
          pull_frame({0, 0, 0, {}, {1, 2, 72}, {}}, {pull_run()}, 72, frame_flag::kKeyList));
  refused("half a key", pull_frame({}, {pull_run()}, 75, frame_flag::kKeyList));
  refused("keys beyond their end", pull_frame({}, {pull_run()}, 64, frame_flag::kKeyList));
  refused("keys of a range", pull_frame({0, 0, 0, {}, {1, 2, 72}, {}}));
  refused("beyond the destination", pull_frame({0, 0, 0, {}, {}, {1, 2, 3}}, {far}));
}

Frame answer_frame(AnswerMeta meta, std::vector<std::uint16_t> codes, Errc status = Errc::ok) {
  Frame frame;
  frame.header.kind = FrameKind::answer;
  frame.header.status = static_cast<std::uint16_t>(status);
  meta.part_count = static_cast<std::uint32_t>(codes.size());
  frame.append(meta);
  for (const auto code : codes) frame.append(code);
  while (frame.meta_bytes % 8 != 0) frame.append(std::uint8_t{0});
  return frame;
}

TEST(PartLists, Answers) {
  const auto frame = answer_frame({0, NodeId(1), 2, 0, WorkerClock(3), WorkerClock(4)}, {0, 14, 8});
  EXPECT_EQ(frame.hex_meta(), packed("03000000 01000000 02000000 00000000 0300000000000000 "
                                     "0400000000000000 0000 0e00 0800 0000"));
  const auto parts = parse_answer(frame.view());
  ASSERT_TRUE(parts.ok()) << parts.error().message();
  EXPECT_EQ(parts->part_codes.size(), 3u);
  EXPECT_EQ(parts->part_codes[2], static_cast<std::uint16_t>(Errc::cancelled));
  EXPECT_TRUE(parts->rest.empty());
  EXPECT_TRUE(parse_answer(answer_frame({}, {}).view()).ok());

  auto stale = answer_frame({}, {}, Errc::stale_view);
  stale.append(std::uint8_t{42});
  ASSERT_TRUE(parse_answer(stale.view()).ok());
  EXPECT_EQ(hex(parse_answer(stale.view())->rest), "2a");

  auto refusal = answer_frame({}, {}, Errc::no_memory);
  for (std::size_t i = 0; i < kReasonBytesMax; ++i) refusal.append('x');
  ASSERT_TRUE(parse_answer(refusal.view()).ok());
  EXPECT_EQ(parse_answer(refusal.view())->rest.size(), kReasonBytesMax);
  refusal.append('x');
  EXPECT_EQ(parse_answer(refusal.view()).code(), Errc::protocol);
}

TEST(PartLists, AnswersThatNoServerGivesAreErrors) {
  const auto refused = [](const char* what, const Frame& frame) {
    EXPECT_EQ(parse_answer(frame.view()).code(), Errc::protocol) << what;
  };
  refused("empty", Frame{});
  refused("an unknown status", answer_frame({}, {}, static_cast<Errc>(999)));
  refused("an unknown code", answer_frame({}, {999}));
  auto longer = answer_frame({}, {});
  longer.append(std::uint64_t{0});
  refused("bytes behind its end", longer);
  auto more = answer_frame({}, {1});
  more.meta_words[0] = 1000;  // part_count
  refused("fewer codes than it says", more);
}

}  // namespace
}  // namespace shoal
