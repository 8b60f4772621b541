#pragma once

#include <unistd.h>

#include <cstring>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "core/base/assert.h"
#include "core/base/random.h"
#include "tests/verbs/soft_adapter.h"

// What stands behind the ibv_* handles of the software adapter. Private to soft_*.cc.

namespace shoal::verbs::test {

inline constexpr std::size_t kMtuMax = 4096;
inline constexpr std::uint32_t kSgeMax = 32;

/// A bounded queue that allocates only when it is made.
template <class T>
class Ring {
 public:
  explicit Ring(std::size_t capacity = 0) : items_(capacity) {}
  std::size_t size() const { return size_; }
  std::size_t capacity() const { return items_.size(); }
  bool empty() const { return size_ == 0; }
  bool full() const { return size_ == items_.size(); }
  T& operator[](std::size_t i) { return items_[slot(i)]; }
  T& front() { return (*this)[0]; }
  /// Where item `i` lies: stays the same while it is in the queue.
  std::size_t slot(std::size_t i) const { return (head_ + i) % items_.size(); }
  T& push() {
    SHOAL_ASSERT(!full(), "a ring of the software adapter is full");
    return items_[slot(size_++)];
  }
  void pop() {
    head_ = (head_ + 1) % items_.size();
    --size_;
  }
  void clear() { size_ = 0; }
  template <class Predicate>
  void remove_if(Predicate predicate) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < size_; ++i)
      if (!predicate((*this)[i])) (*this)[kept++] = (*this)[i];
    size_ = kept;
  }

 private:
  std::vector<T> items_;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

/// An eventfd that is readable while events wait.
class Notice {
 public:
  Notice();
  ~Notice() { ::close(fd_); }
  Notice(const Notice&) = delete;
  Notice& operator=(const Notice&) = delete;
  int fd() const { return fd_; }
  void raise();
  void lower();
  bool blocks() const;  ///< The user did not set O_NONBLOCK.

 private:
  int fd_;
};

struct SoftContext : ibv_context {
  explicit SoftContext(SoftDevice& its_device);
  SoftDevice& owner() const { return static_cast<SoftDevice&>(*device); }
  Network& network() const { return *owner().network; }
  void raise(ibv_event_type type, void* element, int port = 0);
  void forget(const void* element);

  bool dead = false;
  int objects = 0;
  std::vector<ibv_async_event> events;
  Notice notice;
};

struct SoftPd : ibv_pd {
  int users = 0;
};

struct SoftMr : ibv_mr {
  /// The memory behind `bytes` bytes from `from` on; null: not all within the region.
  std::byte* at(std::uint64_t from, std::uint64_t bytes) const {
    if (bytes > length || from < iova || from - iova > length - bytes) return nullptr;
    return memory + (from - iova);
  }
  std::byte* memory = nullptr;
  std::uint64_t iova = 0;
  int access = 0;
  void* mapping = nullptr;  ///< Of a dma-buf.
  std::size_t mapping_bytes = 0;
};

struct SoftChannel : ibv_comp_channel {
  std::vector<ibv_cq*> events;
  Notice notice;
};

/// An entry of a completion queue, and how many slots of the send queue it frees.
struct Cqe {
  ibv_wc wc{};
  std::uint32_t slots = 0;
};

struct SoftCq : ibv_cq {
  enum class Armed { no, solicited, any };
  Ring<Cqe> entries;
  Armed armed = Armed::no;
  bool overflown = false;
  int users = 0;
  int unacked = 0;
  int async_unacked = 0;
};

struct Recv {
  std::uint64_t wr_id = 0;
  std::uint32_t sge_count = 0;
  std::array<ibv_sge, kSgeMax> sges{};
  std::uint64_t capacity() const;
};

struct SoftSrq : ibv_srq {
  Ring<Recv> receives;
  std::uint32_t max_sge = 0;
  int users = 0;
};

struct Wqe {
  std::uint64_t wr_id = 0;
  ibv_wr_opcode opcode{};
  unsigned flags = 0;
  std::uint32_t imm = 0;
  std::uint64_t remote = 0;
  std::uint32_t rkey = 0;
  std::uint64_t length = 0;
  std::uint32_t sge_count = 0;
  std::uint64_t moved = 0;  ///< Bytes that have landed.
  bool issued = false;      ///< READ: the request is at the peer.
  bool done = false;
  ibv_wc_status status = IBV_WC_SUCCESS;
  TimePoint ready_at{};
};

/// A receive that is over and whose completion is delayed.
struct HeldReceive {
  ibv_wc wc;
  bool solicited;
  TimePoint ready_at;
};

struct SoftQp : ibv_qp {
  SoftContext& owner() const { return static_cast<SoftContext&>(*context); }
  SoftDevice& adapter() const { return owner().owner(); }
  Network& network() const { return owner().network(); }
  SoftSrq* receives() const { return static_cast<SoftSrq*>(srq); }
  std::span<ibv_sge> sges_of(std::size_t index) {
    return {sges.data() + queue.slot(index) * cap.max_send_sge, queue[index].sge_count};
  }
  std::byte* inline_of(std::size_t index) {
    return inlined.data() + queue.slot(index) * cap.max_inline_data;
  }

