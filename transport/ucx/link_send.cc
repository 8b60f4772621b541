#include <algorithm>
#include <array>
#include <cstring>

#include "transport/ucx/link.h"
#include "transport/ucx/packer.h"

// From what is posted to packets in UCX's hands.

namespace shoal::ucx {

namespace {

Error queue_full() {
  return {Errc::overloaded, "the send queue over UCX is full: the peer does not keep up"};
}

}  // namespace

// --- What UCX asks for when it takes a packet ----------------------------------------------------

struct Packer {
  static void* start_pack(void*, const void* slot, std::size_t) { return const_cast<void*>(slot); }
  static void* start_unpack(void*, void*, std::size_t) { return nullptr; }
  static std::size_t packed_size(void* state) { return static_cast<Link::Slot*>(state)->bytes; }
  static std::size_t pack(void* state, std::size_t offset, void* to, std::size_t bytes_max) {
    const auto& slot = *static_cast<Link::Slot*>(state);
    const auto bytes = std::min<std::size_t>(bytes_max, slot.bytes - offset);
    if (bytes == 0) return 0;
    if (slot.packet.kind == PacketKind::frame) {
      auto& frames = slot.link->frames_[static_cast<std::size_t>(slot.packet.lane)];
      std::memcpy(to, frames.at(slot.staged) + offset, bytes);
    } else if (slot.from != nullptr) {
      std::memcpy(to, slot.from + offset, bytes);
    } else {
      std::memset(to, 0, bytes);
    }
    return bytes;
  }
  static ucs_status_t unpack(void*, std::size_t, const void*, std::size_t) {
    return UCS_ERR_UNSUPPORTED;
  }
  static void finish(void*) {}
};

Result<ucp_datatype_t> create_packed_type(const Api& api) {
  constexpr ucp_generic_dt_ops_t kOperations{&Packer::start_pack,  &Packer::start_unpack,
                                             &Packer::packed_size, &Packer::pack,
                                             &Packer::unpack,      &Packer::finish};
  ucp_datatype_t type = 0;
  const auto status = api.dt_create_generic(&kOperations, nullptr, &type);
  if (status != UCS_OK)
    return Error{Errc::unavailable,
                 std::string("UCX cannot make a datatype: ") + api.status_string(status)};
  return type;
}

// --- Posting -------------------------------------------------------------------------------------

Status Link::send(const FrameHeader& sealed, std::span<const std::byte> meta,
                  std::span<const ConstMemoryView> payload, Lane lane) {
  auto& queue = queues_[lane == Lane::bulk ? kBulk : kMessages];
  auto& frames = frames_[static_cast<std::size_t>(lane)];
  const auto bytes = frame_bytes(meta.size(), static_cast<std::size_t>(sealed.payload_bytes));
  if (bytes <= kSmallFrame && queue.empty()) {
    retire();
    if (ready && next_ - oldest_ != kWindow) {
      send_small(sealed, meta, payload, lane);
      return {};
    }
  }
  if (queue.size() >= kQueuedMax || !frames.fits(bytes)) return queue_full();
  const auto at = frames.reserve(bytes);
  stage_frame(frames.at(at), sealed, meta, payload);
  queue.push_back({.kind = PacketKind::frame, .lane = lane, .staged = at, .bytes = bytes});
  return {};
}

Status Link::write(ConstMemoryView from, std::uint64_t region, std::uint64_t mapping,
                   std::uint64_t offset, std::uint64_t context) {
  auto& queue = queues_[kBulk];
  if (queue.size() >= kQueuedMax) return queue_full();
  queue.push_back({.kind = PacketKind::write,
                   .lane = Lane::bulk,
                   .from = from.data,
                   .bytes = from.bytes,
                   .region = region,
                   .mapping = from.bytes < kCopiedMin ? 0 : mapping,
                   .offset = offset,
                   .context = context});
  return {};
}

Status Link::read(MemoryView to, std::uint64_t region, std::uint64_t mapping, std::uint64_t offset,
                  std::uint64_t context) {
  if (free_reads_.empty()) {
    if (reads_.size() >= kReadsMax) return queue_full();
    free_reads_.push_back(static_cast<std::uint32_t>(reads_.size()));
    reads_.emplace_back();
  }
  const auto index = free_reads_.back();
  free_reads_.pop_back();
  auto& read = reads_[index];
  read = {.to = to, .context = context, .generation = read.generation + 1, .live = true};
  const Operation operation{.kind = PacketKind::read,
                            .bytes = to.bytes,
                            .region = region,
                            .mapping = to.bytes < kCopiedMin ? 0 : mapping,
                            .offset = offset,
                            .read = (std::uint64_t{read.generation} << 32) | index};
  queues_[operation.mapping != 0 ? kFetches : kMessages].push_back(operation);
  return {};
}

// --- Giving to UCX -------------------------------------------------------------------------------

/// Messages first; bulk, the answers to READs, and READs that we carry out, by turns. Null: nothing
/// is queued.
Ring<Link::Operation>* Link::next_queue() {
  if (!queues_[kMessages].empty()) return &queues_[kMessages];
  constexpr std::array kOthers{kBulk, kAnswers, kFetches};
  for (std::size_t i = 0; i < kOthers.size(); ++i) {
    auto& queue = queues_[kOthers[++turn_ % kOthers.size()]];
    if (!queue.empty()) return &queue;
  }
  return nullptr;
}

void Link::push_queued() {
  retire();
  for (std::size_t done = 0; done < kTurnBytes && wants_push();) done += send_next(*next_queue());
}

/// Of the first operation; gives the bytes that it moved, about.
std::size_t Link::send_next(Ring<Operation>& queue) {
  auto& operation = queue.front();
  if (operation.kind == PacketKind::write && operation.bytes == 0) {
    complete(Event::Kind::write_done, operation.context, Errc::ok);
    queue.pop_front();
    return 0;
  }
  if (operation.mapping != 0) {
    if (operation.kind == PacketKind::read) return copy_in(queue);
    if (const auto copied = copy_out(queue)) return copied;
  }
  return send_packet(queue);
}

/// What the next packet carries: up to a page that is copied, if one is.
std::size_t Link::packet_bytes_of(const Operation& operation) const {
  const auto rest = std::min<std::uint64_t>(operation.bytes - operation.done, packet_bytes_);
  const auto* pages = operation.mapping != 0 ? find_mapped(operation) : nullptr;
  const auto before = pages != nullptr ? pages->before_page(operation.offset + operation.done) : 0;
  return before != 0 ? std::min<std::uint64_t>(rest, before) : rest;
}

std::size_t Link::send_packet(Ring<Operation>& queue) {
  auto& operation = queue.front();
  const bool carries = operation.kind == PacketKind::frame || operation.kind == PacketKind::write ||
                       operation.kind == PacketKind::data;
  auto& sent = window_[next_ % kWindow];
  sent.bytes = carries ? packet_bytes_of(operation) : 0;
  sent.packet = {.secret = peer_secret_,
                 .sequence = next_out_++,
                 .kind = operation.kind,
                 .lane = operation.lane,
                 .region = operation.region,
                 .offset = operation.offset + operation.done,
                 .bytes = operation.bytes,
                 .read = operation.read};
  sent.from = operation.from != nullptr ? operation.from + operation.done : nullptr;
  sent.staged = operation.staged + operation.done;
  sent.context = operation.context;
  operation.done += sent.bytes;
  sent.last = !carries || operation.done == operation.bytes;
  if (sent.last) queue.pop_front();
  ++next_;
  auto parameters = request_of(sent);
  parameters.op_attr_mask |= UCP_OP_ATTR_FIELD_DATATYPE;
  parameters.datatype = shared_.packed;
  give(sent, parameters, std::as_bytes(std::span(&sent.packet, 1)), &sent, 1);
  retire();
  return packet_bytes_;
}

/// A copy of the frame, in one piece with what UCX would take as a header.
void Link::send_small(const FrameHeader& sealed, std::span<const std::byte> meta,
                      std::span<const ConstMemoryView> payload, Lane lane) {
  auto& sent = window_[next_++ % kWindow];
  sent.packet.kind = PacketKind::nothing;
  sent.from = nullptr;
  const SmallHead head{.secret = peer_secret_, .sequence = next_out_++, .lane = lane};
  std::memcpy(sent.small.data(), &head, sizeof head);
  stage_frame(sent.small.data() + sizeof head, sealed, meta, payload);
  const auto bytes =
      frame_bytes(meta.size(), static_cast<std::size_t>(sealed.payload_bytes)) + sizeof head;
  give(sent, request_of(sent), {}, sent.small.data(), bytes);
  retire();
}

ucp_request_param_t Link::request_of(Slot& slot) {
  ucp_request_param_t parameters;  // UCX reads the fields that are named
  parameters.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  parameters.cb.send = &Link::on_taken;
  parameters.user_data = &slot;
  parameters.flags = UCP_AM_SEND_FLAG_EAGER;
  return parameters;
}

void Link::give(Slot& slot, const ucp_request_param_t& parameters,
                std::span<const std::byte> header, const void* data, std::size_t count) {
  slot.taken = false;
  auto* request =
      api().am_send_nbx(ep_, kMessageId, header.data(), header.size(), data, count, &parameters);
  if (UCS_PTR_IS_PTR(request)) return;  // on_taken() will be called
  slot.taken = true;
  if (UCS_PTR_IS_ERR(request)) lose(Errc::peer_lost, api().status_string(UCS_PTR_STATUS(request)));
}

void Link::on_taken(void* request, ucs_status_t status, void* user) {
  auto& slot = *static_cast<Slot*>(user);
  slot.taken = true;
  slot.link->api().request_free(request);
  if (status != UCS_OK && !slot.link->closing)
    slot.link->lose(Errc::peer_lost, slot.link->api().status_string(status));
}

/// UCX need not take packets in order; operations end in it.
void Link::retire() {
  for (; oldest_ != next_ && window_[oldest_ % kWindow].taken; ++oldest_) {
    const auto& slot = window_[oldest_ % kWindow];
    if (slot.packet.kind == PacketKind::frame)
      frames_[static_cast<std::size_t>(slot.packet.lane)].free_to(slot.staged + slot.bytes);
    // After a failure nobody knows; end_loans() says so.
    if (slot.packet.kind == PacketKind::write && slot.last)
      complete(Event::Kind::write_done, slot.context,
               lost == Errc::ok ? Errc::ok : Errc::peer_lost);
  }
}

}  // namespace shoal::ucx
