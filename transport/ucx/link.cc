#include "transport/ucx/link.h"

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "core/base/log.h"
#include "core/wire/codec.h"
#include "transport/auth.h"

namespace shoal::ucx {

namespace {

Error refused(const Api& api, std::string_view what, ucs_status_t status) {
  return {Errc::unavailable, fmt::format("UCX {}: {}", what, api.status_string(status))};
}

}  // namespace

// --- Making and connecting -----------------------------------------------------------------------

Result<std::unique_ptr<Link>> Link::create(EndpointId id, std::size_t turnstile, Shared& shared) {
  std::unique_ptr<Link> link(new Link(id, turnstile, shared));
  const auto& api = link->api();
  fill_random(std::as_writable_bytes(std::span(&link->own_secret_, 1)));
  ucp_worker_params_t parameters{};
  parameters.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  parameters.thread_mode = UCS_THREAD_MODE_SINGLE;
  auto status = api.worker_create(shared.context.get(), &parameters, &link->worker_);
  if (status != UCS_OK) {
    link->worker_ = nullptr;
    return refused(api,
                   "cannot make a worker (it takes 3 MiB of shared memory: is /dev/shm full, "
                   "or too small, as in a container without --shm-size?)",
                   status);
  }
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                       UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kMessageId;
  handler.cb = &Link::on_packet;
  handler.arg = link.get();
  status = api.worker_set_am_recv_handler(link->worker_, &handler);
  if (status != UCS_OK) return refused(api, "cannot receive active messages", status);
  status = api.worker_get_efd(link->worker_, &link->fd_);
  if (status != UCS_OK)
    return refused(api, "has no descriptor to wait for (is UCX_TLS without wakeup?)", status);
  for (auto& slot : link->window_) slot.link = link.get();
  return link;
}

Link::~Link() {
  if (closing_request_ != nullptr) api().request_free(closing_request_);
  if (worker_ != nullptr) api().worker_destroy(worker_);
}

Result<Card> Link::card() const {
  ucp_address_t* address = nullptr;
  std::size_t bytes = 0;
  const auto status = api().worker_get_address(worker_, &address, &bytes);
  if (status != UCS_OK) return refused(api(), "does not tell its address", status);
  Card card(sizeof(LinkCard) + bytes);
  Writer out(card);
  LinkCard own;
  own.secret = own_secret_;
  own.turnstile = static_cast<std::uint32_t>(turnstile);
  out.put(own);
  out.put_bytes({reinterpret_cast<const std::byte*>(address), bytes});
  api().worker_release_address(worker_, address);
  return card;
}

Status Link::connect(std::span<const std::byte> card) {
  Reader in(card);
  const auto peer = in.get<LinkCard>();
  if (!in.ok() || in.left() == 0) return Error{Errc::protocol, "card of a UCX link"};
  if (peer.version != kWireVersion)
    return Error{Errc::unavailable, fmt::format("the peer speaks version {} over UCX, we speak {}",
                                                peer.version, kWireVersion)};
  if (peer.turnstile >= kLinksMax) return Error{Errc::protocol, "card of a UCX link"};
  peer_secret_ = peer.secret;
  peer_turnstile_ = peer.turnstile;
  const auto address = in.get_bytes(in.left());
  ucp_ep_params_t parameters{};
  parameters.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                          UCP_EP_PARAM_FIELD_ERR_HANDLER;
  parameters.address = reinterpret_cast<const ucp_address_t*>(address.data());
  parameters.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  parameters.err_handler.cb = &Link::on_failed;
  parameters.err_handler.arg = this;
  const auto status = api().ep_create(worker_, &parameters, &ep_);
  if (status != UCS_OK) {
    ep_ = nullptr;
    return refused(api(), "finds no way to the peer (do both have the same UCX_TLS?)", status);
  }
  way_ = find_way();
  local_ = way_.starts_with("posix/") || way_.starts_with("sysv/");
  if (local_) checksum_ = Checksum::none;
  if (local_ || way_.starts_with("tcp/")) packet_bytes_ = kPacketBytes;
  ready = true;
  return {};
}

// "#  lane[0]:  4:posix/memory.0 md[3]  -> md[3]/posix/... am am_bw#0": the lane of messages is the
// first.
std::string Link::find_way() const {
  char* text = nullptr;
  std::size_t bytes = 0;
  std::FILE* to = ::open_memstream(&text, &bytes);
  if (to == nullptr) return "an unknown way";
  api().ep_print_info(ep_, to);
  (void)std::fclose(to);
  const std::string info(text, bytes);
  std::free(text);
  constexpr std::string_view kLane = "lane[0]:";
  auto begin = info.find(kLane);
  if (begin != std::string::npos) begin = info.find(':', begin + kLane.size());
  if (begin == std::string::npos) return "an unknown way";
  ++begin;
  return info.substr(begin, info.find_first_of(". ", begin) - begin);
}

// --- The end -------------------------------------------------------------------------------------

void Link::complete(Event::Kind kind, std::uint64_t context, Errc status) {
  shared_.completed.push_back(ended_event(id, kind, context, status));
}

void Link::lose(Errc why, const std::string& what) {
  if (lost != Errc::ok) return;
  log_info("ucx", "a link over {} ends: {}", way_.empty() ? "no way yet" : way_, what);
  lost = why;
  shared_.lost.push_back(id);
}

void Link::end_loans(Errc status) {
  // In the order in which they were posted: what UCX has first.
  for (auto at = oldest_; at != next_; ++at) {
    auto& sent = window_[at % kWindow];
    const bool write = sent.packet.kind == PacketKind::write;
    if (write && sent.last) complete(Event::Kind::write_done, sent.context, status);
    if (!write && sent.from == nullptr) continue;
    sent.from = nullptr;
    sent.packet.kind = PacketKind::nothing;
  }
  auto& bulk = queues_[kBulk];
  for (; !bulk.empty(); bulk.pop_front())
    if (bulk.front().kind == PacketKind::write)
      complete(Event::Kind::write_done, bulk.front().context, status);
  queues_[kAnswers].clear();
  queues_[kFetches].clear();
  for (auto& read : reads_)
    if (read.live) end_read(read, status);
}

void Link::forget(std::uint64_t region) {
  for (auto at = oldest_; at != next_; ++at) {
    auto& sent = window_[at % kWindow];
    if (sent.taken || sent.packet.kind != PacketKind::data || sent.packet.region != region)
      continue;
    sent.from = nullptr;
    sent.packet.kind = PacketKind::nothing;
    // All of it was on its way: nothing else is left to say that it does not come.
    if (sent.last)
      queues_[kAnswers].push_back({.kind = PacketKind::refuse, .read = sent.packet.read});
  }
  auto& answers = queues_[kAnswers];
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (answers[i].kind == PacketKind::data && answers[i].region == region)
      answers[i] = {.kind = PacketKind::refuse, .read = answers[i].read};
  }
}

