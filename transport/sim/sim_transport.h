#pragma once

#include <cstdint>
#include <vector>

#include "transport/sim/world.h"

namespace shoal::sim {

/// A simulated process's way to the network. Dead (every call fails) once its node has crashed.
class SimTransport final : public Transport {
 public:
  SimTransport(World& world, std::uint32_t node, std::uint64_t token);
  ~SimTransport() override;

  std::string_view name() const override { return "sim"; }
  Result<Address> listen(const Address& at) override;
  Result<EndpointId> connect(const Address& peer, TimePoint deadline) override;
  void close(EndpointId endpoint) override;
  std::string peer_of(EndpointId endpoint) const override;
  std::string explain(EndpointId endpoint) const override;
  Result<Region> register_memory(MemoryView memory, Access access) override;
  Status send(EndpointId endpoint, const FrameHeader& header, std::span<const std::byte> meta,
              std::span<const ConstMemoryView> payload, const SendOptions& options) override;
  Status read(EndpointId endpoint, MemoryView to, const RemoteSpan& from,
              std::uint64_t context) override;
  Status write(EndpointId endpoint, ConstMemoryView from, const RemoteSpan& to,
               std::uint64_t context) override;
  std::size_t poll(std::span<Event> events) override;
  bool one_sided(EndpointId) const override { return true; }
  bool reads_by_copy(EndpointId, std::uint64_t) const override;
  bool read_in_place(EndpointId endpoint, const RemoteSpan& from, const Use& use) override;
  void flush() override {}
  int wait_fd() const override { return -1; }
  bool arm() override;
  TimePoint next_timer() const override { return kNever; }  // deadlines are the network's events

 private:
  bool alive() const { return state().transport == this; }
  NodeState& state() const { return *world_.nodes[node_]; }
  /// The open connection behind an endpoint; nullptr: unknown, connecting or ended.
  Side* open_side(EndpointId endpoint, std::uint32_t& connection, std::uint8_t& which) const;
  /// Queues a post and lets it leave, or tells that the lane is full.
  Status post(EndpointId endpoint, Lane lane, const Post& post);
  RemoteSpan remote_span(std::uint64_t region, std::size_t offset,
                         std::size_t length) const override;
  void revoke(std::uint64_t region) override;

  World& world_;
  std::uint32_t node_;
  std::vector<BufferId> held_;  // of the frames that the last poll reported
};

}  // namespace shoal::sim
