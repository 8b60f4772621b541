#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/ops/rule_set.h"
#include "server/scheduler/scheduler.h"
#include "transport/scheduler_link.h"
#include "transport/sim/driver.h"
#include "transport/sim/sim.h"

// A scheduler and nodes that do nothing but belong to its cluster, on the simulated network.

namespace shoal {

/// A node's link with a transport, and what it was told.
class Member final : public Pollable {
 public:
  Member(std::unique_ptr<Transport> transport, const Address& scheduler, Role role,
         std::uint64_t incarnation, std::string address)
      : transport_(std::move(transport)),
        link_(*transport_,
              {.scheduler = scheduler,
               .join = {role, Incarnation(incarnation), "node " + std::to_string(incarnation),
                        address,
                        role == Role::server ? RuleSet::builtin().infos() : std::vector<RuleInfo>(),
                        role == Role::server ? std::uint64_t{1} << 40 : 0},
               .silence = std::chrono::seconds(2),
               .seed = incarnation}),
        events_(64) {}

  bool poll(TimePoint now) override {
    const auto count = transport_->poll(events_);
    for (std::size_t i = 0; i < count; ++i) {
      SchedulerLink::Change change;
      if (!link_.handle(events_[i], now, change)) continue;
      if (change.refused != Errc::ok) refused = change.refused;
      if (change.answered) {
        const auto& frame = change.answer.frame;
        answers.push_back(
            {change.answer.context,
             static_cast<Errc>(frame.header.status),
             frame.header.table,
             {reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size()}});
        if (frame.header.table.value != 0 && frame.header.status == 0)
          table_was_in_view = link_.view()->find_table(frame.header.table) != nullptr;
      }
      if (change.view) epochs.push_back(link_.view()->epoch);
    }
    const bool any = link_.poll(now);
    transport_->flush();
    return any || count > 0;
  }
  TimePoint next_timer() const override {
    return std::min(link_.next_timer(), transport_->next_timer());
  }
  Transport& transport() override { return *transport_; }

  struct Answer {
    std::uint64_t context = 0;
    Errc code = Errc::ok;
    TableId table;
    std::string text;
  };
  std::vector<Answer> answers;
  std::vector<Epoch> epochs;
  Errc refused = Errc::ok;
  bool table_was_in_view = false;

  SchedulerLink& link() { return link_; }
  bool joined() const { return link_.joined().has_value(); }
  NodeId id() const { return link_.joined() ? link_.joined()->node : NodeId{}; }

 private:
  std::unique_ptr<Transport> transport_;
  SchedulerLink link_;
  std::vector<Event> events_;
};

class SchedulerTest : public testing::Test {
 protected:
  struct Machine {
    SimNodeId node, heart_node;
    std::unique_ptr<Member> member;
    std::unique_ptr<Transport> heart_transport;
    std::unique_ptr<Heart> heart;
    std::atomic<std::uint64_t> turns{0};
    std::uint64_t incarnation = 0;
    Role role = Role::worker;
  };

  SchedulerTest() : network_(SimOptions{}), driver_(network_) {
    scheduler_node_ = network_.create_node("scheduler");
  }
  ~SchedulerTest() override {
    for (auto& machine : machines_) kill(*machine);
    if (scheduler_) kill_scheduler();
  }

  void start_scheduler(std::uint32_t servers, std::uint32_t workers) {
    options_.membership.servers_expected = servers;
    options_.membership.workers_expected = workers;
    transport_ = network_.start(scheduler_node_);
    ASSERT_TRUE(transport_->listen(address_).ok());
    scheduler_ = Scheduler::create(*transport_, options_, *store_, network_.now()).value();
    driver_.attach(scheduler_node_, *scheduler_);
  }
  void kill_scheduler() {
    driver_.detach(scheduler_node_);
    network_.crash(scheduler_node_);
    scheduler_.reset();
    transport_.reset();
  }

