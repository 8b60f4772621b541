#include "transport/verbs/rail.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "core/wire/frame.h"
#include "transport/pinned_memory.h"

namespace shoal::verbs {

namespace {

constexpr std::size_t kReceiveSlabBytes = kReceivesPerSlab * kReceiveBytes;
static_assert(kHugePage % kReceiveSlabBytes == 0);

Error failed(const Port& port, std::string_view what, int error) {
  return {Errc::unavailable, fmt::format("{} port {}: {}", port.device, port.number, what), error};
}

/// Why the device did not take memory, and what to do about it.
Error not_registered(const Port& port, MemoryView memory, int error) {
  auto what = fmt::format("registering {} bytes with {}", memory.bytes, port.device);
  const auto limit = lock_limit();
  if (error == ENOMEM && limit)
    what += ": " + about_lock_limit(*limit);
  else if (error == ENOMEM)
    what += ": memory is short, or the device has as many regions as it can";
  if (error == EFAULT) what += ": not all of it is mapped, or writable";
  if (error == EINVAL) what += ": the device takes no region of this size at this address";
  if (error == EOPNOTSUPP)
    what += ": it is of a file system or a device whose memory cannot be pinned";
  return {Errc::registration, std::move(what), error};
}

/// The same of memory of another device.
Error not_registered(const Port& port, const DmaBuf& exported, MemoryView memory, int error) {
  auto what = fmt::format("registering {} bytes of a GPU, at {} of a dma-buf, with {}",
                          memory.bytes, exported.offset, port.device);
  if (error == EOPNOTSUPP || error == ENOSYS || error == EPROTONOSUPPORT)
    what += ": its driver, or a kernel before 5.12, takes no dma-bufs";
  if (error == EINVAL) what += ": it is none, or not so long";
  return {Errc::registration, std::move(what), error};
}

}  // namespace

Result<Pages> Pages::map(std::size_t bytes) {
  const auto unit = bytes >= kHugePage ? kHugePage : kPage;
  bytes = (bytes + unit - 1) / unit * unit;
  const auto room = bytes + unit - kPage;
  void* mapped = ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED)
    return Error{Errc::no_memory, fmt::format("{} bytes of buffers", bytes), errno};
  // Kernels before 6.7 align nothing.
  Pages whole(MemoryView{static_cast<std::byte*>(mapped), room, MemorySpace::host, 0});
  const auto before = -reinterpret_cast<std::uintptr_t>(mapped) & (unit - 1);
  if (before != 0) whole.take_front(before);
  auto pages = whole.take_front(bytes);
  if (unit == kHugePage) ::madvise(pages.memory().data, bytes, MADV_HUGEPAGE);
  return pages;
}

Pages::~Pages() {
  if (memory_.bytes != 0) ::munmap(memory_.data, memory_.bytes);
}

Pages Pages::take_front(std::size_t bytes) {
  Pages front(memory_.sub(0, bytes));
  memory_ = memory_.sub(bytes, memory_.bytes - bytes);
  return front;
}

Result<std::unique_ptr<Rail>> Rail::open(const Api& api, const Port& port) {
  std::unique_ptr<Rail> rail(new Rail(api, port));
  int count = 0;
  errno = 0;
  ibv_device** devices = api.get_device_list(&count);
  if (devices == nullptr) return failed(port, "the devices cannot be listed", errno);
  for (int i = 0; i < count && !rail->context_; ++i)
    if (port.device == api.get_device_name(devices[i]))
      rail->context_ = Context(api, api.open_device(devices[i]));
  api.free_device_list(devices);
  if (!rail->context_) return failed(port, "the device cannot be opened", errno);
  SHOAL_TRY(rail->ask_device());
  return rail;
}