  ibv_qp_attr attributes{};
  ibv_qp_cap cap{};
  bool signal_all = false;
  int async_unacked = 0;

  // The sender.
  enum class Parked { no, receiver_not_ready, unreachable };
  Ring<Wqe> queue;  ///< Posted and not yet retired.
  std::vector<ibv_sge> sges;
  std::vector<std::byte> inlined;
  std::size_t cursor = 0;           ///< The first in `queue` that is neither issued nor done.
  std::uint32_t slots_taken = 0;    ///< Posted and not known to the caller to be over.
  std::uint32_t slots_retired = 0;  ///< Of these, retired since the last completion.
  std::uint32_t reads = 0;          ///< Outstanding.
  unsigned attempts = 0;
  unsigned attempts_not_ready = 0;
  TimePoint wait_until{};
  Parked parked = Parked::no;
  bool flushing = false;

  // The responder.
  std::optional<Recv> receiving;
  unsigned late = 0;  ///< Packets that still land although the pair is in error.
  std::vector<HeldReceive> held;
};

/// What one pair could do next.
struct Unit {
  enum class Kind { request, response, retire, receive };
  SoftQp* pair;
  Kind kind;
};

struct Network final : Clock {
  explicit Network(const FabricOptions& its_options)
      : options(its_options), random(its_options.seed) {}
  TimePoint now() const override { return time; }

  bool step();
  void complain(std::string what) { misuse.push_back(std::move(what)); }
  /// A number that no other key or pair of this network ever had.
  std::uint32_t fresh_key();
  /// Takes the pair or the region off the network.
  void unplug(SoftQp& pair);
  void unplug(SoftMr& region);

  // soft_completions.cc
  void push(SoftCq& queue, const ibv_wc& wc, bool solicited, std::uint32_t slots = 0);
  void retire(SoftQp& pair);
  void receive(SoftQp& pair, ibv_wc wc, bool solicited);
  void deliver_held(SoftQp& pair);
  void enter_error(SoftQp& pair);

  // soft_packets.cc
  SoftQp* peer_of(const SoftQp& pair, bool late_ones);
  bool can_request(SoftQp& pair);
  bool is_parked(SoftQp& pair);
  void request(SoftQp& pair);
  void response(SoftQp& pair);
  void late_packet(SoftQp& pair);

  // soft_memory.cc
  SoftMr* local(const ibv_pd* pd, std::uint32_t lkey) const;
  std::byte* remote(const SoftQp& peer, std::uint32_t rkey, std::uint64_t address,
                    std::uint64_t bytes, int access) const;
  bool gather(SoftQp& pair, std::size_t index, std::uint64_t offset, std::span<std::byte> out);
  bool scatter(const ibv_pd* pd, std::span<const ibv_sge> sges, std::uint64_t offset,
               std::span<const std::byte> bytes) const;

  FabricOptions options;
  Random random;
  TimePoint time{};
  std::vector<std::unique_ptr<SoftDevice>> devices;
  std::vector<std::unique_ptr<SoftContext>> contexts;
  std::vector<std::unique_ptr<SoftPd>> pds;
  std::vector<std::unique_ptr<SoftMr>> regions;
  std::vector<std::unique_ptr<SoftChannel>> channels;
  std::vector<std::unique_ptr<SoftCq>> queues;
  std::vector<std::unique_ptr<SoftSrq>> shared_queues;
  std::vector<std::unique_ptr<SoftQp>> pairs;
  std::unordered_map<std::uint32_t, SoftMr*> by_lkey, by_rkey;
  std::unordered_map<std::uint32_t, SoftQp*> by_number;
  std::unordered_set<std::uint32_t> numbers_used;
  std::vector<std::string> misuse;
  std::vector<Unit> units;  ///< Of the step being made.
  std::array<std::byte, kMtuMax> packet{};

 private:
  /// Adds what `pair` can do to `units`; the time at which it could do something later.
  TimePoint collect(SoftQp& pair);
  TimePoint collect_sender(SoftQp& pair);
};

/// Destroys one of the objects above; it must be there.
template <class Object>
void discard(std::vector<std::unique_ptr<Object>>& all, const Object* one) {
  for (auto& object : all) {
    if (object.get() != one) continue;
    std::swap(object, all.back());
    all.pop_back();
    return;
  }
  SHOAL_ASSERT(false, "an object of the software adapter was destroyed twice");
}

void fill_queues(Api& api);   ///< Completion queues, channels, shared receive queues.
void fill_pairs(Api& api);    ///< Queue pairs.
void fill_posting(Api& api);  ///< Posting of requests and receives.
void fill_memory(Api& api);   ///< Protection domains and regions.
void fill_devices(Api& api);  ///< Devices, contexts, ports and their events.

}  // namespace shoal::verbs::test
