#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>

#include "core/ops/rule_set.h"
#include "server/scheduler/membership.h"

// Drives a Membership as the scheduler does: events, then a stored view, then answers.

namespace shoal {

inline constexpr std::uint64_t kSegmentRows = kSegmentBytes / sizeof(float);

inline Duration seconds(int n) { return std::chrono::seconds(n); }

struct Script {
  explicit Script(Membership::Options o = {}, std::optional<StoredView> from = std::nullopt,
                  TimePoint start = TimePoint(std::chrono::seconds(100)))
      : options(o), now(start), members(o, from, start) {
    settle();
  }

  /// Polls, stores, and takes in the answers. Every view that is stored must be one that nodes
  /// accept, newer than the last, and reached by a delta.
  void settle() {
    members.poll(now);
    if (members.changed()) {
      auto stored_now = members.stamped();
      const auto bytes = encode_view(stored_now.view);
      const auto read = decode_view(bytes);
      ASSERT_TRUE(read.ok()) << read.error().message();
      ASSERT_EQ(*read, stored_now.view);
      if (stored) {
        ASSERT_GT(stored_now.view.epoch, stored->view.epoch);
        const auto step = apply_delta(stored->view, encode_delta(stored->view, stored_now.view));
        ASSERT_TRUE(step.ok()) << step.error().message();
        ASSERT_EQ(*step, stored_now.view);
      }
      members.commit(bytes.size());
      stored = std::move(stored_now);
    }
    for (auto& answer : members.take_answers()) {
      ASSERT_FALSE(answers.contains(answer.asker)) << "answered twice";
      answers.emplace(answer.asker, answer);
    }
  }
  void pass(Duration time) {
    now += time;
    settle();
  }
  /// The scheduler is killed, and another takes up what was stored.
  void restart() {
    members = Membership(options, stored, now);
    answers.clear();
    settle();
  }

  const Membership::Answer* find(Membership::Asker asker) {
    settle();
    const auto at = answers.find(asker);
    return at == answers.end() ? nullptr : &at->second;
  }
  Membership::Answer take(Membership::Asker asker) {
    const auto* found = find(asker);
    if (found == nullptr) {
      ADD_FAILURE() << "not answered yet";
      return {};
    }
    return *found;
  }

  Membership::Asker join(Role role, std::uint64_t incarnation, std::string address = {}) {
    if (role == Role::server && address.empty())
      address = "host" + std::to_string(incarnation) + ":1";
    Join join{role, Incarnation(incarnation), {}, std::move(address)};
    if (role == Role::server) {
      join.rules = rules;
      join.memory_bytes = memory_bytes;
    }
    members.join(next, join, now);
    return next++;
  }
  NodeId joined(Role role, std::uint64_t incarnation) {
    const auto answer = take(join(role, incarnation));
    EXPECT_EQ(answer.code, Errc::ok) << answer.text;
    return answer.joined ? answer.joined->node : NodeId{};
  }
  /// A cluster with `server_count` servers and `worker_count` workers.
  void form(std::uint32_t server_count, std::uint32_t worker_count) {
    for (std::uint32_t i = 0; i < server_count; ++i)
      servers.push_back(joined(Role::server, 100 + i));
    std::vector<Membership::Asker> askers;
    for (std::uint32_t i = 0; i < worker_count; ++i) askers.push_back(join(Role::worker, 200 + i));
    for (const auto asker : askers) workers.push_back(take(asker).joined->node);
  }
  /// Everybody is heard of.
  void beat() {
    for (const auto& node : members.draft().nodes) {
      members.heard(node.id, node.incarnation, 1, now);
    }
  }
  void tick(NodeId worker, std::int64_t reported, std::int64_t local) {
    Tick tick;
    tick.node = worker;
    tick.reported = WorkerClock(reported);
    tick.local = WorkerClock(local);
    members.tick(tick, members.draft().epoch, now);
    settle();
  }
  void tick(NodeId worker, std::int64_t clock) { tick(worker, clock, clock); }
  std::int64_t clock() const { return members.global_clock().value; }

  Membership::Asker open(NodeId worker, const TableSpec& spec, std::int64_t clock = 0) {
    members.open_table(next, worker, WorkerClock(clock), spec, now);
    return next++;
  }
  Membership::Asker set(NodeId worker, TableId table, SetParameter change) {
    members.set_parameter(next, worker, table, change);
    return next++;
  }
  Membership::Asker barrier(NodeId worker, std::uint64_t number) {
    members.barrier(next, {worker, number});
    return next++;
  }
  void cancel(Membership::Asker asker) {
    members.cancel(asker);
    settle();
  }
  void leave(NodeId node) {
    members.leave(next, node);
    EXPECT_EQ(take(next++).code, Errc::ok);
  }
  const ClusterView& view() {
    settle();
    return stored->view;
  }

  Membership::Options options;
  std::vector<RuleInfo> rules = RuleSet::builtin().infos();  ///< of servers that join
  std::uint64_t memory_bytes = std::uint64_t{1} << 60;       ///< likewise
  TimePoint now;
  Membership members;
  std::optional<StoredView> stored;
  std::map<Membership::Asker, Membership::Answer> answers;
  std::vector<NodeId> servers, workers;
  Membership::Asker next = 1;
};

inline Membership::Options expecting(std::uint32_t servers, std::uint32_t workers) {
  Membership::Options options;
  options.servers_expected = servers;
  options.workers_expected = workers;
  return options;
}

inline TableSpec dense(std::string name, std::uint64_t rows, Apply apply = Apply::per_clock,
                       std::int64_t staleness = 0) {
  TableSpec spec;
  spec.name = std::move(name);
  spec.rows = rows;
  spec.apply = apply;
  spec.staleness = staleness;
  return spec;
}

}  // namespace shoal
