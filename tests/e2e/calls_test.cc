// Calls that are wrong: a clear error at once, and the worker goes on.

#include <gtest/gtest.h>

#include "tests/e2e/cluster.h"

namespace shoal::e2e {
namespace {

using Calls = EndToEnd;

TEST_F(Calls, TableThatWasDroppedIsUnknown) {
  start_cluster({.servers = 1, .workers = 2});
  all("open t rows=10");
  EXPECT_OK(worker(0).call("push before t rows=0:10"));
  EXPECT_OK(worker(0).call("wait before"));
  EXPECT_OK(worker(0).call("drop t"));
  for (int i = 0; i < 2; ++i) {
    EXPECT_OK(worker(i).call("push p t rows=0:10"));
    EXPECT_FAILED(worker(i).call("wait p"), "unknown_name", "'t'");
    EXPECT_OK(worker(i).call("pull q t rows=0:10"));
    EXPECT_FAILED(worker(i).call("wait q"), "unknown_name", "'t'");
  }
  EXPECT_FAILED(worker(0).call("set t learning_rate 1"), "unknown_name");
  // A new one of that name is another table, empty.
  EXPECT_OK(worker(1).call("open t rows=10 staleness=unbounded as=again"));
  EXPECT_OK(worker(1).call("pull r again rows=0:10"));
  EXPECT_OK(worker(1).call("wait r"));
  EXPECT_EQ(worker(1).call("values r").number("sum"), 0);
}

TEST_F(Calls, ReopeningWithAnotherSpecNamesTheField) {
  start_cluster({.servers = 1, .workers = 2});
  EXPECT_OK(worker(0).call("open t rows=10 width=2 rule=sgd staleness=1"));
  struct Case {
    const char* options;
    const char* field;
  };
  for (const auto& [options, field] :
       {Case{"rows=10 width=2 rule=sgd staleness=1 dtype=f64", "dtype"},
        Case{"rows=10 width=3 rule=sgd staleness=1", "width"},
        Case{"rows=10 width=2 rule=add staleness=1", "update"},
        Case{"rows=11 width=2 rule=sgd staleness=1", "rows"},
        Case{"rows=10 width=2 rule=sgd staleness=2", "staleness"},
        Case{"layout=sparse width=2 rule=sgd staleness=1", "layout"}})
    EXPECT_FAILED(worker(1).call(std::string("open t as=other ") + options), "mismatch", field);
  EXPECT_OK(worker(1).call("open t rows=10 width=2 rule=sgd staleness=1"));
}

TEST_F(Calls, SpecThatCannotBeIsRefused) {
  start_cluster();
  EXPECT_FAILED(worker(0).call("open t rows=0"), "invalid_argument", "rows");
  EXPECT_FAILED(worker(0).call("open t layout=sparse apply=collective"), "invalid_argument",
                "collective");
  EXPECT_FAILED(worker(0).call("open t rows=4 rule=assign"), "invalid_argument", "assign");
  EXPECT_OK(worker(0).call("open t rows=10"));
}

TEST_F(Calls, RuleThatNoServerKnowsIsRefusedAtOpen) {
  start_cluster();
  EXPECT_FAILED(worker(0).call("open t rows=10 rule=adagard"), "unknown_name",
                "did you mean 'adagrad'");
  EXPECT_FAILED(worker(0).call("open t rows=10 rule=sgd dtype=i32"), "unavailable",
                "it has f32, f64");
  EXPECT_OK(worker(0).call("open good rows=10"));
  EXPECT_OK(worker(0).call("train good 2 rows=0:10"));
}

TEST_F(Calls, CollectiveTableIsOpenedByAllOrByNobody) {
  start_cluster({.servers = 1, .workers = 2, .settings = {{"SHOAL_OPERATION_TIMEOUT", "1s"}}});
  const std::string collective = " rows=10 apply=collective";
  EXPECT_FAILED(worker(0).call("open alone" + collective), "timed_out", "worker");
  // Together it works, also after the attempt that failed.
  all("open together" + collective);
  all("push_pull p together rows=0:10 value=3");
  all("wait p");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(worker(i).call("values p").number("sum"), 60);
}

TEST_F(Calls, CollectiveTableIsOpenedAtEqualClocks) {
  start_cluster({.servers = 1, .workers = 2, .settings = {{"SHOAL_OPERATION_TIMEOUT", "2s"}}});
  const std::string collective = " rows=10 apply=collective";
  EXPECT_OK(worker(1).call("tick"));
  worker(0).send("open t" + collective);
  worker(1).send("open t" + collective);
  const auto first = worker(0).reply(), second = worker(1).reply();
  EXPECT_FALSE(first.ok) << first.text;
  EXPECT_FALSE(second.ok) << second.text;
  EXPECT_TRUE(first.says("clock") || second.says("clock")) << first.text << "; " << second.text;
  EXPECT_OK(worker(0).call("tick"));
  all("open t" + collective);
}

TEST_F(Calls, KeysAndRowsOutOfRangeAreNamed) {
  start_cluster();
  EXPECT_OK(worker(0).call("open t rows=100 staleness=unbounded"));
  for (const auto* verb : {"push", "pull", "store", "push_pull"}) {
    EXPECT_OK(worker(0).call(std::string(verb) + " p t rows=50:101"));
    EXPECT_FAILED(worker(0).call("wait p"), "out_of_range", "101") << verb;
    EXPECT_OK(
        worker(0).call(std::string(verb) + " p t rows=0x8000000000000000:0x8000000000000001"));
    EXPECT_FAILED(worker(0).call("wait p"), "out_of_range") << verb;
  }
  for (const auto* verb : {"push", "pull", "store"}) {
    EXPECT_OK(worker(0).call(std::string(verb) + " p t keys=5,7,100,3"));
    EXPECT_FAILED(worker(0).call("wait p"), "out_of_range", "100") << verb;
  }
  // Nothing of the wrong calls was applied.
  EXPECT_OK(worker(0).call("pull p t rows=0:100"));
  EXPECT_OK(worker(0).call("wait p"));
  EXPECT_EQ(worker(0).call("values p").number("sum"), 0);
}

TEST_F(Calls, ValueCountThatDoesNotMatchSaysBoth) {
  start_cluster();
  EXPECT_OK(worker(0).call("open t rows=100 width=3 staleness=unbounded"));
  for (const auto* verb : {"push", "pull", "store", "push_pull"}) {
    EXPECT_OK(worker(0).call(std::string(verb) + " p t rows=0:10 count=29"));
    const auto reply = worker(0).call("wait p");
    EXPECT_FAILED(reply, "mismatch", "29") << verb;
    EXPECT_TRUE(reply.says("30")) << reply.text;
  }
  EXPECT_OK(worker(0).call("push p t keys=1,2 count=7"));
  EXPECT_FAILED(worker(0).call("wait p"), "mismatch", "7");
}

TEST_F(Calls, NaNPassesThroughBitForBit) {
  start_cluster();
  const std::string nan = "0x7fc12345";
  EXPECT_OK(worker(0).call("open dense rows=8 rule=assign staleness=unbounded"));
  EXPECT_OK(worker(0).call("open sparse layout=sparse rule=assign staleness=unbounded"));
  for (const std::string where : {" dense rows=0:1", " sparse keys=77"}) {
    for (const std::string verb : {"push", "store"}) {
      EXPECT_OK(worker(0).call(verb + " p" + where + " bits=" + nan));
      EXPECT_OK(worker(0).call("wait p"));
      EXPECT_OK(worker(0).call("pull q" + where));
      EXPECT_OK(worker(0).call("wait q"));
      EXPECT_TRUE(worker(0).call("bits q").says("bits=" + nan)) << verb << where;
      EXPECT_OK(worker(0).call(verb + " p" + where + " value=0"));
      EXPECT_OK(worker(0).call("wait p"));
    }
  }
  // It stays where it was put: neighbours are not touched.
  EXPECT_OK(worker(0).call("push p dense rows=3:4 bits=" + nan));
  EXPECT_OK(worker(0).call("pull q dense rows=4:8 after=p"));
  EXPECT_OK(worker(0).call("wait q"));
  EXPECT_EQ(worker(0).call("values q").number("sum"), 0);
}

TEST_F(Calls, WaitingForOnesOwnTickSaysSoAndTheTicketStaysGood) {
  start_cluster();
  EXPECT_OK(worker(0).call("open t rows=10"));
  EXPECT_OK(worker(0).call("push a t rows=0:10 value=5"));
  EXPECT_OK(worker(0).call("pull p t rows=0:10 ahead=1"));
  EXPECT_FAILED(worker(0).call("wait p"), "needs_tick", "tick()");
  EXPECT_FAILED(worker(0).call("wait p"), "needs_tick", "'t'");
  // So does a push that would have to follow it in the same clock.
  EXPECT_OK(worker(0).call("push b t rows=0:10 after=p"));
  EXPECT_FAILED(worker(0).call("wait b"), "needs_tick", "tick()");
  EXPECT_OK(worker(0).call("tick"));
  const auto reply = worker(0).call("wait p");
  EXPECT_OK(reply);
  EXPECT_EQ(reply.number("oldest"), 1);
  EXPECT_EQ(worker(0).call("values p").number("sum"), 50);
}

TEST_F(Calls, RepeatedAndUnsortedKeysAddUp) {
  start_cluster({.servers = 2, .workers = 1});
  EXPECT_OK(worker(0).call("open t layout=sparse rule=add staleness=unbounded dtype=i64"));
  EXPECT_OK(worker(0).call("push p t keys=9,1,9,0xffffffffffffffff,9,0 value=2"));
  EXPECT_OK(worker(0).call("wait p"));
  EXPECT_OK(worker(0).call("pull q t keys=0,9,9,5,0xffffffffffffffff"));
  EXPECT_OK(worker(0).call("wait q"));
  EXPECT_EQ(worker(0).call("values q").number("sum"), 2 + 6 + 6 + 0 + 2);
}

TEST_F(Calls, TablesOf16BitFloatsAddUpInF32) {
  start_cluster({.servers = 2, .workers = 2});
  for (const std::string dtype : {"f16", "bf16"}) {
    SCOPED_TRACE(dtype);
    all("open d" + dtype + " rows=300001 width=3 apply=per_clock dtype=" + dtype);
    all("open s" + dtype + " layout=sparse width=3 rule=add apply=per_clock dtype=" + dtype);
    const auto each = [&](const std::string& line) {
      all(line);
      all("wait p");
    };
    each("push p d" + dtype + " rows=0:300001 value=256.5");  // 257, or (bf16) 256, when rounded
    each("push p d" + dtype + " rows=1000:1001 value=1");
    each("push p s" + dtype + " keys=7,9,7,300 value=0.125");
    all("tick");
    const auto sum = [&](const std::string& what) {
      EXPECT_OK(worker(0).call("pull q " + what));
      EXPECT_OK(worker(0).call("wait q"));
      return worker(0).call("values q").number("sum");
    };
    const double half = dtype == "f16" ? 256.5 : 256;  // what arrives of 256.5
    EXPECT_EQ(sum("d" + dtype + " rows=5:7"), 2 * 3 * 2 * half);
    EXPECT_EQ(sum("d" + dtype + " keys=300000,0"), 2 * 3 * 2 * half);
    EXPECT_EQ(sum("d" + dtype + " rows=1000:1001"), 3 * (dtype == "f16" ? 515 : 512));
    EXPECT_EQ(sum("s" + dtype + " keys=7,9,300,8"), 3 * (0.5 + 0.25 + 0.25));
  }
  EXPECT_FAILED(worker(0).call("open df16 rows=300001 width=3 apply=per_clock dtype=bf16"),
                "mismatch", "dtype");
}

TEST_F(Calls, PullThatWaitsForAStragglerNamesItAtTheDeadline) {
  start_cluster({.servers = 1, .workers = 2});
  all("open t rows=10");
  EXPECT_OK(worker(0).call("tick"));
  EXPECT_OK(worker(0).call("pull p t rows=0:10 timeout=300ms"));
  const auto reply = worker(0).call("wait p");
  EXPECT_FAILED(reply, "timed_out", "held back by");
  EXPECT_TRUE(reply.says("the global clock is 0")) << reply.text;
  EXPECT_OK(worker(1).call("tick"));
  EXPECT_OK(worker(0).call("pull p t rows=0:10"));
  EXPECT_OK(worker(0).call("wait p"));
}

TEST_F(Calls, CancelledPushIsNowhereAndCancelledPullTouchesNothing) {
  start_cluster({.servers = 1, .workers = 2});
  all("open t rows=10");
  EXPECT_OK(worker(0).call("tick"));
  EXPECT_OK(worker(0).call("pull p t rows=0:10"));  // waits for worker 1
  EXPECT_OK(worker(0).call("fill p 85"));
  EXPECT_OK(worker(0).call("push q t rows=0:10 after=p"));
  EXPECT_OK(worker(0).call("cancel q"));
  EXPECT_FAILED(worker(0).call("wait q"), "cancelled");
  EXPECT_OK(worker(0).call("cancel p"));
  EXPECT_FAILED(worker(0).call("wait p"), "cancelled");
  all("tick");
  EXPECT_OK(worker(1).call("tick"));
  EXPECT_OK(worker(0).call("pull r t rows=0:10"));
  EXPECT_OK(worker(0).call("wait r"));
  EXPECT_EQ(worker(0).call("values r").number("sum"), 0);
  EXPECT_EQ(worker(0).call("unchanged p 85").number("changed"), 0);
}

TEST_F(Calls, FullQueuesSayOverloadedAndRecover) {
  start_cluster({.servers = 1, .workers = 2, .settings = {{"SHOAL_OPERATIONS_MAX", "16"}}});
  all("open t rows=10");
  EXPECT_OK(worker(0).call("tick"));
  const auto flood = worker(0).call("flood 40 pull t rows=0:10");  // all wait for worker 1
  EXPECT_OK(flood);
  EXPECT_GE(flood.number("taken"), 8);
  EXPECT_LE(flood.number("taken"), 16);
  EXPECT_TRUE(flood.says("operations_max")) << flood.text;
  EXPECT_OK(worker(1).call("tick"));
  const auto drained = worker(0).call("drain");
  EXPECT_EQ(drained.number("ok"), flood.number("taken"));
  EXPECT_OK(worker(0).call("pull p t rows=0:10"));
  EXPECT_OK(worker(0).call("wait p"));
}

TEST_F(Calls, MoreThanTheServersQuotaIsHeldBackAndNothingIsLost) {
  start_cluster({.servers = 1,
                 .workers = 2,
                 .settings = {{"SHOAL_CREDITS", "4"}, {"SHOAL_PARKED_QUOTA", "4"}}});
  all("open t rows=1000");
  EXPECT_OK(worker(0).call("tick"));
  EXPECT_EQ(worker(0).call("flood 200 pull t rows=0:1000").number("taken"), 200);
  // Nobody's pushes are starved by what is parked, the flooding worker's neither.
  EXPECT_OK(worker(0).call("push own t rows=0:1000 value=1"));
  EXPECT_OK(worker(0).call("wait own"));
  EXPECT_OK(worker(1).call("push p t rows=0:1000 value=1"));
  EXPECT_OK(worker(1).call("wait p"));
  EXPECT_OK(worker(1).call("tick"));
  EXPECT_EQ(worker(0).call("drain").number("ok"), 200);
}

}  // namespace
}  // namespace shoal::e2e