Status Rail::ask_device() {
  ibv_device_attr device{};
  if (const int error = api_.query_device(context_.get(), &device))
    return failed(port_, "the device cannot be asked what it is", error);
  ibv_port_attr port{};
  if (const int error = api_.query_port(context_.get(), port_.number, &port))
    return failed(port_, "the port cannot be asked for its state", error);
  const auto reads = [](int count) { return static_cast<std::uint8_t>(std::clamp(count, 0, 128)); };
  reads_max_ = reads(device.max_qp_init_rd_atom);
  std::copy(std::begin(port_.gid.raw), std::end(port_.gid.raw), card_.gid.begin());
  card_.lid = port.lid;
  card_.link_layer = static_cast<std::uint8_t>(port_.link_layer);
  card_.mtu = static_cast<std::uint8_t>(port.active_mtu);
  card_.reads = reads(device.max_qp_rd_atom);
  card_.gbit_per_s = static_cast<std::uint16_t>(port_.gbit_per_s);
  message_bytes_max_ = port.max_msg_sz;
  completions_max_ = device.max_cqe;
  receives_max_ = static_cast<std::uint32_t>(std::min<std::size_t>(
      kReceivesMax + kReceivesLostMax, static_cast<std::size_t>(device.max_srq_wr)));
  if (receives_max_ < kReceivesPerLink)
    return failed(port_,
                  fmt::format("shared receive queues hold {} buffers, of which Shoal needs {}",
                              receives_max_, kReceivesPerLink),
                  0);
  for (const int fd : {context_->async_fd}) {
    if (::fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
      return failed(port_, "the device's events cannot be read without blocking", errno);
  }
  errno = 0;
  pd_ = ProtectionDomain(api_, api_.alloc_pd(context_.get()));
  if (!pd_) return failed(port_, "no protection domain could be made", errno);
  channel_ = Channel(api_, api_.create_comp_channel(context_.get()));
  if (!channel_) return failed(port_, "no completion channel could be made", errno);
  if (::fcntl(channel_->fd, F_SETFL, O_NONBLOCK) != 0)
    return failed(port_, "the completion channel cannot be read without blocking", errno);
  return {};
}

Result<MemoryRegion> Rail::register_memory(MemoryView memory, int access) const {
  errno = 0;
  MemoryRegion region(api_, api_.reg_mr(pd_.get(), memory.data, memory.bytes, access));
  if (!region) return not_registered(port_, memory, errno);
  return region;
}

Result<MemoryRegion> Rail::register_dma_buf(const DmaBuf& exported, MemoryView memory,
                                            int access) const {
  if (api_.reg_dmabuf_mr == nullptr)
    return Error{Errc::registration,
                 "memory of a GPU needs ibv_reg_dmabuf_mr, which rdma-core has since version 34"};
  errno = 0;
  MemoryRegion region(
      api_, api_.reg_dmabuf_mr(pd_.get(), exported.offset, memory.bytes,
                               reinterpret_cast<std::uintptr_t>(memory.data), exported.fd, access));
  if (!region) return not_registered(port_, exported, memory, errno);
  return region;
}

Result<Slab> Rail::allocate(std::size_t bytes) const {
  SHOAL_ASSIGN(auto pages, Pages::map(bytes));
  SHOAL_ASSIGN(auto region, register_memory(pages.memory(), IBV_ACCESS_LOCAL_WRITE));
  return Slab(std::move(pages), std::move(region));
}

/// Two share a huge page, and only those that links want are locked.
Result<Slab> Rail::allocate_receives() {
  if (receives_to_come_.memory().bytes == 0) {
    SHOAL_ASSIGN(receives_to_come_, Pages::map(kHugePage));
  }
  const auto memory = receives_to_come_.memory().sub(0, kReceiveSlabBytes);
  SHOAL_ASSIGN(auto region, register_memory(memory, IBV_ACCESS_LOCAL_WRITE));
  return Slab(receives_to_come_.take_front(kReceiveSlabBytes), std::move(region));
}

Status Rail::usable() const {
  if (!broken_.empty()) return failed(port_, broken_, 0);
  ibv_port_attr port{};
  if (const int error = api_.query_port(context_.get(), port_.number, &port))
    return failed(port_, "the port cannot be asked for its state", error);
  if (port.state != IBV_PORT_ACTIVE) return failed(port_, "the port is down", 0);
  return {};
}

Result<std::size_t> Rail::join() {
  SHOAL_TRY(usable());
  SHOAL_TRY(start());
  SHOAL_TRY(add_receives());
  auto at = std::find_if(queues_.begin(), queues_.end(), [](const auto& queue) {
    return !queue->broken && queue->links < kLinksPerQueue;
  });
  if (at == queues_.end()) {
    SHOAL_TRY(add_queue());
    at = queues_.end() - 1;
  }
  ++(*at)->links;
  ++links_;
  return static_cast<std::size_t>(at - queues_.begin());
}

void Rail::leave(std::size_t queue) {
  --queues_[queue]->links;
  --links_;
}

Status Rail::start() {
  if (srq_) return {};
  ibv_srq_init_attr init{};
  init.attr.max_wr = receives_max_;
  init.attr.max_sge = 1;
  errno = 0;
  srq_ = SharedReceiveQueue(api_, api_.create_srq(pd_.get(), &init));
  if (!srq_) return failed(port_, "no shared receive queue could be made", errno);
  if (!queues_.empty()) return {};
  SHOAL_TRY(add_queue());
  probe_inline();
  return {};
}

// A device says what it can only when it is asked for a pair.
void Rail::probe_inline() {
  for (auto bytes = kInlineBytes; bytes >= kFrameHeaderBytes; bytes /= 2) {
    inline_bytes_ = bytes;
    if (create_pair(0, 1).ok()) return;
  }
  inline_bytes_ = 0;
}

Status Rail::add_queue() {
  const auto wanted = static_cast<int>(receives_max_ + kLinksPerQueue * kLinkDepth);
  if (completions_max_ < wanted)
    return failed(port_,
                  fmt::format("completion queues have {} entries, of which Shoal needs {}",
                              completions_max_, wanted),
                  0);
  errno = 0;
  CompletionQueue cq(api_, api_.create_cq(context_.get(), wanted, nullptr, channel_.get(), 0));
  if (!cq) return failed(port_, "no completion queue could be made", errno);
  queues_.push_back(std::make_unique<Queue>());
  queues_.back()->cq = std::move(cq);
  return {};
}

// What is lost is replaced, up to what the shared receive queue has room for if nothing is.
Status Rail::add_receives() {
  const auto wanted = std::min<std::size_t>((links_ + 1) * kReceivesPerLink, kReceivesMax);
  const auto have = [this] { return receives_.size() * kReceivesPerSlab; };
  while (have() + kReceivesPerSlab / 2 < wanted + overtaken_ &&
         have() + kReceivesPerSlab <= receives_max_) {
    SHOAL_ASSIGN(auto slab, allocate_receives());
    for (std::size_t i = 0; i < kReceivesPerSlab; ++i) free_receives_.push_back(have() + i);
    receives_.push_back(std::move(slab));
    posted_at_.resize(have());
    free_receives_.reserve(have());
  }
  if (have() < overtaken_ + kReceivesPerLink / 2)
    return failed(port_,
                  fmt::format("{} of {} receive buffers were lost with connections that broke",
                              overtaken_, have()),
                  0);
  return post_receives();
}

Result<QueuePair> Rail::create_pair(std::size_t queue, std::uint32_t depth) {
  ibv_qp_init_attr init{};
  init.send_cq = init.recv_cq = queues_[queue]->cq.get();
  init.srq = srq_.get();
  init.cap.max_send_wr = depth;
  init.cap.max_send_sge = 1;
  init.cap.max_inline_data = inline_bytes_;
  init.qp_type = IBV_QPT_RC;
  // Numbers of pairs that are gone, but whose completions may still come, are passed over.
  std::vector<QueuePair> passed_over;
  for (;;) {
    errno = 0;
    QueuePair pair(api_, api_.create_qp(pd_.get(), &init));
    if (!pair) return failed(port_, "no queue pair could be made", errno);
    if (std::find(buried_.begin(), buried_.end(), pair->qp_num) == buried_.end()) return pair;
    passed_over.push_back(std::move(pair));
  }
}

int Rail::poll_device(Queue& queue, std::span<ibv_wc> completions) {
  const int count =
      api_.poll_cq(queue.cq.get(), static_cast<int>(completions.size()), completions.data());
  for (int i = 0; i < count; ++i)
    if (is_receive(completions[static_cast<std::size_t>(i)]))
      came_back(completions[static_cast<std::size_t>(i)].wr_id);
  return count;
}

void Rail::came_back(std::uint64_t receive) {
  const auto at = posted_at_[receive];
  if (at < latest_) {
    --overtaken_;
    return;
  }
  overtaken_ += static_cast<std::size_t>(at - latest_ - 1);
  latest_ = at;
}

void Rail::keep(std::size_t queue) { keep(*queues_[queue]); }

void Rail::keep(Queue& queue) {
  std::array<ibv_wc, kCompletionsPerPoll> found;
  for (;;) {
    const int count = poll_device(queue, found);
    for (int i = 0; i < count; ++i) queue.early.push_back(found[static_cast<std::size_t>(i)]);
    if (count < kCompletionsPerPoll) return;
  }
}

Result<std::size_t> Rail::poll(std::size_t index, std::span<ibv_wc> completions) {
  auto& queue = *queues_[index];
  if (queue.broken && queue.links > 0) return failed(port_, "a completion queue is broken", 0);
  std::size_t count = 0;
  for (; !queue.early.empty() && count < completions.size(); queue.early.pop_front())
    completions[count++] = queue.early.front();
  if (count == completions.size()) return count;
  if (queue.broken) return count;
  const int polled = poll_device(queue, completions.subspan(count));
  if (polled < 0) return failed(port_, "a completion queue cannot be polled", -polled);
  return count + static_cast<std::size_t>(polled);
}

std::span<const std::byte> Rail::received(const ibv_wc& completion) const {
  const auto& slab = receives_[completion.wr_id / kReceivesPerSlab];
  return {slab.data() + completion.wr_id % kReceivesPerSlab * kReceiveBytes, completion.byte_len};
}

Status Rail::post_receives() {
  if (!srq_) return {};  // no link has come since the last one went
  while (free_receives_.size() >= kBatchMax) SHOAL_TRY(post_some_receives());
  return {};
}

Status Rail::post_some_receives() {
  std::array<ibv_recv_wr, kBatchMax> requests;
  std::array<ibv_sge, kBatchMax> pieces;
  auto count = requests.size();
  for (std::size_t i = 0; i < count; ++i) {
    const auto index = free_receives_[free_receives_.size() - 1 - i];
    const auto& slab = receives_[index / kReceivesPerSlab];
    const auto* at = slab.data() + index % kReceivesPerSlab * kReceiveBytes;
    pieces[i] = {reinterpret_cast<std::uintptr_t>(at), kReceiveBytes, slab.lkey()};
    requests[i] = {.wr_id = index,
                   .next = i + 1 < count ? &requests[i + 1] : nullptr,
                   .sg_list = &pieces[i],
                   .num_sge = 1};
  }
  ibv_recv_wr* bad = nullptr;
  const int error = api_.post_srq_recv(srq_.get(), requests.data(), &bad);
  if (error != 0) count = bad != nullptr ? static_cast<std::size_t>(bad - requests.data()) : 0;
  for (std::size_t i = 0; i < count; ++i) posted_at_[requests[i].wr_id] = ++posted_;
  free_receives_.resize(free_receives_.size() - count);
  if (error != 0) return failed(port_, "receive buffers cannot be posted", error);
  return {};
}

// All pairs are destroyed, and what they left behind has been polled: no other buffer is in use.
void Rail::reclaim() {
  if (links_ != 0 || !buried_.empty() || !srq_) return;
  srq_.reset();
  free_receives_.clear();
  for (std::size_t i = 0; i < receives_.size() * kReceivesPerSlab; ++i) free_receives_.push_back(i);
  latest_ = posted_;
  overtaken_ = 0;
}

// What came before a queue was armed raises no event: it is looked for, and kept.
bool Rail::arm() {
  for (auto& queue : queues_) {
    if (!queue->early.empty()) return false;
    if (queue->broken || api_.req_notify_cq(queue->cq.get(), 0) != 0) {
      queue->broken = true;
      if (queue->links > 0) return false;  // poll() ends them
      continue;
    }
    keep(*queue);
    if (!queue->early.empty()) return false;
  }
  return true;
}

void Rail::drain_channel() {
  ibv_cq* cq = nullptr;
  void* user = nullptr;
  while (api_.get_cq_event(channel_.get(), &cq, &user) == 0) api_.ack_cq_events(cq, 1);
}

/// False: of a queue that nobody uses.
bool Rail::break_queue(const ibv_cq* cq) {
  for (const auto& queue : queues_) {
    if (queue->cq.get() != cq) continue;
    queue->broken = true;
    return queue->links > 0;
  }
  return false;
}

bool Rail::next_news(News& news) {
  ibv_async_event event{};
  while (api_.get_async_event(context_.get(), &event) == 0) {
    bool bad = true;
    news = {};
    switch (event.event_type) {
      case IBV_EVENT_QP_FATAL:
      case IBV_EVENT_QP_REQ_ERR:
      case IBV_EVENT_QP_ACCESS_ERR:
        news = {event.element.qp->qp_num, "a queue pair is in error"};
        break;
      case IBV_EVENT_CQ_ERR:
        bad = break_queue(event.element.cq);
        news.what = "a completion queue has overflown";
        break;
      case IBV_EVENT_SRQ_ERR:
        news.what = broken_ = "the shared receive queue is in error";
        break;
      case IBV_EVENT_DEVICE_FATAL:
        news.what = broken_ = "the device has failed";
        break;
      case IBV_EVENT_PORT_ERR:
        bad = event.element.port_num == port_.number;
        news.what = "the port went down";
        break;
      default:
        bad = false;
        break;
    }
    api_.ack_async_event(&event);
    if (bad) return true;
  }
  return false;
}

}  // namespace shoal::verbs
