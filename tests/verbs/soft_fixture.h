#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tests/verbs/soft_adapter.h"

namespace shoal::verbs::test {

inline constexpr int kAllAccess =
    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;

struct Depths {
  int completions = 256;
  unsigned requests = 64;
  unsigned receives = 64;
  unsigned sges = 4;
  unsigned inline_bytes = 64;
};

/// Of a connection, the same on both sides.
struct Terms {
  ibv_mtu mtu = IBV_MTU_1024;
  unsigned access = kAllAccess;
  std::uint8_t reads = 16;       ///< As the initiator,
  std::uint8_t reads_dest = 16;  ///< as the responder.
  std::uint8_t timeout = 10;     ///< 4.2 ms
  std::uint8_t retries = 3;
  std::uint8_t retries_not_ready = 7;
  std::uint8_t not_ready_timer = 12;  ///< 640 us
  std::uint32_t gid_index = 3;
};

/// A registered piece of memory.
struct Buffer {
  std::vector<std::byte> bytes;
  ibv_mr* region = nullptr;

  ibv_sge sge(std::size_t offset, std::size_t size) const {
    return {address(offset), static_cast<std::uint32_t>(size), region->lkey};
  }
  ibv_sge all() const { return sge(0, bytes.size()); }
  std::uint64_t address(std::size_t offset = 0) const {
    return reinterpret_cast<std::uintptr_t>(bytes.data()) + offset;
  }
};

struct Request {
  ibv_wr_opcode opcode = IBV_WR_RDMA_WRITE;
  std::vector<ibv_sge> local = {};
  std::uint64_t remote = 0;
  std::uint32_t rkey = 0;
  std::uint64_t id = 0;
  unsigned flags = IBV_SEND_SIGNALED;
  std::uint32_t imm = 0;
};

/// A process with one device open: a shared receive queue, one completion queue, and its channel.
class Process {
 public:
  explicit Process(SoftDevice& device, const Depths& its_depths = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  ibv_qp* make_pair();
  void destroy(ibv_qp* pair);
  Buffer& make_buffer(std::size_t bytes, int access = kAllAccess, ibv_pd* in = nullptr);
  void deregister(Buffer& buffer);
  int receive(std::uint64_t id, std::vector<ibv_sge> into);
  int post(ibv_qp* pair, Request request);
  std::vector<ibv_wc> poll();
  ibv_qp_state state_of(ibv_qp* pair) const;
  /// Both give the errno of ibv_modify_qp.
  int to_init(ibv_qp* pair, const Terms& terms);
  int to_ready(ibv_qp* pair, const Process& peer, const ibv_qp* peers, const Terms& terms);
  int to_state(ibv_qp* pair, ibv_qp_state state);
  /// The next asynchronous event, acknowledged; none: nullopt.
  std::optional<ibv_event_type> event();

  const Api api = SoftFabric::api();
  Depths depths;
  ibv_context* context;
  ibv_pd* pd;
  ibv_comp_channel* channel;
  ibv_cq* cq;
  ibv_srq* srq;
  std::vector<ibv_qp*> pairs;
  std::vector<std::unique_ptr<Buffer>> buffers;
};

/// Connects two fresh pairs.
void connect(Process& a, ibv_qp* at_a, Process& b, ibv_qp* at_b, const Terms& terms = {});

/// Two processes on a device each, with one connection. At the end nothing may be left or misused.
class SoftAdapter : public testing::Test {
 protected:
  void start(const FabricOptions& options = {}, const Terms& terms = {}, const Depths& depths = {});
  void TearDown() override;

  /// Runs until nothing moves, and what `process` then finds in its completion queue.
  std::vector<ibv_wc> finish(Process& process) {
    EXPECT_TRUE(fabric->run());
    return process.poll();
  }

  std::optional<SoftFabric> fabric;
  SoftDevice* device_a = nullptr;
  SoftDevice* device_b = nullptr;
  std::unique_ptr<Process> a, b;
  ibv_qp* at_a = nullptr;
  ibv_qp* at_b = nullptr;
};

inline Request write_to(const Buffer& to, const Buffer& from, std::size_t bytes,
                        std::uint64_t id = 0) {
  return {.opcode = IBV_WR_RDMA_WRITE,
          .local = {from.sge(0, bytes)},
          .remote = to.address(),
          .rkey = to.region->rkey,
          .id = id};
}
inline Request read_from(const Buffer& from, const Buffer& to, std::size_t bytes,
                         std::uint64_t id = 0) {
  return {.opcode = IBV_WR_RDMA_READ,
          .local = {to.sge(0, bytes)},
          .remote = from.address(),
          .rkey = from.region->rkey,
          .id = id};
}
inline Request send_of(const Buffer& from, std::size_t bytes, std::uint64_t id = 0) {
  return {.opcode = IBV_WR_SEND, .local = {from.sge(0, bytes)}, .id = id};
}
inline void fill(std::span<std::byte> bytes, int value) {
  for (auto& byte : bytes) byte = static_cast<std::byte>(value);
}
inline std::size_t count_of(std::span<const std::byte> bytes, int value) {
  std::size_t count = 0;
  for (const auto byte : bytes) count += byte == static_cast<std::byte>(value) ? 1u : 0u;
  return count;
}

}  // namespace shoal::verbs::test
