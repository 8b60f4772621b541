#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/memory/dma_buf.h"
#include "core/memory/memory_view.h"
#include "transport/ring.h"
#include "transport/verbs/cards.h"
#include "transport/verbs/limits.h"
#include "transport/verbs/objects.h"
#include "transport/verbs/survey.h"

namespace shoal::verbs {

/// Which completions are of receives: of a failed one only wr_id, status and qp_num are told, and
/// requests have the high half of wr_id set.
inline bool is_receive(const ibv_wc& completion) { return completion.wr_id >> 32 == 0; }

inline constexpr std::size_t kPage = 4096;
inline constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Zeroed pages of our own. Move-only.
class Pages {
 public:
  /// `bytes` rounded up to whole pages; from kHugePage on to huge ones, which begin where those do
  /// and are granted if the kernel has some. Errors: no_memory.
  static Result<Pages> map(std::size_t bytes);
  Pages() = default;
  Pages(Pages&& other) noexcept : memory_(std::exchange(other.memory_, {})) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~Pages();

  const MemoryView& memory() const { return memory_; }
  /// The first `bytes`, whole pages, which belong to the result from now on.
  Pages take_front(std::size_t bytes);

 private:
  explicit Pages(MemoryView memory) : memory_(memory) {}
  MemoryView memory_;
};

/// Pages of our own, registered with a device. Move-only.
class Slab {
 public:
  Slab() = default;
  Slab(Pages pages, MemoryRegion region) : pages_(std::move(pages)), region_(std::move(region)) {}
  Slab(Slab&& other) noexcept = default;
  Slab& operator=(Slab&& other) noexcept {
    std::swap(pages_, other.pages_);
    std::swap(region_, other.region_);
    return *this;
  }

  std::byte* data() const { return pages_.memory().data; }
  std::size_t bytes() const { return pages_.memory().bytes; }
  std::uint32_t lkey() const { return region_->lkey; }

 private:
  Pages pages_;
  MemoryRegion region_;  ///< goes first
};

/// A port of a device, open: what all links over it share. Its queues are made with the first link.
class Rail {
 public:
  /// `api` outlives it. Errors: unavailable, io.
  static Result<std::unique_ptr<Rail>> open(const Api& api, const Port& port);

  const Api& api() const { return api_; }
  const Port& port() const { return port_; }
  const PortCard& card() const { return card_; }
  /// READs that a pair of ours may have under way.
  std::uint8_t reads_max() const { return reads_max_; }
  std::uint32_t inline_bytes() const { return inline_bytes_; }
  /// Of a message that a request may have.
  std::size_t message_bytes_max() const { return message_bytes_max_; }

  /// Whether the port can carry new links at the moment. Errors: unavailable.
  Status usable() const;
  /// Errors: registration, which names the limit on locked memory if that is the cause.
  Result<MemoryRegion> register_memory(MemoryView memory, int access) const;
  /// Memory that `exported` begins with, by its own address. Errors: registration (what is
  /// missing).
  Result<MemoryRegion> register_dma_buf(const DmaBuf& exported, MemoryView memory,
                                        int access) const;
  /// Zeroed pages, registered for our own use; huge ones if that is worth it. Errors: as above,
  /// no_memory.
  Result<Slab> allocate(std::size_t bytes) const;

  /// A place for a link's completions, and receive buffers for its peer's messages. The caller owes
  /// a leave(). Errors: unavailable, registration, no_memory.
  Result<std::size_t> join();
  void leave(std::size_t queue);
  /// A pair whose completions come to `queue`. Errors: unavailable.
  Result<QueuePair> create_pair(std::size_t queue, std::uint32_t depth);
  /// Call before a pair is destroyed, which may take with it the completions that it left in
  /// `queue`, and so receive buffers: poll() gives them later.
  void keep(std::size_t queue);
  /// Call when a pair has been destroyed: completions that it left behind are nobody's, until
  /// poll_dry().
  void bury(std::uint32_t pair_number) { buried_.push_back(pair_number); }

  std::size_t queues() const { return queues_.size(); }
  /// Completions in the order in which they came; fewer than asked for: there are no more. Errors:
  /// io (the queue is broken).
  Result<std::size_t> poll(std::size_t queue, std::span<ibv_wc> completions);
  /// All queues were found empty since the last bury().
  void poll_dry() { buried_.clear(); }
  std::span<const std::byte> received(const ibv_wc& completion) const;
  /// The buffer of a receive may be used again.
  void recycle(const ibv_wc& completion) { free_receives_.push_back(completion.wr_id); }
  /// Posts recycled ones, a full doorbell at a time; a few are held back until there are more.
  Status post_receives();
  /// Without links, gets lost receive buffers back. No frame is looked at any more.
  void reclaim();
  /// Receive buffers that came back later than others posted after them, or not yet: those of
  /// messages that are half there, and those that are lost.
  std::size_t overtaken() const { return overtaken_; }

  /// False: there is something to poll.
  bool arm();
  int channel_fd() const { return channel_->fd; }
  int async_fd() const { return context_->async_fd; }
  /// Takes what the channel has told.
  void drain_channel();
  /// The next news of the device that ends links: of one pair (its number), or of all (0).
  struct News {
    std::uint32_t pair_number = 0;
    std::string what;
  };
  bool next_news(News& news);

 private:
  struct Queue {
    CompletionQueue cq;
    std::size_t links = 0;
    bool broken = false;
    Ring<ibv_wc> early;  ///< found by arm() and keep()
  };
  Rail(const Api& api, Port port) : api_(api), port_(std::move(port)) {}
  Status ask_device();
  Status start();
  void probe_inline();
  Status add_queue();
  Result<Slab> allocate_receives();
  Status add_receives();
  Status post_some_receives();
  void keep(Queue& queue);
  bool break_queue(const ibv_cq* cq);
  int poll_device(Queue& queue, std::span<ibv_wc> completions);
  void came_back(std::uint64_t receive);

  const Api& api_;
  const Port port_;
  PortCard card_;
  std::uint8_t reads_max_ = 0;
  std::uint32_t inline_bytes_ = 0;
  std::size_t message_bytes_max_ = 0;
  int completions_max_ = 0;
  std::uint32_t receives_max_ = 0;
  std::string broken_;  ///< why nothing can be made on the device any more; empty: it can
  // Destroyed from the last to the first.
  Context context_;
  ProtectionDomain pd_;
  Channel channel_;
  Pages receives_to_come_;  ///< the rest of the last one's huge page
  std::vector<Slab> receives_;
  std::vector<std::unique_ptr<Queue>> queues_;
  SharedReceiveQueue srq_;
  std::vector<std::uint64_t> free_receives_;
  // Devices take receives in the order in which they were posted.
  std::vector<std::uint64_t> posted_at_;  ///< by receive: how many had been posted
  std::uint64_t posted_ = 0;
  std::uint64_t latest_ = 0;  ///< posted_at_ of the last posted of those that came back
  std::size_t overtaken_ = 0;
  std::vector<std::uint32_t> buried_;
  std::size_t links_ = 0;
};

}  // namespace shoal::verbs
