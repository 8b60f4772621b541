#pragma once

#include <array>
#include <deque>
#include <map>
#include <set>

#include "core/base/random.h"
#include "tests/verbs/soft_fixture.h"

namespace shoal::verbs::test {

enum class Fault { none, error_state, destroy_pair, deregister, kill, link_down, failing, delays };
inline constexpr std::uint64_t kFaults = 8;

/// Random requests between two processes, and at most one kind of fault, beside a model of what
/// memory must hold. Each request owns its block of memory on both sides until it is known to be
/// over, so that whatever order the adapter chooses, every byte has one right value; of a request
/// that failed, what has landed must be the beginning of its data, in whole packets.
class Storm {
 public:
  Storm(std::uint64_t seed, Fault fault);
  void run();
  std::uint64_t completed = 0;
  std::uint64_t failed = 0;

 private:
  static constexpr std::size_t kBlocks = 16;
  static constexpr std::size_t kBlockBytes = 2048;
  static constexpr std::size_t kInboxes = 6;
  static constexpr std::size_t kPairs = 3;

  struct Operation {
    std::uint64_t id;
    ibv_wr_opcode opcode;
    std::size_t side, pair, local, remote, bytes;
    bool signalled;
  };
  struct Frozen {
    std::size_t side, block;
    std::vector<std::byte> bytes;
  };
  struct Side {
    SoftDevice* device = nullptr;
    std::unique_ptr<Process> process;
    Buffer* memory = nullptr;
    Buffer* inbox = nullptr;
    std::vector<std::byte> model;
    std::array<bool, kBlocks> used{};
    std::array<bool, kBlocks> pinned{};  ///< Never given to another request.
    std::uint32_t rkey = 0;
    std::array<ibv_qp*, kPairs> pairs{};
    std::array<std::uint32_t, kPairs> numbers{};
    std::array<std::deque<Operation>, kPairs> posted;
    std::array<bool, kPairs> broken{};
    std::array<std::uint64_t, kPairs> last_received{};
    std::vector<std::byte> snapshot;  ///< What memory must hold for ever; empty: no such thing.
    std::vector<std::byte> inbox_snapshot;
    bool silent = false;  ///< Posts and polls no more.
  };

  std::span<std::byte> block(std::size_t side, std::size_t index) {
    return std::span(sides_[side].memory->bytes).subspan(index * kBlockBytes, kBlockBytes);
  }
  std::span<std::byte> model(std::size_t side, std::size_t index) {
    return std::span(sides_[side].model).subspan(index * kBlockBytes, kBlockBytes);
  }
  /// Where an operation puts its bytes: (side, block). Not of a SEND.
  static std::pair<std::size_t, std::size_t> target(const Operation& operation);
  std::vector<std::byte> data_of(const Operation& operation);
  void post_receive(std::size_t side, std::size_t index);
  std::size_t take_block(std::size_t side);
  void post();
  void poll(std::size_t side);
  void on_request(std::size_t side, const ibv_wc& wc);
  void on_receive(std::size_t side, const ibv_wc& wc);
  void succeed(const Operation& operation);
  void strike();
  void freeze_pair(std::size_t pair);
  void flush_out();
  void check();
  void check_partial(const Operation& operation);

  Fault fault_;
  bool struck_ = false;
  Random random_;
  SoftFabric fabric_;
  std::size_t mtu_ = 0;
  std::array<Side, 2> sides_;
  std::vector<Operation> uncertain_;
  std::vector<Frozen> frozen_;
  std::map<std::uint64_t, Operation> sends_;  ///< Posted, and not received.
  std::set<std::uint64_t> sends_ended_;       ///< Whose sender knows that they were received.
  std::uint64_t last_id_ = 0;
};

}  // namespace shoal::verbs::test
