#pragma once

#include <infiniband/verbs.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/clock.h"
#include "transport/verbs/api.h"

// A software RDMA adapter behind the table of libibverbs (transport/verbs/api.h):
// reliable-connected queue pairs, shared receive queues, completion queues and channels, and memory
// regions of any number of devices in one process. Rules are those of the InfiniBand Architecture
// Specification, volume 1, chapters 9 to 11, and of the manual pages ibv_*(3); where they leave a
// choice, it does what Linux's soft-RoCE (rxe) does, or what is worst for a caller, drawn from the
// seed:
//  - A pair in error flushes its send queue, but no receive of a shared receive queue, and without
//    IBV_EVENT_QP_LAST_WQE_REACHED. A receive that a half-arrived message had taken is lost.
//  - After a pair went to error, up to `late_packets_max` packets of a WRITE or READ still land;
//  none
//    after ibv_destroy_qp and ibv_dereg_mr have returned.
//  - A slot of the send queue is free again when a completion of its request or of a later one is
//    polled, so a caller that never signals runs out of slots.
//  - Completions of a destroyed pair stay in their queue or vanish.
//  - Two READs ahead of a WRITE, and the WRITE, move at the same time unless it is fenced.
// It belongs to one thread, and nothing moves but in step(). In steady state it does not allocate.
// Not modelled: atomics, memory windows, receive queues of a single pair, draining (SQD), UD and
// UC, path migration, lost packets, and pinned memory that is unmapped.

namespace shoal::verbs::test {

class SoftFabric;
struct SoftContext;
struct SoftQp;
struct Network;

struct PortOptions {
  ibv_port_attr attributes{};
  std::vector<ibv_gid_entry> gids = {};  ///< A zero GID is an empty entry.
};

struct DeviceOptions {
  std::string name = "soft0";
  /// get_device_list() shows those of the machine that is current (SoftFabric::Current).
  std::string host = {};
  /// Limits and all else that query_device says; those on counts and depths are enforced.
  ibv_device_attr attributes = default_attributes();
  /// Left empty: one active RoCE port of MTU 4096, with link-local and IPv4 GIDs of v1 and v2.
  std::vector<PortOptions> ports = {};
  /// Its folder in sysfs; empty: none.
  std::string sysfs = {};
  std::uint32_t max_inline = 512;
  /// Has on-demand paging of READs and WRITEs; regions that use it lock nothing.
  bool pages_on_demand = false;
  /// RLIMIT_MEMLOCK: registering more is ENOMEM.
  std::size_t memlock_bytes = std::numeric_limits<std::size_t>::max();

  static ibv_device_attr default_attributes();
  /// Entry `index` of a GID table: ::ffff:a.b.c.d for four bytes of an IPv4 address.
  static ibv_gid_entry ipv4_gid(std::uint32_t index, std::array<std::uint8_t, 4> address,
                                ibv_gid_type type);
};

/// How a request or receive ends. Anything but success puts its pair into error, as hardware does.
struct Fate {
  ibv_wc_status status = IBV_WC_SUCCESS;
  Duration delay{};
};

struct Counts {
  std::uint64_t requests = 0;        ///< Work requests posted to send queues,
  std::uint64_t signalled = 0;       ///< of these such that ask for a completion,
  std::uint64_t inlined = 0;         ///< and such whose bytes were taken when they were posted.
  std::uint64_t send_doorbells = 0;  ///< Calls of post_send.
  std::uint64_t receives = 0;
  std::uint64_t receive_doorbells = 0;
  std::uint64_t completions = 0;  ///< Put into completion queues.
  std::uint64_t polls = 0;
  std::uint64_t channel_events = 0;
  std::uint64_t packets = 0;         ///< Sent by this device.
  std::uint64_t pinned_regions = 0;  ///< Made, of all kinds:
  std::uint64_t paged_regions = 0;
  std::uint64_t dma_buf_regions = 0;
};

struct SoftDevice : ibv_device {
  SoftDevice(Network& its_network, DeviceOptions its_options);

  /// Also raises IBV_EVENT_PORT_ERR or IBV_EVENT_PORT_ACTIVE when the port goes up or down.
  void set_port_state(std::uint8_t port, ibv_port_state state);
  /// What the end of the processes that use this device leaves behind: all their pairs and keys are
  /// gone at once, without a word to anybody. Their objects stay valid for the calls that destroy
  /// them; all others fail with EIO, and nothing completes. Contexts opened later live.
  void kill();
  /// A stopped process: nobody polls (poll_cq finds nothing), the adapter goes on serving.
  void stop(bool stopped) { stopped_ = stopped; }
  /// Registration number `after` from now, and all later ones, fail with `error`; 0: no more.
  void fail_registrations(int error, int after = 0);

  /// Asked as each request or receive of this device is about to succeed, signalled or not.
  std::function<Fate(const ibv_wc&)> fate;
  Counts counts;

  // Private to the adapter.
  PortOptions* find_port(std::uint32_t number);
  Network* network;
  DeviceOptions options;
  bool stopped_ = false;
  int registration_error_ = 0;
  int registrations_left_ = 0;
  std::size_t registered_bytes_ = 0;
};

struct FabricOptions {
  std::uint64_t seed = 1;
  /// Units of work done in each poll_cq, for code that polls and knows nothing of step().
  unsigned auto_step = 0;
  /// post_send() moves all that can move, as if the network took no time.
  bool instant = false;
  /// A packet for memory that is mapped no more is refused, as where devices ask the kernel for
  /// pages; else it must stay mapped while it is registered.
  bool pages_may_go = false;
  unsigned late_packets_max = 3;
  /// READs outstanding on one pair fetch their packets in any order, as NICs may (rxe does not).
  bool reads_out_of_order = false;
  /// As on rxe, where retry_cnt = 7 never ended.
  bool retry_7_is_forever = true;
  Duration packet_time = std::chrono::microseconds(1);
};

/// The network and its devices. Outlives all that was made on them; frees what was forgotten.
class SoftFabric {
 public:
  explicit SoftFabric(const FabricOptions& options = {});
  ~SoftFabric();
  SoftFabric(const SoftFabric&) = delete;
  SoftFabric& operator=(const SoftFabric&) = delete;

  SoftDevice& add_device(DeviceOptions options);
  /// The table. Devices know their fabric, so one table serves all.
  static Api api();

  /// While it lives, get_device_list() of this thread shows the devices of `host` here.
  class Current {
   public:
    explicit Current(SoftFabric& fabric, std::string_view host = {});
    ~Current();
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;

   private:
    Network* before_;
    std::string host_before_;
  };

  /// One unit of work: a packet, the end of a request, or, when only a timer can move anything, the
  /// passing of the time until then. Which one is drawn from the seed. False: nothing can move
  /// until somebody calls the table; time then stands still.
  bool step();
  /// Steps until nothing can move. False: `units` were not enough.
  bool run(std::uint64_t units = 1'000'000);
  /// Simulated time; a packet takes `packet_time`.
  const Clock& clock() const;
  void pass(Duration time);
  void set_auto_step(unsigned units);

  /// Sums over all devices.
  Counts counts() const;
  /// Objects made and not destroyed.
  std::size_t objects() const;
  /// Calls that would hang or be undefined on a real device, in words. A test wants none.
  const std::vector<std::string>& misuse() const;

 private:
  std::unique_ptr<Network> network_;
};

}  // namespace shoal::verbs::test
