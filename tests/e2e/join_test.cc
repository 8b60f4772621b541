// Joining: what a process that cannot become part of the cluster is told, and when.

#include <gtest/gtest.h>

#include <csignal>

#include "tests/e2e/cluster.h"
#include "tests/e2e/stranger.h"

namespace shoal::e2e {
namespace {

using Join = EndToEnd;

TEST_F(Join, SchedulerThatRefusesConnectionsIsNamedAtTheDeadline) {
  write_file("token", token(), 0600);
  const DeadPort nobody;
  auto& worker =
      start_worker({{"SHOAL_SCHEDULER", nobody.address()}, {"SHOAL_JOIN_TIMEOUT", "300ms"}});
  EXPECT_FAILED(worker.call("connect"), "timed_out", nobody.address());
}

TEST_F(Join, SchedulerThatSaysNothingIsNamedAtTheDeadline) {
  write_file("token", token(), 0600);
  const Listener silent;
  auto& worker =
      start_worker({{"SHOAL_SCHEDULER", silent.address()}, {"SHOAL_JOIN_TIMEOUT", "300ms"}});
  EXPECT_FAILED(worker.call("connect"), "timed_out", silent.address());
}

/// Tries end long before the default deadline of one.
TEST_F(Join, EachTryToConnectHasItsDeadline) {
  write_file("token", token(), 0600);
  const Listener silent;
  const Process::Environment settings{{"SHOAL_SCHEDULER", silent.address()},
                                      {"SHOAL_CONNECT_TIMEOUT", "50ms"},
                                      {"SHOAL_JOIN_TIMEOUT", "1s"}};
  EXPECT_FAILED(start_worker(settings).call("connect"), "timed_out", "no answer in time");
  auto& server = start_shoal({"server", "--listen", "127.0.0.1:0"}, settings);
  EXPECT_EQ(server.wait_exit(), 1);
  EXPECT_TRUE(server.logged("no answer in time"));
}

TEST_F(Join, AWorkerCanWaitForASchedulerThatComesLater) {
  start_cluster({.servers = 1, .workers = 0});
  scheduler().kill();
  auto& worker = start_worker({{"SHOAL_WORKERS", "1"}});
  worker.send("connect");
  restart_scheduler();
  start_server();
  EXPECT_OK(worker.reply());
}

TEST_F(Join, SchedulerOfAnotherVersionIsToldApart) {
  write_file("token", token(), 0600);
  Listener listener;
  auto& worker =
      start_worker({{"SHOAL_SCHEDULER", listener.address()}, {"SHOAL_JOIN_TIMEOUT", "20s"}});
  worker.send("connect");
  auto peer = listener.accept();
  ASSERT_TRUE(peer);
  const Nonce nonce = fresh_nonce();
  FrameHeader challenge;
  challenge.version = 99;
  challenge.kind = FrameKind::auth_challenge;
  peer->send(frame_bytes(challenge, nonce));
  EXPECT_FAILED(worker.reply(), "version", "wire version");
  EXPECT_TRUE(worker.logged("wire version 99"));
}

TEST_F(Join, SomethingElseAtTheSchedulersAddressIsNoEndlessWait) {
  write_file("token", token(), 0600);
  Listener listener;
  auto& worker =
      start_worker({{"SHOAL_SCHEDULER", listener.address()}, {"SHOAL_JOIN_TIMEOUT", "500ms"}});
  worker.send("connect");
  auto peer = listener.accept();
  ASSERT_TRUE(peer);
  peer->send("220 mail.example.org ESMTP ready, and a few more words to fill a header\r\n");
  const auto reply = worker.reply();
  EXPECT_FALSE(reply.ok);
  EXPECT_TRUE(reply.code == "protocol" || reply.code == "timed_out") << reply.text;
  EXPECT_TRUE(reply.says(listener.address())) << reply.text;
}

// Nobody waits for the deadline of joining: it is longer than the test's patience.
TEST_F(Join, WrongTokenIsRefusedAtOnceAndTheClusterGoesOn) {
  start_cluster();
  const auto other = write_file("other", "no idea", 0600);
  auto& stranger = start_worker({{"SHOAL_TOKEN_FILE", other}, {"SHOAL_JOIN_TIMEOUT", "5min"}});
  const auto reply = stranger.call("connect");
  EXPECT_FAILED(reply, "refused", "does not know the same cluster token");
  EXPECT_TRUE(reply.says(scheduler_address())) << reply.text;
  EXPECT_TRUE(reply.says("token_file = '" + other + "' (SHOAL_TOKEN_FILE in the environment)"))
      << reply.text;
  EXPECT_OK(worker(0).call("open t rows=4"));
  EXPECT_OK(worker(0).call("train t 3 rows=0:4"));
}

TEST_F(Join, ServerWithTheWrongTokenEndsAtOnceAndSaysWhy) {
  start_cluster({.servers = 0, .workers = 0});
  const auto other = write_file("other", "no idea", 0600);
  auto& server = start_shoal({"server", "--listen", "127.0.0.1:0", "--token-file", other},
                             {{"SHOAL_JOIN_TIMEOUT", "5min"}});
  EXPECT_EQ(server.wait_exit(), 1);
  EXPECT_TRUE(server.logged(scheduler_address() + " does not know the same cluster token"));
  EXPECT_TRUE(server.logged("token_file = '" + other + "' (--token-file on the command line)"));
}

TEST_F(Join, StatusWithTheWrongTokenEndsAtOnceAndSaysWhy) {
  start_cluster({.servers = 0, .workers = 0});
  const auto other = write_file("other", "no idea", 0600);
  auto& status =
      start_shoal({"status"}, {{"SHOAL_TOKEN_FILE", other}, {"SHOAL_CONNECT_TIMEOUT", "5min"}});
  EXPECT_EQ(status.wait_exit(), 1);
  EXPECT_TRUE(status.logged(scheduler_address() + " does not know the same cluster token"));
  EXPECT_TRUE(status.logged("token_file = '" + other + "'"));
}

TEST_F(Join, TokenThatOthersMayReadIsRefused) {
  auto& worker = start_worker({{"SHOAL_SCHEDULER", "127.0.0.1:1"},
                               {"SHOAL_TOKEN_FILE", write_file("open", "secret", 0644)}});
  EXPECT_FAILED(worker.call("connect"), "invalid_argument", "chmod");
}

TEST_F(Join, TokenFileThatIsNotThereIsNamed) {
  const auto path = (directory() / "nowhere").string();
  auto& worker = start_worker({{"SHOAL_SCHEDULER", "127.0.0.1:1"}, {"SHOAL_TOKEN_FILE", path}});
  EXPECT_FAILED(worker.call("connect"), "io", path);
}

TEST_F(Join, MisspeltSettingIsAnErrorThatNamesTheNearest) {
  auto& worker = start_worker({{"SHOAL_WORKER_LEESE", "1s"}});
  EXPECT_FAILED(worker.call("connect"), "unknown_name", "worker_lease");
}

TEST_F(Join, AnEagerLimitBeyondWhatServersTakeNamesTheOption) {
  start_cluster({.servers = 1, .workers = 0, .settings = {{"SHOAL_WORKERS", "1"}}});
  auto& greedy = start_worker({{"SHOAL_EAGER_BYTES_MAX", "1MiB"}});
  EXPECT_FAILED(greedy.call("connect"), "invalid_argument",
                "eager_bytes_max = '1MiB': expected 0 to 64KiB");
  // The most that is allowed works: requests of just that many bytes, each way.
  auto& worker = start_worker_connected({{"SHOAL_EAGER_BYTES_MAX", "64KiB"}});
  EXPECT_OK(worker.call("open t rows=16384 slots=1 rule=add staleness=unbounded"));
  EXPECT_OK(worker.call("push p t rows=0:16384 value=2"));
  EXPECT_OK(worker.call("wait p"));
  EXPECT_OK(worker.call("pull q t rows=0:16384"));
  EXPECT_OK(worker.call("wait q"));
  EXPECT_EQ(worker.call("values q").number("sum"), 2 * 16384);
}

TEST_F(Join, IncompleteRosterIsAnErrorThatSaysHowManyAreMissing) {
  start_cluster({.servers = 1,
                 .workers = 0,
                 .settings = {{"SHOAL_WORKERS", "3"}, {"SHOAL_JOIN_TIMEOUT", "4s"}}});
  auto& first = start_worker();
  auto& second = start_worker();
  first.send("connect");
  second.send("connect");
  EXPECT_FAILED(first.reply(), "timed_out", "of 3 workers are missing");
  EXPECT_FAILED(second.reply(), "timed_out");
}

TEST_F(Join, AWorkerThatGivesUpBeforeTheSchedulerSaysWhoIsMissing) {
  start_cluster({.servers = 1, .workers = 0, .settings = {{"SHOAL_WORKERS", "3"}}});
  auto& worker = start_worker({{"SHOAL_JOIN_TIMEOUT", "2s"}});
  const auto reply = worker.call("connect");
  EXPECT_FAILED(reply, "timed_out", "within 2s (join_timeout)");
  EXPECT_TRUE(reply.says("2 of 3 workers are missing")) << reply.text;
}

TEST_F(Join, PortInUseNamesTheOptionToChange) {
  start_cluster({.servers = 0, .workers = 0});
  const Listener taken;
  for (const auto* what : {"scheduler", "server"}) {
    auto& process = start_shoal({what, "--listen", taken.address()});
    const auto status = process.wait_exit();
    ASSERT_TRUE(status) << what << " still runs";
    EXPECT_NE(*status, 0) << what;
    EXPECT_TRUE(process.logged("--listen")) << process.log();
    EXPECT_TRUE(process.logged(taken.address())) << process.log();
  }
}

TEST_F(Join, AServerUnderNohupOutlivesAHangup) {
  // As nohup(1) does, and with SIGINT the '&' of a shell without job control.
  start_cluster(
      {.server = {"/bin/sh", "-c", "trap '' HUP INT; exec \"$0\" \"$@\"", SHOAL_BINARY, "server"}});
  for (const int signal : {SIGHUP, SIGINT, SIGTERM}) server(0).signal(signal);
  EXPECT_EQ(server(0).wait_exit(), 0);
  EXPECT_TRUE(server(0).logged("SIGTERM came")) << "and not another before it\n" << server(0).log();
}

TEST_F(Join, UnwritableStateDirectoryIsNamed) {
  write_file("token", token(), 0600);
  // A file where a directory should be: not writable for root either.
  const auto path = write_file("file", "", 0600) + "/state";
  auto& process = start_shoal({"scheduler", "--listen", "127.0.0.1:0", "--state-dir", path});
  const auto status = process.wait_exit();
  ASSERT_TRUE(status) << "it still runs";
  EXPECT_NE(*status, 0);
  EXPECT_TRUE(process.logged(path)) << process.log();
}

TEST_F(Join, ObserverPullsButNeverPushes) {
  start_cluster();
  EXPECT_OK(worker(0).call("open t rows=4 rule=add staleness=unbounded"));
  EXPECT_OK(worker(0).call("push p t rows=0:4 value=2"));
  EXPECT_OK(worker(0).call("wait p"));
  auto& observer = start_worker_connected({}, "observer");
  EXPECT_OK(observer.call("open t rows=4 rule=add staleness=unbounded"));
  EXPECT_OK(observer.call("pull a t rows=0:4"));
  EXPECT_OK(observer.call("wait a"));
  EXPECT_EQ(observer.call("values a").number("sum"), 8);
  EXPECT_OK(observer.call("push b t rows=0:4"));
  EXPECT_FAILED(observer.call("wait b"), "invalid_argument", "observer");
  EXPECT_EQ(worker(0).call("clock").number("workers"), 1);
}

TEST_F(Join, AServerSaysThatItStillTriesAndWhyItHasNotJoined) {
  const auto token = write_file("own", "some token", 0600);
  auto& server =
      start_shoal({"server", "--scheduler", "127.0.0.1:1"}, {{"SHOAL_TOKEN_FILE", token}});
  EXPECT_TRUE(
      server.logged("has not joined yet, and keeps trying: scheduler 127.0.0.1:1: not "
                    "connected after"))
      << server.log();
  EXPECT_TRUE(server.logged("nobody listens there")) << server.log();
}

}  // namespace
}  // namespace shoal::e2e