  Machine& start(Role role) {
    auto& machine = *machines_.emplace_back(std::make_unique<Machine>());
    machine.role = role;
    machine.incarnation = 1000 + machines_.size();
    const auto name = "m" + std::to_string(machines_.size());
    machine.node = network_.create_node(name);
    machine.heart_node = network_.create_node(name + "-heart");
    auto transport = network_.start(machine.node);
    const Address own{name, 5000};
    if (role == Role::server) (void)transport->listen(own).value();
    machine.member =
        std::make_unique<Member>(std::move(transport), address_, role, machine.incarnation,
                                 role == Role::server ? own.to_string() : std::string());
    driver_.attach(machine.node, *machine.member);
    return machine;
  }
  void start_heart(Machine& machine) {
    if (machine.heart || !machine.member || !machine.member->joined()) return;
    machine.heart_transport = network_.start(machine.heart_node);
    machine.heart = std::make_unique<Heart>(
        *machine.heart_transport,
        Heart::Options{address_, machine.role, machine.member->id(),
                       Incarnation(machine.incarnation), machine.member->link().joined()->beat},
        machine.turns);
    driver_.attach(machine.heart_node, *machine.heart);
  }
  /// kill -9.
  void kill(Machine& machine) {
    if (!machine.member) return;
    driver_.detach(machine.node);
    network_.crash(machine.node);
    if (machine.heart) {
      driver_.detach(machine.heart_node);
      network_.crash(machine.heart_node);
    }
    machine.heart.reset();
    machine.heart_transport.reset();
    machine.member.reset();
  }
  void pause(Machine& machine) {
    network_.stop(machine.node);
    network_.stop(machine.heart_node);
  }
  void resume(Machine& machine) {
    network_.resume(machine.node);
    network_.resume(machine.heart_node);
  }

  /// Lets the cluster run until `done`; false: not within `limit`.
  bool wait(const std::function<bool()>& done, Duration limit = std::chrono::seconds(20)) {
    const auto until = network_.now() + limit;
    while (!done()) {
      for (auto& machine : machines_) start_heart(*machine);
      if (network_.now() >= until || !driver_.step()) return done();
    }
    return true;
  }
  void run(Duration time) {
    const auto until = network_.now() + time;
    network_.at(until, [] {});
    wait([&] { return network_.now() >= until; }, time + std::chrono::seconds(1));
  }
  /// Servers and workers that have joined.
  void form(std::uint32_t servers, std::uint32_t workers) {
    start_scheduler(servers, workers);
    for (std::uint32_t i = 0; i < servers; ++i) start(Role::server);
    for (std::uint32_t i = 0; i < workers; ++i) start(Role::worker);
    ASSERT_TRUE(wait([&] { return all_joined(); }));
  }
  bool all_joined() {
    return std::all_of(machines_.begin(), machines_.end(),
                       [](const auto& m) { return !m->member || m->member->joined(); });
  }
  Machine& machine(std::size_t i) { return *machines_.at(i); }
  Member& member(std::size_t i) { return *machines_.at(i)->member; }
  bool everyone_has(Epoch epoch) {
    return std::all_of(machines_.begin(), machines_.end(), [&](const auto& m) {
      return !m->member || m->member->link().view()->epoch >= epoch;
    });
  }

  void ask_raw(Member& from, FrameKind kind, std::span<const std::byte> meta, std::uint64_t context,
               std::int64_t clock = 0) {
    ASSERT_TRUE(from.link().request(kind, {}, meta, context, WorkerClock(clock)).ok());
  }
  template <class M>
  void ask(Member& from, FrameKind kind, const M& message, std::uint64_t context,
           std::int64_t clock = 0) {
    std::vector<std::byte> meta(1024);
    Writer out(meta);
    encode(out, message);
    ask_raw(from, kind, out.written(), context, clock);
  }
  void tick(Member& from, std::int64_t reported) {
    Tick tick;
    tick.node = from.id();
    tick.reported = tick.local = WorkerClock(reported);
    from.link().tick(tick);
  }

  SimNetwork network_;
  SimDriver driver_;
  Address address_{"scheduler", 7000};
  SimNodeId scheduler_node_;
  Scheduler::Options options_;
  MemoryViewStore memory_store_;
  ViewStore* store_ = &memory_store_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::unique_ptr<Machine>> machines_;
};

}  // namespace shoal
