#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/cluster/cluster_view.h"
#include "core/table/rule_info.h"

namespace shoal {

/// The last barrier that a worker has passed, by the worker's own count.
struct PassedBarrier {
  NodeId worker;
  std::uint64_t number = 0;

  friend bool operator==(const PassedBarrier&, const PassedBarrier&) = default;
};

/// Servers that know the same update rules.
struct ServerRules {
  std::vector<RuleInfo> rules;
  std::vector<NodeId> servers;

  friend bool operator==(const ServerRules&, const ServerRules&) = default;
};

/// What a server has for tables, as it said when it joined.
struct MemoryOfServer {
  NodeId server;
  std::uint64_t bytes = 0;

  friend bool operator==(const MemoryOfServer&, const MemoryOfServer&) = default;
};

/// What a scheduler has to find again after a restart: the last view it sent, the ids that must not
/// be given twice, which barriers have opened, so that whoever missed the answer gets it again, and
/// what the servers said when they joined.
struct StoredView {
  ClusterView view;
  std::uint32_t next_node = 1;
  std::uint32_t next_table = 1;
  /// G was never told to anybody beyond this: what a restart takes G for when nobody of the roster
  /// is left to report. G itself is not stored at every tick.
  WorkerClock clock_bound;
  std::vector<PassedBarrier> barriers;
  std::vector<ServerRules> rules = {};      ///< of the view's servers, each in one
  std::vector<MemoryOfServer> memory = {};  ///< of the view's servers

  friend bool operator==(const StoredView&, const StoredView&) = default;
};

/// The bytes of a state file, and back. Equal states have equal bytes.
std::vector<std::byte> encode_stored(const StoredView& stored);
/// Errors: corrupt, whose text says how: "truncated" or "damaged".
Result<StoredView> decode_stored(std::span<const std::byte> bytes);

/// Where views are kept. A view is stored before anyone hears of it.
class ViewStore {
 public:
  virtual ~ViewStore() = default;
  /// Returns when it is on stable storage; a failed save leaves the previous one. Errors: io.
  virtual Status save(const StoredView& stored) = 0;
  /// Nothing: the cluster starts anew. Errors: io, corrupt (says which file, and what to do).
  virtual Result<std::optional<StoredView>> load() = 0;
};

/// Keeps views in memory: for a scheduler without a state directory, and for the simulation, where
/// it outlives the scheduler.
class MemoryViewStore final : public ViewStore {
 public:
  Status save(const StoredView& stored) override {
    stored_ = stored;
    return {};
  }
  Result<std::optional<StoredView>> load() override { return stored_; }

 private:
  std::optional<StoredView> stored_;
};

/// Keeps the view in a file of a directory: written beside it, synced, renamed over it, and the
/// directory synced, so that a crash leaves the old one or the new one. Checked by a checksum.
class FileViewStore final : public ViewStore {
 public:
  /// Makes the directory if it is not there, and takes a lock in it, so that two schedulers never
  /// share one. Errors: io, exists (another scheduler uses it).
  static Result<FileViewStore> open(const std::string& directory);
  FileViewStore(FileViewStore&& other) noexcept;
  ~FileViewStore() override;
  Status save(const StoredView& stored) override;
  Result<std::optional<StoredView>> load() override;

 private:
  FileViewStore(std::string directory, int lock) : directory_(std::move(directory)), lock_(lock) {}
  std::string directory_;
  int lock_ = -1;
};

}  // namespace shoal