void Link::say_bye() { queues_[kMessages].push_back({.kind = PacketKind::bye}); }

bool Link::arm() {
  if (worker_ == nullptr) return true;
  const auto status = api().worker_arm(worker_);
  if (status == UCS_ERR_BUSY) return false;
  if (status != UCS_OK && lost == Errc::ok && ready) {
    lose(Errc::io, "its worker cannot be armed");
    return false;
  }
  // A device may tell only of what comes after it was armed (rxe does), and UCX does not look
  // again.
  const auto before = lost;
  dry = !progress();
  return dry && lost == before;
}

bool Link::stalled(TimePoint now) {
  if (oldest_ == next_) return false;
  if (std::exchange(stalled_at_, oldest_) != oldest_ || stalled_since_ == TimePoint{})
    stalled_since_ = now;
  return dry && now - stalled_since_ >= kStalled;
}

void Link::bury() {
  end_loans(Errc::closed);
  for (auto& queue : queues_) queue.clear();
  ready = false;
  closing = true;
  if (ep_ == nullptr) return;
  ucp_request_param_t parameters{};
  parameters.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  parameters.flags = UCP_EP_CLOSE_FLAG_FORCE;
  auto* request = api().ep_close_nbx(ep_, &parameters);
  ep_ = nullptr;
  if (UCS_PTR_IS_PTR(request)) closing_request_ = request;
}

bool Link::buried() const {
  if (closing_request_ != nullptr && api().request_check_status(closing_request_) == UCS_INPROGRESS)
    return false;
  for (auto at = oldest_; at != next_; ++at)
    if (!window_[at % kWindow].taken) return false;
  return true;
}

}  // namespace shoal::ucx
