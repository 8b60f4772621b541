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

Result<std::vector<shoal::Buffer<float>>> buffers_in_flight(Worker& worker, std::size_t count) {
  std::vector<shoal::Buffer<float>> values;
  for (std::uint32_t i = 0; i < kInflight; ++i) {
    SHOAL_ASSIGN(auto buffer, worker.allocate<float>(count));
    values.push_back(std::move(buffer));
  }
  return values;
}

/// Millions of keys a second: pushes or pulls of `count` keys each, operation i those of
/// `list_of(i)`.
template <class ListOf>
Result<double> keys_rate(const Effort& effort, const Limits& limits, Table<float>& table,
                         std::vector<shoal::Buffer<float>>& values, bool push,
                         const ListOf& list_of) {
  const auto count = list_size(effort);
  std::vector<Ticket> tickets(kInflight);
  const auto issue = [&](std::uint64_t i) -> Status {
    const auto slot = i % kInflight;
    tickets[slot] =
        push ? table.push(list_of(i), values[slot]) : table.pull(list_of(i), values[slot]);
    return {};
  };
  const auto wait = [&](std::uint64_t i) { return wait_for(tickets[i % kInflight]); };
  Recorder recorder;
  SHOAL_ASSIGN(const auto measured, run_window(effort.clock, limits, kInflight,
                                               count * sizeof(float), recorder, issue, wait));
  return measured.rate * static_cast<double>(count) / kMillion;
}

/// The same list over and over.
Result<double> same_list(Worker& worker, const Effort& effort, bool push) {
  const auto count = list_size(effort);
  Random random(1);
  const auto keys = random_keys(count, random);
  SHOAL_ASSIGN(auto table, open_sparse(worker));
  SHOAL_ASSIGN(auto values, buffers_in_flight(worker, count));
  SHOAL_TRY(wait_for(table.push(keys, values[0])));
  return keys_rate(effort, effort.limits(), table, values, push,
                   [&](std::uint64_t) { return std::span(keys); });
}

/// Lists that were never sent before, of keys that exist, as a training loop has them that reads
/// ahead: the next is under way while one is waited for. They are made beforehand.
Result<double> new_lists(Worker& worker, const Effort& effort, bool push) {
  const auto count = list_size(effort);
  const auto limits = effort.operations(kNewLists);
  Random random(2);
  const auto existing = random_keys(count * kExistingLists, random);
  SHOAL_ASSIGN(auto table, open_sparse(worker));
  SHOAL_ASSIGN(auto values, buffers_in_flight(worker, count));
  for (std::size_t i = 0; i < kExistingLists; ++i)
    SHOAL_TRY(wait_for(table.push(std::span(existing).subspan(i * count, count), values[0])));
  // One of each few neighbours: sorted without sorting.
  std::vector<Key> lists(count * (limits.iterations + kInflight));
  for (std::size_t i = 0; i < lists.size(); ++i)
    lists[i] = existing[i % count * kExistingLists + random.below(kExistingLists)];
  return keys_rate(effort, limits, table, values, push, [&](std::uint64_t i) {
    return std::span<const Key>(lists).subspan(i * count, count);
  });
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
  SHOAL_ASSIGN(const auto measured, run_raw({push ? bytes : kWordBytes, push ? kWordBytes : bytes,
                                             inflight, Wait::block},
                                            effort));
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
