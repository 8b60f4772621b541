#include "transport/verbs/pair.h"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "transport/auth.h"

namespace shoal::verbs {

namespace {

std::uint32_t random_packet_number() {
  std::uint32_t number = 0;
  fill_random(std::as_writable_bytes(std::span(&number, 1)));
  return number & kPacketMask;
}

Error refused(const Port& port, std::string_view what, int error) {
  return {Errc::unavailable, fmt::format("{} port {}: {}", port.device, port.number, what), error};
}

}  // namespace

Pair::Pair(Rail& rail, QueuePair qp, std::uint32_t depth, std::uint32_t name, Counters& counters)
    : rail_(rail),
      counters_(counters),
      depth_(depth),
      name_(name),
      first_packet_(random_packet_number()),
      frames_(rail, kStagedMin, kStagedMax),
      bounce_(rail, kBounceBytes, kBounceMax),
      qp_(std::move(qp)) {}

Result<Pair> Pair::create(Rail& rail, std::size_t queue, std::uint32_t depth, std::uint32_t name,
                          Counters& counters) {
  SHOAL_ASSIGN(auto qp, rail.create_pair(queue, depth));
  ibv_qp_attr wanted{};
  wanted.qp_state = IBV_QPS_INIT;
  wanted.port_num = rail.port().number;
  wanted.qp_access_flags =
      IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
  const int error = rail.api().modify_qp(
      qp.get(), &wanted, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
  if (error != 0) return refused(rail.port(), "a queue pair cannot be initialised", error);
  return Pair(rail, std::move(qp), depth, name, counters);
}

Status Pair::connect(const PortCard& peer, std::uint32_t peer_number,
                     std::uint32_t peer_first_packet) {
  const auto& own = rail_.card();
  ibv_qp_attr wanted{};
  wanted.qp_state = IBV_QPS_RTR;
  wanted.path_mtu = static_cast<ibv_mtu>(std::min(own.mtu, peer.mtu));
  wanted.dest_qp_num = peer_number;
  wanted.rq_psn = peer_first_packet;
  wanted.max_dest_rd_atomic = own.reads;
  wanted.min_rnr_timer = kNotReadyTimer;
  wanted.ah_attr.is_global = 1;
  std::copy(peer.gid.begin(), peer.gid.end(), std::begin(wanted.ah_attr.grh.dgid.raw));
  wanted.ah_attr.grh.sgid_index = rail_.port().gid_index;
  wanted.ah_attr.grh.hop_limit = kHopLimit;
  wanted.ah_attr.dlid = peer.lid;
  wanted.ah_attr.port_num = rail_.port().number;
  const auto& api = rail_.api();
  int error = api.modify_qp(qp_.get(), &wanted,
                            IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  if (error != 0) return refused(rail_.port(), "there is no way to the peer's port", error);
  wanted.qp_state = IBV_QPS_RTS;
  wanted.timeout = kAckTimeout;
  wanted.retry_cnt = kRetries;
  wanted.rnr_retry = kRetriesNotReady;
  wanted.sq_psn = first_packet_;
  wanted.max_rd_atomic = std::min(rail_.reads_max(), peer.reads);
  error = api.modify_qp(qp_.get(), &wanted,
                        IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                            IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
  if (error != 0) return refused(rail_.port(), "a queue pair cannot be made ready", error);
  return {};
}

Result<Staging::Run> Pair::stage(std::size_t bytes) {
  constexpr std::string_view kFull = "the send queue is full: the peer does not keep up";
  if (!has_room()) return Error{Errc::overloaded, std::string(kFull)};
  const auto run = frames_.take(bytes);
  if (run) return *run;
  if (!frames_.growth().ok() && bytes > frames_.capacity()) return frames_.growth().error();
  return Error{Errc::overloaded, std::string(kFull)};
}

Status Pair::push_frame(const FrameHeader& header, std::span<const std::byte> meta,
                        std::span<const ConstMemoryView> payload, std::uint32_t awaits) {
  const auto bytes = frame_bytes(meta.size(), static_cast<std::size_t>(header.payload_bytes));
  SHOAL_ASSIGN(const auto run, stage(bytes));
  stage_frame(run.data, header, meta, payload);
  push_message(run, bytes, awaits);
  return {};
}

void Pair::push_token() { push_message({}, 0, 0); }

Status Pair::push_probe(std::size_t bytes) {
  SHOAL_ASSIGN(const auto run, stage(bytes));
  std::memset(run.data, 0, bytes);
  push_message(run, bytes, 0);
  return {};
}

void Pair::push_message(const Staging::Run& run, std::size_t bytes, std::uint32_t awaits) {
  queue_.push_back({.opcode = IBV_WR_SEND,
                    .number = operations_++,
                    .local = {run.data, bytes, run.lkey},
                    .remote = {},
                    .awaits = awaits,
                    .completion = {}});
}

void Pair::push_transfer(ibv_wr_opcode opcode, const Local& local, const Remote& remote,
                         const Completion& completion) {
  queue_.push_back({.opcode = opcode,
                    .number = operations_++,
                    .local = local,
                    .remote = remote,
                    .completion = completion});
}

Status Pair::post() {
  while (!queue_.empty() && flight_.size() < depth_) {
    Batch batch;
    while (batch.count < kBatchMax && cut(batch)) {
    }
    // Waits until some of what is bounced has ended.
    if (batch.count == 0) return bounce_.capacity() == 0 ? bounce_.growth() : Status{};
    signal_last(batch);
    SHOAL_TRY(ring(batch));
  }
  return {};
}

/// Where a request's own side lies. False: no memory to bounce it through at the moment.
bool Pair::choose_local(const Operation& operation, std::uint64_t bytes, ibv_sge& piece,
                        Flight& flight) {
  auto* data = operation.local.data + operation.posted;
  piece.length = static_cast<std::uint32_t>(bytes);
  piece.lkey = operation.local.lkey;
  const bool copied = operation.opcode == IBV_WR_SEND ||
                      (operation.opcode == IBV_WR_RDMA_WRITE && bytes <= rail_.inline_bytes());
  if (!copied && operation.local.lkey == 0 && bytes != 0) {
    const auto run = bounce_.take(bytes);
    if (!run) return false;
    flight.bounced = piece.length;
    piece.lkey = run->lkey;
    if (operation.opcode == IBV_WR_RDMA_READ) {
      flight.from = run->data;
      flight.to = data;
    } else {
      std::memcpy(run->data, data, bytes);
    }
    data = run->data;
    awaited_ = true;  // or the memory would not come back while nothing else is sent
  }
  piece.addr = reinterpret_cast<std::uintptr_t>(data);
  return true;
}

ibv_send_wr Pair::new_request(ibv_wr_opcode opcode) {
  ibv_send_wr request{};
  request.wr_id = (std::uint64_t{name_} << 32) | next_++;
  request.opcode = opcode;
  return request;
}

/// The next work request of the first operation. False: there is none, or no room.
bool Pair::cut(Batch& batch) {
  if (queue_.empty() || flight_.size() >= depth_) return false;
  auto& operation = queue_.front();
  const bool frame = operation.opcode == IBV_WR_SEND;
  const auto piece_max = frame ? kReceiveBytes
                         : operation.local.lkey == 0
                             ? kBounceBytes
                             : std::min(kPieceBytes, rail_.message_bytes_max());
  const auto bytes = std::min<std::uint64_t>(operation.local.bytes - operation.posted, piece_max);
  Flight flight;
  flight.operation = operation.number;
  auto& piece = batch.pieces[batch.count];
  if (!choose_local(operation, bytes, piece, flight)) return false;
  auto& request = batch.requests[batch.count];
  request = new_request(operation.opcode);
  request.sg_list = &piece;
  request.num_sge = bytes == 0 ? 0 : 1;
  request.wr.rdma.remote_addr = operation.remote.address + operation.posted;
  request.wr.rdma.rkey = operation.remote.rkey;
  if (operation.opcode != IBV_WR_RDMA_READ && bytes <= rail_.inline_bytes())
    request.send_flags |= IBV_SEND_INLINE;
  if (++silent_ == kSignalEvery) {
    request.send_flags |= IBV_SEND_SIGNALED;
    silent_ = 0;
    awaited_ = false;
  }
  operation.posted += bytes;
  const bool last = operation.posted == operation.local.bytes;
  if (last) {
    flight.completion = operation.completion;
    if (operation.awaits != 0) {
      request.opcode = IBV_WR_SEND_WITH_IMM;
      request.imm_data = htonl(operation.awaits);
    }
    if (frame) flight.staged = static_cast<std::uint32_t>(operation.local.bytes);
    // A quarter of the queue's memory is the most that waits for a completion that nobody asked
    // for.
    if (frame && operation.local.bytes * kSignalEvery > frames_.capacity() / 4) awaited_ = true;
    if (operation.completion.wanted && (request.send_flags & IBV_SEND_SIGNALED) == 0)
      awaited_ = true;
    queue_.pop_front();
  }
  flight_.push_back(flight);
  ++batch.count;
  return true;
}

void Pair::signal_last(Batch& batch) {
  auto& last = batch.requests[batch.count - 1];
  if (!awaited_ || (last.send_flags & IBV_SEND_SIGNALED) != 0) return;
  last.send_flags |= IBV_SEND_SIGNALED;
  silent_ = 0;
  awaited_ = false;
}

Status Pair::ring(Batch& batch) {
  for (std::size_t i = 0; i < batch.count; ++i) {
    batch.requests[i].next = i + 1 < batch.count ? &batch.requests[i + 1] : nullptr;
    if ((batch.requests[i].send_flags & IBV_SEND_SIGNALED) != 0) ++counters_.signalled;
  }
  counters_.requests += batch.count;
  ++counters_.doorbells;
  ibv_send_wr* bad = nullptr;
  const int error = rail_.api().post_send(qp_.get(), batch.requests.data(), &bad);
  if (error != 0)
    return Error{Errc::io, fmt::format("{}: requests cannot be posted", rail_.port().device),
                 error};
  return {};
}

void Pair::stop() {
  ibv_qp_attr wanted{};
  wanted.qp_state = IBV_QPS_ERR;
  rail_.api().modify_qp(qp_.get(), &wanted, IBV_QP_STATE);  // fails if the device is gone
}

Status Pair::nudge() {
  if (silent_ == 0 || !queue_.empty() || flight_.size() >= depth_) return {};
  Batch batch;
  batch.count = 1;
  batch.requests[0] = new_request(IBV_WR_RDMA_WRITE);
  batch.requests[0].send_flags = IBV_SEND_SIGNALED;
  silent_ = 0;
  awaited_ = false;
  Flight flight;
  flight.operation = operations_++;
  flight_.push_back(flight);
  return ring(batch);
}

}  // namespace shoal::verbs
