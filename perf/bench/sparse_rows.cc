// A million random 64-bit keys with one float each, sorted, as key lists come from a batch.

#include <algorithm>
#include <vector>

#include "core/base/random.h"
#include "perf/bench/sides.h"

namespace shoal::perf {

namespace {

constexpr std::size_t kKeys = 1'000'000;
constexpr std::size_t kSmokeKeys = 10'000;
constexpr std::size_t kExistingLists = 4;  // the table of the `new` rows holds so many lists' keys
constexpr std::size_t kNewLists = 24;
constexpr std::uint32_t kInflight = 2;
constexpr double kMillion = 1e6;

std::size_t list_size(const Effort& effort) { return effort.smoke ? kSmokeKeys : kKeys; }

std::vector<Key> random_keys(std::size_t count, Random& random) {
  std::vector<Key> keys(count);
  for (auto& key : keys) key = random.next();
  std::sort(keys.begin(), keys.end());
  return keys;
}

Result<Table<float>> open_sparse(Worker& worker) {
  TableSpec spec{.name = "bench"};
  spec.layout = Layout::sparse;
  spec.staleness = unbounded;
  return worker.create_or_open<float>(spec);
}

Status wait_for(Ticket ticket) {
  const auto done = ticket.wait();
  return done.ok() ? Status() : Status(done.error());
}

/// Millions of keys a second, the same list over and over.
Result<double> same_list(Worker& worker, const Effort& effort, bool push) {
  const auto count = list_size(effort);
  Random random(1);
  const auto keys = random_keys(count, random);
  SHOAL_ASSIGN(auto table, open_sparse(worker));
  std::vector<shoal::Buffer<float>> values;
  for (std::uint32_t i = 0; i < kInflight; ++i) {
    SHOAL_ASSIGN(auto buffer, worker.allocate<float>(count));
    values.push_back(std::move(buffer));
  }
  SHOAL_TRY(wait_for(table.push(keys, values[0])));
  Recorder recorder;
  std::vector<Ticket> tickets(kInflight);
  SHOAL_ASSIGN(const auto measured,
               run_window(
                   effort.clock, effort.limits(), kInflight, count * sizeof(float), recorder,
                   [&](std::uint64_t i) -> Status {
                     const auto slot = i % kInflight;
                     tickets[slot] =
                         push ? table.push(keys, values[slot]) : table.pull(keys, values[slot]);
                     return {};
                   },
                   [&](std::uint64_t i) { return wait_for(std::move(tickets[i % kInflight])); }));
  return measured.rate * static_cast<double>(count) / kMillion;
}

/// The same with lists that were never sent before, of keys that exist, as a training loop has them
/// that reads ahead: the next is under way while one is waited for. They are made beforehand.
Result<double> new_lists(Worker& worker, const Effort& effort, bool push) {
  const auto count = list_size(effort);
  const auto limits = effort.operations(kNewLists);
  Random random(2);
  const auto existing = random_keys(count * kExistingLists, random);
  SHOAL_ASSIGN(auto table, open_sparse(worker));
  std::vector<shoal::Buffer<float>> values;
  for (std::uint32_t i = 0; i < kInflight; ++i) {
    SHOAL_ASSIGN(auto buffer, worker.allocate<float>(count));
    values.push_back(std::move(buffer));
  }
  for (std::size_t i = 0; i < kExistingLists; ++i)
    SHOAL_TRY(wait_for(table.push(std::span(existing).subspan(i * count, count), values[0])));
  // One of each few neighbours: sorted without sorting.
  std::vector<Key> lists(count * (limits.iterations + kInflight));
  for (std::size_t i = 0; i < lists.size(); ++i)
    lists[i] = existing[i % count * kExistingLists + random.below(kExistingLists)];
  Recorder recorder;
  std::vector<Ticket> tickets(kInflight);
  SHOAL_ASSIGN(const auto measured,
               run_window(
                   effort.clock, limits, kInflight, count * sizeof(float), recorder,
                   [&](std::uint64_t i) -> Status {
                     const auto keys = std::span<const Key>(lists).subspan(i * count, count);
                     const auto slot = i % kInflight;
                     tickets[slot] =
                         push ? table.push(keys, values[slot]) : table.pull(keys, values[slot]);
                     return {};
                   },
                   [&](std::uint64_t i) { return wait_for(std::move(tickets[i % kInflight])); }));
  return measured.rate * static_cast<double>(count) / kMillion;
}

/// Keys that the table has not seen: rows are made, the index grows.
Result<double> first_inserts(Worker& worker, const Effort& effort) {
  const auto count = list_size(effort);
  Random random(3);
  const auto keys = random_keys(count, random);
  SHOAL_ASSIGN(auto table, open_sparse(worker));
  SHOAL_ASSIGN(const auto values, worker.allocate<float>(count));
  const auto issued = effort.clock.now();
  SHOAL_TRY(wait_for(table.push(keys, values)));
  const auto seconds = std::chrono::duration<double>(effort.clock.now() - issued).count();
  return static_cast<double>(count) / seconds / kMillion;
}

/// A raw stream of the values alone, in keys a second.
Result<double> raw_keys(const Effort& effort, bool push, std::uint32_t inflight) {
  const auto bytes = list_size(effort) * sizeof(float);
  SHOAL_ASSIGN(const auto measured,
               run_raw({push ? bytes : 64, push ? 64 : bytes, inflight, Wait::block}, effort));
  return measured.bytes_rate / sizeof(float) / kMillion;
}

void add_sparse(std::vector<Row>& rows, const char* name, double goal, bool push,
                std::uint32_t inflight, Result<double> (*run)(Worker&, const Effort&, bool)) {
  rows.push_back({name, "Mkeys/s", Goal::value_at_least(goal),
                  [=](const Effort& effort) {
                    return run_worker({Wait::block}, effort, [=](Worker& worker, const Effort& e) {
                      return run(worker, e, push);
                    });
                  },
                  [=](const Effort& effort) { return raw_keys(effort, push, inflight); }});
}

}  // namespace

void add_sparse_rows(std::vector<Row>& rows) {
  add_sparse(rows, "tcp/sparse/1M/push", 200, true, kInflight, same_list);
  add_sparse(rows, "tcp/sparse/1M/pull", 200, false, kInflight, same_list);
  add_sparse(rows, "tcp/sparse_new/1M/push", 50, true, kInflight, new_lists);
  add_sparse(rows, "tcp/sparse_new/1M/pull", 50, false, kInflight, new_lists);
  rows.push_back(
      {"tcp/sparse_first/1M/push",
       "Mkeys/s",
       {},
       [](const Effort& effort) { return run_worker({Wait::block}, effort, first_inserts); },
       [](const Effort& effort) { return raw_keys(effort, true, 1); }});
}

}  // namespace shoal::perf
