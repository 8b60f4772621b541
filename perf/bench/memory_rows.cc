// What a server's rows take, as the kernel counts its process: a LocalCluster, so scheduler and
// server. Anonymous and shared pages (RssAnon + RssShmem of /proc/PID/status), not the program's
// own text.

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <vector>

#include "core/base/random.h"
#include "perf/bench/row.h"
#include "perf/bench/sides.h"

namespace shoal::perf {

namespace {

constexpr std::size_t kGiB = std::size_t{1} << 30;
constexpr std::size_t kDenseBytes = kGiB;
constexpr std::size_t kPieceBytes = std::size_t{4} << 20;
constexpr std::size_t kPiecesInflight = 4;
constexpr std::size_t kSparseKeys = 10'000'000;
constexpr std::size_t kListKeys = 250'000;
constexpr std::size_t kSmokeShare = 64;

struct Resident {
  std::uint64_t rows = 0;  ///< anonymous and shared
  std::uint64_t peak = 0;  ///< the most that it ever was
};

/// Errors: io.
Result<Resident> resident_of(pid_t process) {
  const auto path = fmt::format("/proc/{}/status", process);
  std::ifstream file(path);
  std::uint64_t anonymous = 0, shared = 0, text = 0, most = 0;
  int found = 0;
  for (std::string line; std::getline(file, line);) {
    const auto read = [&](std::string_view name, std::uint64_t& bytes) {
      if (!line.starts_with(name)) return;
      const auto digits = line.find_first_of("0123456789");
      if (digits == line.npos) return;
      std::from_chars(line.data() + digits, line.data() + line.size(), bytes);
      bytes <<= 10;  // they are in KiB
      ++found;
    };
    read("RssAnon:", anonymous);
    read("RssShmem:", shared);
    read("RssFile:", text);
    read("VmHWM:", most);
  }
  if (found != 4)
    return Error{Errc::io,
                 fmt::format("{} does not say RssAnon, RssShmem, RssFile and VmHWM", path)};
  return Resident{anonymous + shared, most - std::min(most, text)};
}

/// Every row is pushed, then all are pulled and pushed at once, some pieces at a time: the most
/// memory that this took, in GiB.
Result<double> dense_peak(Worker& worker, const Effort& effort, pid_t server) {
  constexpr std::size_t kRows = kPieceBytes / sizeof(float);
  const auto pieces = kDenseBytes / kPieceBytes / (effort.smoke ? kSmokeShare : 1);
  TableSpec spec{.name = "bench"};
  spec.rows = pieces * kRows;
  spec.staleness = unbounded;
  SHOAL_ASSIGN(auto table, worker.create_or_open<float>(spec));
  SHOAL_ASSIGN(const auto pushed, worker.allocate<float>(kRows));
  SHOAL_ASSIGN(const auto pulled, worker.allocate<float>(kRows * kPiecesInflight));
  std::vector<Ticket> pushes(kPiecesInflight), pulls(kPiecesInflight);
  for (const bool both : {false, true})
    for (std::size_t i = 0; i < pieces; ++i) {
      const auto slot = i % kPiecesInflight;
      SHOAL_TRY(wait_for(pushes[slot]));
      SHOAL_TRY(wait_for(pulls[slot]));
      const RowRange rows{i * kRows, (i + 1) * kRows};
      // The same rows: what is pushed while it is being sent is copied.
      if (both) pulls[slot] = table.pull(rows, {pulled, slot * kRows, kRows});
      pushes[slot] = table.push(rows, pushed);
    }
  for (auto& ticket : pushes) SHOAL_TRY(wait_for(ticket));
  for (auto& ticket : pulls) SHOAL_TRY(wait_for(ticket));
  SHOAL_ASSIGN(const auto resident, resident_of(server));
  return static_cast<double>(resident.peak) / kGiB;
}

/// Ten million random keys with one float each, in lists as workers send them: what the server has
/// then, or had at most while it grew, in bytes a key.
Result<double> sparse_bytes(Worker& worker, const Effort& effort, pid_t server, bool peak) {
  const auto lists = kSparseKeys / kListKeys / (effort.smoke ? kSparseKeys / kListKeys : 1);
  Random random(1);
  std::vector<Key> keys(kListKeys);
  TableSpec spec{.name = "bench"};
  spec.layout = Layout::sparse;
  spec.staleness = unbounded;
  SHOAL_ASSIGN(auto table, worker.create_or_open<float>(spec));
  SHOAL_ASSIGN(const auto values, worker.allocate<float>(kListKeys));
  for (std::size_t i = 0; i < lists; ++i) {
    for (auto& key : keys) key = random.next();
    SHOAL_TRY(wait_for(table.push(keys, values)));
  }
  SHOAL_ASSIGN(const auto resident, resident_of(server));
  return static_cast<double>(peak ? resident.peak : resident.rows) /
         static_cast<double>(lists * kListKeys);
}

}  // namespace

void add_memory_rows(std::vector<Row>& rows) {
  rows.push_back({"memory/dense/1GiB",
                  "GiB",
                  Goal::value_at_most(1.15),
                  [](const Effort& effort) { return run_watcher({}, effort, dense_peak); },
                  {}});
  for (const bool peak : {false, true})
    rows.push_back({peak ? "memory/sparse/10M/peak" : "memory/sparse/10M",
                    "B/key",
                    peak ? Goal{} : Goal::value_at_most(24),
                    [=](const Effort& effort) {
                      return run_watcher({}, effort,
                                         [=](Worker& worker, const Effort& e, pid_t server) {
                                           return sparse_bytes(worker, e, server, peak);
                                         });
                    },
                    {}});
}

}  // namespace shoal::perf
