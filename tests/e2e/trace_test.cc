// The option `trace`: a file for each worker and server, whose requests can be told to be the same.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/ops/rules.h"
#include "server/local_cluster.h"
#include "tests/e2e/cluster.h"
#include "worker/worker.h"

namespace shoal::e2e {
namespace {

using nlohmann::json;

std::string read_all(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// The traces in a directory, by the name of their node.
std::map<std::string, json> traces_in(const std::filesystem::path& directory) {
  std::map<std::string, json> traces;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const auto file = entry.path().filename().string();
    const auto begin = file.find('.') + 1;
    auto events = json::parse(read_all(entry.path()), nullptr, false);
    EXPECT_FALSE(events.is_discarded()) << file;
    EXPECT_TRUE(traces.emplace(file.substr(begin, file.find('.', begin) - begin), events).second)
        << file;
  }
  return traces;
}

std::set<std::string> ids_of(const json& events, const std::string& phase) {
  std::set<std::string> ids;
  for (const auto& event : events)
    if (event.at("ph") == phase) ids.insert(event.at("id").get<std::string>());
  return ids;
}

/// The spans of each operation or request named `name`, in the order of their beginnings.
std::vector<std::vector<std::string>> lives_of(const json& events, const std::string& name) {
  std::vector<std::vector<std::string>> lives;
  std::map<std::string, std::vector<json>> by_id;
  std::set<std::string> wanted;
  for (const auto& event : events)
    if (event.at("ph") == "b") {
      const auto id = event.at("id2").at("local").get<std::string>();
      by_id[id].push_back(event);
      if (event.at("name") == name) wanted.insert(id);
    }
  for (const auto& id : wanted) {
    auto& spans = by_id[id];
    std::stable_sort(spans.begin(), spans.end(),
                     [](const json& a, const json& b) { return a.at("ts") < b.at("ts"); });
    auto& life = lives.emplace_back();
    for (const auto& span : spans) life.push_back(span.at("name"));
  }
  return lives;
}

class TraceOption : public EndToEnd {
 protected:
  Process& run(const std::string& file, const std::string& script) {
    return start_shoal(
        {"run", "--servers", "2", "--workers", "2", "--trace", file, "--", "/bin/sh", "-c", script},
        {{"TEST_WORKER", SHOAL_TEST_WORKER},
         {"SHOAL_SCHEDULER", ""},
         {"SHOAL_TOKEN_FILE", ""},
         {"SHOAL_SERVERS", ""},
         {"SHOAL_WORKERS", ""}});
  }
  static constexpr auto kTrain =
      "printf 'connect\\nopen t rows=100 rule=add\\ntrain t 5 rows=0:100\\n"
      "barrier\\nleave\\nquit\\n' | $TEST_WORKER";
  TempDir traces_;
};

TEST_F(TraceOption, EachNodeOfARunHasItsFileAndRequestsAreTheSameInBoth) {
  auto& process = run((traces_.path() / "t.json").string(), kTrain);
  ASSERT_EQ(process.wait_exit(), 0) << process.log();
  const auto traces = traces_in(traces_.path());
  ASSERT_EQ(traces.size(), 4u);
  std::set<std::string> sent, served, answered;
  for (const auto* name : {"worker-0", "worker-1"}) {
    ASSERT_TRUE(traces.contains(name)) << name;
    sent.merge(ids_of(traces.at(name), "s"));
    answered.merge(ids_of(traces.at(name), "f"));
    const auto pushes = lives_of(traces.at(name), "push");
    EXPECT_EQ(pushes.size(), 5u);
    for (const auto& push : pushes) {
      ASSERT_GE(push.size(), 3u);
      EXPECT_EQ(push[0], "push");
      EXPECT_EQ(push[1], "issued-sent");
      EXPECT_EQ(push[2], "sent-answered");
    }
    EXPECT_FALSE(lives_of(traces.at(name), "pull").empty());
  }
  std::size_t applied = 0;
  for (const auto* name : {"server-0", "server-1"}) {
    ASSERT_TRUE(traces.contains(name)) << name;
    served.merge(ids_of(traces.at(name), "t"));
    for (const auto& push : lives_of(traces.at(name), "push")) {
      ++applied;
      EXPECT_EQ(push, (std::vector<std::string>{"push", "received-admitted", "admitted-applied",
                                                "applied-answered"}));
    }
  }
  EXPECT_GE(applied, 10u);
  EXPECT_FALSE(sent.empty());
  EXPECT_EQ(sent, served);
  EXPECT_EQ(sent, answered);
}

TEST_F(TraceOption, TheFilesOfARunCanBeJoinedAsTheManualSays) {
  auto& process = run((traces_.path() / "t.json").string(), kTrain);
  ASSERT_EQ(process.wait_exit(), 0) << process.log();
  std::size_t events = 0;
  for (const auto& [name, trace] : traces_in(traces_.path())) events += trace.size();
  Process join("join",
               {"/bin/sh", "-c",
                "cd " + traces_.path().string() +
                    " && (echo '['; sed -e '/^[][]$/d' -e 's/}$/},/' t.*.json) > all.json"},
               {});
  ASSERT_EQ(join.wait_exit(), 0) << join.log();
  auto text = read_all(traces_.path() / "all.json");
  ASSERT_TRUE(text.ends_with(",\n"));  // readers do without the bracket, this one does not
  text.replace(text.size() - 2, 2, "]");
  EXPECT_EQ(json::parse(text).size(), events);
}

TEST_F(TraceOption, APathThatCannotBeWrittenIsAnErrorAtTheStart) {
  auto& process = run((traces_.path() / "none" / "t.json").string(), "echo ran");
  EXPECT_EQ(process.wait_exit(), 2);
  EXPECT_TRUE(process.logged("--trace, SHOAL_TRACE")) << process.log();
  EXPECT_EQ(process.log().find("ran"), std::string::npos);
  auto& server = start_shoal({"server", "--scheduler", "127.0.0.1:1", "--trace",
                              (traces_.path() / "none" / "t.json").string()});
  EXPECT_EQ(server.wait_exit(), 1);
  EXPECT_TRUE(server.logged("--trace, SHOAL_TRACE")) << server.log();
}

/// One operation of each kind, in a cluster within this process.
void train_locally(const std::string& trace) {
  LocalCluster::Options options;
  options.servers = 2;
  options.config.trace = trace;
  auto cluster = LocalCluster::start(std::move(options)).value();
  auto worker = Worker::connect(cluster.config()).value();
  auto table = worker.create_or_open<float>({.name = "w", .rows = 1u << 18}).value();
  auto values = worker.allocate<float>(1u << 18).value();  // 1 MiB: READ and WRITTEN
  table.push({0, 1u << 18}, values).wait().value();
  worker.tick();
  table.pull({0, 1u << 18}, values).wait().value();
  worker.leave().value();
}

TEST(TraceOfLocalCluster, ItsNodesHaveTheirFilesToo) {
  const TempDir directory;
  train_locally((directory.path() / "t.json").string());
  const auto traces = traces_in(directory.path());
  ASSERT_EQ(traces.size(), 3u);
  for (const auto* name : {"server-0", "server-1", "worker"}) EXPECT_TRUE(traces.contains(name));
  const std::vector<std::string> whole{"issued-sent", "sent-answered", "answered-polled"};
  for (const auto* kind : {"push", "pull"}) {
    auto expected = whole;
    expected.insert(expected.begin(), kind);
    const auto lives = lives_of(traces.at("worker"), kind);
    ASSERT_EQ(lives.size(), 1u) << kind;
    EXPECT_EQ(lives[0], expected);
  }
  EXPECT_FALSE(lives_of(traces.at("server-0"), "pull").empty());
  for (const auto& pull : lives_of(traces.at("server-0"), "pull"))
    EXPECT_EQ(pull, (std::vector<std::string>{"pull", "received-admitted", "admitted-answered"}));
}

TEST(TraceOfLocalCluster, NothingIsWrittenWhereNobodyAsks) {
  const TempDir directory;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());
  train_locally("");
  std::filesystem::current_path(before);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

}  // namespace
}  // namespace shoal::e2e
