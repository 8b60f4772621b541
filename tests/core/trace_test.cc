#include "core/trace/trace.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>
#include <vector>

#include "tests/support/allocations.h"
#include "tests/support/temp_dir.h"

namespace shoal {
namespace {

using nlohmann::json;
using std::chrono::microseconds;

/// A thread of the trace that writes at its end alone: tests decide how full its queue gets.
constexpr Trace::Options kAtTheEnd{1024, std::chrono::hours(1)};

class TraceTest : public testing::Test {
 protected:
  std::unique_ptr<Trace> open(Trace::Options options = kAtTheEnd) {
    auto trace = Trace::open(base(), "worker 0", clock_, options);
    EXPECT_TRUE(trace.ok()) << trace.error().message();
    return std::move(trace).value();
  }
  std::string base() const { return (directory_.path() / "t.json").string(); }
  static std::string text_of(const std::filesystem::path& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  /// The events of a trace that is over.
  static json events_of(std::unique_ptr<Trace> trace) {
    const auto path = trace->path();
    trace.reset();
    return json::parse(text_of(path));
  }
  static std::vector<json> named(const json& events, const std::string& name) {
    std::vector<json> found;
    for (const auto& event : events)
      if (event.at("name") == name) found.push_back(event);
    return found;
  }
  static TraceRecord life() {
    TraceRecord record;
    record.name = "push";
    record.operation = 7;
    record.table = TableId(3);
    record.bytes = 4096;
    for (int i = 0; i < 4; ++i) record.times[i] = TimePoint(microseconds(100 + 10 * i));
    return record;
  }

  SteadyClock clock_;
  TempDir directory_;
};

TEST_F(TraceTest, ALifeIsASpanWithOneForEachStage) {
  auto trace = open();
  trace->joined(NodeId(12));
  trace->name_table(TableId(3), "a \"name\"\n");
  trace->record(life());
  const auto events = events_of(std::move(trace));

  const auto whole = named(events, "push");
  ASSERT_EQ(whole.size(), 2u);
  EXPECT_EQ(whole[0].at("ph"), "b");
  EXPECT_EQ(whole[0].at("pid"), 12);
  EXPECT_EQ(whole[0].at("ts"), 100.0);
  EXPECT_EQ(whole[0].at("args").at("table"), "a \"name\"?");
  EXPECT_EQ(whole[0].at("args").at("bytes"), 4096);
  EXPECT_EQ(whole[0].at("args").at("status"), "ok");
  EXPECT_EQ(whole[1].at("ph"), "e");
  EXPECT_EQ(whole[1].at("ts"), 130.0);
  double at = 100;
  for (const auto* name : {"issued-sent", "sent-answered", "answered-polled"}) {
    const auto span = named(events, name);
    ASSERT_EQ(span.size(), 2u) << name;
    EXPECT_EQ(span[0].at("ph"), "b");
    EXPECT_EQ(span[0].at("ts"), at);
    EXPECT_EQ(span[1].at("ph"), "e");
    EXPECT_EQ(span[1].at("ts"), at += 10);
    for (const auto& event : span) EXPECT_EQ(event.at("id2"), whole[0].at("id2"));
  }
}

TEST_F(TraceTest, AStageThatNeverCameIsLeftOut) {
  auto trace = open();
  auto never_sent = life();
  never_sent.status = Errc::timed_out;
  never_sent.times[1] = never_sent.times[3] = TimePoint{};
  trace->record(never_sent);
  const auto events = events_of(std::move(trace));
  EXPECT_EQ(named(events, "issued-answered").size(), 2u);
  EXPECT_EQ(named(events, "issued-sent").size(), 0u);
  EXPECT_EQ(named(events, "answered-polled").size(), 0u);
  ASSERT_EQ(named(events, "push").size(), 2u);
  EXPECT_EQ(named(events, "push")[0].at("args").at("status"), "timed_out");
  EXPECT_EQ(named(events, "push")[1].at("ts"), 120.0);
}

TEST_F(TraceTest, ARequestIsKnownByTheSameNumberAtBothEnds) {
  TraceRecord record;
  record.name = "push";
  record.request = RequestId(41);
  record.times[0] = TimePoint(microseconds(5));
  record.times[1] = TimePoint(microseconds(8));
  std::vector<json> arrows;
  const auto add = [&](TraceRecord::What what, NodeId self, NodeId peer, const char* name) {
    auto trace = open();
    trace->joined(self);
    record.what = what;
    record.peer = peer;
    trace->record(record);
    const auto events = events_of(std::move(trace));
    const auto slices = named(events, name);
    ASSERT_EQ(slices.size(), 1u);
    EXPECT_EQ(slices[0].at("ph"), "X");
    EXPECT_EQ(slices[0].at("ts"), 5.0);
    EXPECT_EQ(slices[0].at("dur"), 3.0);
    ASSERT_EQ(named(events, "request").size(), 1u);
    arrows.push_back(named(events, "request")[0]);
    EXPECT_EQ(arrows.back().at("tid"), slices[0].at("tid"));
  };
  add(TraceRecord::What::send, NodeId(9), NodeId(2), "send push");
  add(TraceRecord::What::serve, NodeId(2), NodeId(9), "serve push");
  add(TraceRecord::What::answer, NodeId(9), NodeId(2), "answer push");
  ASSERT_EQ(arrows.size(), 3u);
  EXPECT_EQ(arrows[0].at("ph"), "s");
  EXPECT_EQ(arrows[1].at("ph"), "t");
  EXPECT_EQ(arrows[2].at("ph"), "f");
  EXPECT_EQ(arrows[0].at("id"), arrows[1].at("id"));
  EXPECT_EQ(arrows[0].at("id"), arrows[2].at("id"));
}

TEST_F(TraceTest, WhatTheQueueCannotHoldIsCountedAndMarked) {
  auto trace = open({4, std::chrono::hours(1)});
  for (int i = 0; i < 10; ++i) trace->record(life());
  EXPECT_EQ(trace->dropped(), 6u);
  const auto events = events_of(std::move(trace));
  EXPECT_EQ(named(events, "push").size(), 8u);  // begin and end of four
  ASSERT_EQ(named(events, "records dropped").size(), 1u);
  EXPECT_EQ(named(events, "records dropped")[0].at("args").at("count"), 6);
  EXPECT_EQ(events.back().at("args").at("recorded"), 4);
  EXPECT_EQ(events.back().at("args").at("dropped"), 6);
}

TEST_F(TraceTest, RecordsOfManyThreadsAllComeUnderTheirThreads) {
  constexpr int kThreads = 4;
  constexpr int kEach = 200;
  auto trace = open({kThreads * kEach, std::chrono::milliseconds(1)});
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) trace->record(life());
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(trace->dropped(), 0u);
  const auto events = events_of(std::move(trace));
  std::map<int, int> by_thread;
  for (const auto& event : named(events, "push")) ++by_thread[event.at("tid").get<int>()];
  EXPECT_EQ(by_thread.size(), std::size_t{kThreads});
  for (const auto& [thread, count] : by_thread) EXPECT_EQ(count, 2 * kEach) << thread;
}

TEST_F(TraceTest, ProcessAndThreadsHaveNames) {
  auto trace = open();
  trace->joined(NodeId(12));
  trace->record(life());
  const auto events = events_of(std::move(trace));
  ASSERT_EQ(named(events, "process_name").size(), 1u);
  const auto name = named(events, "process_name")[0];
  EXPECT_EQ(name.at("ph"), "M");
  EXPECT_EQ(name.at("pid"), 12);
  EXPECT_EQ(name.at("args").at("name"), "worker 0 (pid " + std::to_string(::getpid()) + ")");
  ASSERT_EQ(named(events, "thread_name").size(), 1u);
  EXPECT_EQ(named(events, "thread_name")[0].at("tid"), named(events, "push")[0].at("tid"));
}

TEST_F(TraceTest, ToRecordAllocatesNothing) {
  auto trace = open();
  trace->record(life());
  const auto before = test::allocations();
  for (int i = 0; i < 2000; ++i) trace->record(life());  // more than the queue holds
  EXPECT_EQ(test::allocations(), before);
}

TEST_F(TraceTest, WithoutItsEndAFileIsStillEventsOnLinesOfTheirOwn) {
  auto trace = open();
  trace->record(life());
  const auto path = trace->path();
  trace.reset();
  // As the kernel has it where the process was killed: whole lines, no closing bracket.
  auto text = text_of(path);
  text.resize(text.rfind('\n', text.rfind("end of trace")));
  ASSERT_TRUE(text.ends_with(','));
  text.back() = ']';
  EXPECT_EQ(named(json::parse(text), "push").size(), 2u);
}

TEST_F(TraceTest, EachTraceHasAFileOfItsOwn) {
  auto first = open();
  auto second = open();
  const auto stem = directory_.path() / ("t.worker-0." + std::to_string(::getpid()));
  EXPECT_EQ(first->path(), stem.string() + ".json");
  EXPECT_EQ(second->path(), stem.string() + "-2.json");
}

TEST_F(TraceTest, AFileThatCannotBeMadeIsAnErrorAtOnce) {
  const auto base = (directory_.path() / "none" / "t.json").string();
  for (const auto& error :
       {Trace::open(base, "worker", clock_).error(), Trace::check(base).error()}) {
    EXPECT_EQ(error.code, Errc::io);
    EXPECT_NE(error.message().find("--trace, SHOAL_TRACE"), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("none/t."), std::string::npos) << error.message();
    EXPECT_NE(error.message().find("No such file"), std::string::npos) << error.message();
  }
  EXPECT_TRUE(Trace::check(this->base()).ok());
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

}  // namespace
}  // namespace shoal
