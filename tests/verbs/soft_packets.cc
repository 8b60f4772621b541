#include <algorithm>
#include <utility>

#include "tests/verbs/soft_objects.h"

namespace shoal::verbs::test {

namespace {

/// How the responder answers a packet, or why the sender did not send it.
struct Answer {
  ibv_wc_status status = IBV_WC_SUCCESS;
  bool not_ready = false;
  /// The responder's pair goes to error too, with this event; and its receive ends with this.
  bool responder_fails = false;
  ibv_event_type event = IBV_EVENT_QP_ACCESS_ERR;
  ibv_wc_status receive_status = IBV_WC_SUCCESS;

  bool failed() const { return status != IBV_WC_SUCCESS || not_ready; }
};

constexpr Answer kLocalProtection{.status = IBV_WC_LOC_PROT_ERR};
constexpr Answer kRemoteAccess{.status = IBV_WC_REM_ACCESS_ERR, .responder_fails = true};
constexpr Answer kInvalidRequest{
    .status = IBV_WC_REM_INV_REQ_ERR, .responder_fails = true, .event = IBV_EVENT_QP_REQ_ERR};
constexpr Answer kNotReady{.not_ready = true};

bool takes_receive(ibv_wr_opcode opcode) {
  return opcode != IBV_WR_RDMA_WRITE && opcode != IBV_WR_RDMA_READ;
}
bool is_send(ibv_wr_opcode opcode) {
  return opcode == IBV_WR_SEND || opcode == IBV_WR_SEND_WITH_IMM;
}

std::uint64_t mtu_of(const SoftQp& pair) { return 128ull << pair.attributes.path_mtu; }

/// What a request of `pair` moves in its next packet.
std::uint64_t next_bytes(const SoftQp& pair, const Wqe& wqe) {
  return std::min(mtu_of(pair), wqe.length - wqe.moved);
}

/// Whether the address vector of `from` names the port and the GID that `to` uses.
bool names(const SoftQp& from, const SoftQp& to) {
  const auto& av = from.attributes.ah_attr;
  const auto* port = to.adapter().find_port(to.attributes.port_num);
  const auto* own = from.adapter().find_port(from.attributes.port_num);
  if (av.is_global == 0) return av.dlid == port->attributes.lid;
  const auto index = to.attributes.ah_attr.grh.sgid_index;
  const auto own_index = av.grh.sgid_index;
  if (index >= port->gids.size() || own_index >= own->gids.size()) return false;
  return std::memcmp(av.grh.dgid.raw, port->gids[index].gid.raw, sizeof av.grh.dgid.raw) == 0 &&
         port->gids[index].gid_type == own->gids[own_index].gid_type;
}

bool port_is_up(const SoftQp& pair) {
  const auto* port = pair.adapter().find_port(pair.attributes.port_num);
  return port != nullptr && port->attributes.state == IBV_PORT_ACTIVE;
}

/// IBA 9.7.5.2.8, table 45: the timer of an RNR NAK, in units of 10 us.
Duration not_ready_delay(std::uint8_t timer) {
  constexpr std::uint32_t kUnits[] = {65536, 1,    2,    3,     4,     6,     8,     12,
                                      16,    24,   32,   48,    64,    96,    128,   192,
                                      256,   384,  512,  768,   1024,  1536,  2048,  3072,
                                      4096,  6144, 8192, 12288, 16384, 24576, 32768, 49152};
  return std::chrono::microseconds(10) * kUnits[timer];
}

/// The oldest request that is not over: at the cursor or, a READ, before it.
std::size_t oldest(SoftQp& pair) {
  std::size_t index = 0;
  while (index < pair.cursor && pair.queue[index].done) ++index;
  return index;
}

/// Ends a request with an error; all later ones are flushed, however far they got.
void fail(SoftQp& pair, std::size_t index, ibv_wc_status status) {
  pair.queue[index].done = true;
  pair.queue[index].status = status;
  pair.network().enter_error(pair);
}

/// A request is over and its data has landed.
void finish(SoftQp& pair, std::size_t index) {
  auto& wqe = pair.queue[index];
  Fate fate;
  if (pair.adapter().fate) {
    ibv_wc wc{};
    wc.wr_id = wqe.wr_id;
    wc.opcode = wqe.opcode == IBV_WR_RDMA_READ ? IBV_WC_RDMA_READ
                : is_send(wqe.opcode)          ? IBV_WC_SEND
                                               : IBV_WC_RDMA_WRITE;
    wc.qp_num = pair.qp_num;
    wc.byte_len = static_cast<std::uint32_t>(wqe.length);
    fate = pair.adapter().fate(wc);
  }
  wqe.done = true;
  wqe.status = fate.status;
  wqe.ready_at = pair.network().now() + fate.delay;
}

/// Nothing came back within the pair's timeout.
void no_answer(SoftQp& pair) {
  const auto& attributes = pair.attributes;
  const bool forever = attributes.timeout == 0 ||
                       (attributes.retry_cnt == 7 && pair.network().options.retry_7_is_forever);
  if (forever) {
    pair.parked = SoftQp::Parked::unreachable;
    return;
  }
  if (pair.attempts > attributes.retry_cnt) return fail(pair, oldest(pair), IBV_WC_RETRY_EXC_ERR);
  ++pair.attempts;
  pair.wait_until = pair.network().now() + Duration(std::int64_t{4096} << attributes.timeout);
}

void not_ready(SoftQp& pair, const SoftQp& peer) {
  const auto& attributes = pair.attributes;
  if (attributes.rnr_retry == 7)
    pair.parked = SoftQp::Parked::receiver_not_ready;
  else if (pair.attempts_not_ready >= attributes.rnr_retry)
    return fail(pair, pair.cursor, IBV_WC_RNR_RETRY_EXC_ERR);
  ++pair.attempts_not_ready;
  pair.wait_until = pair.network().now() + not_ready_delay(peer.attributes.min_rnr_timer);
}

/// What becomes of both sides after a packet that was refused.
void refuse(SoftQp& pair, std::size_t index, SoftQp& peer, const Answer& answer) {
  if (answer.not_ready) return not_ready(pair, peer);
  if (answer.responder_fails && peer.attributes.qp_state != IBV_QPS_ERR) {
    auto& network = peer.network();
    if (answer.receive_status != IBV_WC_SUCCESS && peer.receiving) {
      ibv_wc wc{};
      wc.wr_id = peer.receiving->wr_id;
      wc.status = answer.receive_status;
      wc.qp_num = peer.qp_num;
      network.receive(peer, wc, false);
    }
    network.enter_error(peer);
    if (answer.receive_status == IBV_WC_SUCCESS)
      peer.owner().raise(answer.event, static_cast<ibv_qp*>(&peer));
  }
  fail(pair, index, answer.status);
}

bool has_receive(const SoftQp& peer) {
  return peer.srq != nullptr && !peer.receives()->receives.empty();
}

void take_receive(SoftQp& peer) {
  auto& receives = peer.receives()->receives;
  peer.receiving = receives.front();
  receives.pop();
}

/// The first packet of a SEND takes a receive, each lands in it.
Answer send_packet(SoftQp& peer, const Wqe& wqe, std::span<const std::byte> bytes) {
  if (wqe.moved == 0 && !peer.receiving) {
    if (!has_receive(peer)) return kNotReady;
    take_receive(peer);
  }
  auto invalid = kInvalidRequest;
  invalid.receive_status = IBV_WC_LOC_LEN_ERR;
  if (wqe.length > peer.receiving->capacity()) return invalid;
  const auto list = std::span(peer.receiving->sges).first(peer.receiving->sge_count);
  if (peer.network().scatter(peer.pd, list, wqe.moved, bytes)) return {};
  return {
      .status = IBV_WC_REM_OP_ERR, .responder_fails = true, .receive_status = IBV_WC_LOC_PROT_ERR};
}

Answer write_packet(SoftQp& peer, const Wqe& wqe, std::span<const std::byte> bytes) {
  if ((peer.attributes.qp_access_flags & IBV_ACCESS_REMOTE_WRITE) == 0) return kInvalidRequest;
  if (wqe.length > 0) {
    // The first packet names the whole: nothing of a WRITE beyond a region lands.
    auto& network = peer.network();
    if (network.remote(peer, wqe.rkey, wqe.remote, wqe.length, IBV_ACCESS_REMOTE_WRITE) == nullptr)
      return kRemoteAccess;
    std::memcpy(network.remote(peer, wqe.rkey, wqe.remote + wqe.moved, bytes.size(),
                               IBV_ACCESS_REMOTE_WRITE),
                bytes.data(), bytes.size());
  }
  const bool last = wqe.moved + bytes.size() == wqe.length;
  if (last && takes_receive(wqe.opcode)) {
    // The data has landed; only the notice waits.
    if (!has_receive(peer)) return kNotReady;
    take_receive(peer);
  }
  return {};
}

/// The last packet of a SEND or of a WRITE with immediate data was taken.
void complete_receive(SoftQp& pair, SoftQp& peer, const Wqe& wqe) {
  ibv_wc wc{};
  wc.wr_id = peer.receiving->wr_id;
  wc.opcode = is_send(wqe.opcode) ? IBV_WC_RECV : IBV_WC_RECV_RDMA_WITH_IMM;
  wc.byte_len = static_cast<std::uint32_t>(wqe.length);
  wc.qp_num = peer.qp_num;
  wc.src_qp = pair.qp_num;
  if (wqe.opcode != IBV_WR_SEND) {
    wc.wc_flags = IBV_WC_WITH_IMM;
    wc.imm_data = wqe.imm;
  }
  peer.receiving.reset();
  peer.network().receive(peer, wc, (wqe.flags & IBV_SEND_SOLICITED) != 0);
}

/// Puts the request of a READ to the responder.
Answer issue_read(SoftQp& pair, SoftQp& peer, const Wqe& wqe) {
  if ((peer.attributes.qp_access_flags & IBV_ACCESS_REMOTE_READ) == 0 ||
      pair.reads >= peer.attributes.max_dest_rd_atomic)
    return kInvalidRequest;
  const auto* from =
      peer.network().remote(peer, wqe.rkey, wqe.remote, wqe.length, IBV_ACCESS_REMOTE_READ);
  return wqe.length > 0 && from == nullptr ? kRemoteAccess : Answer{};
}

Answer read_packet(SoftQp& pair, std::size_t index, SoftQp& peer, std::uint64_t bytes) {
  auto& network = pair.network();
  const auto& wqe = pair.queue[index];
  if (wqe.length == 0) return {};
  const auto* from =
      network.remote(peer, wqe.rkey, wqe.remote + wqe.moved, bytes, IBV_ACCESS_REMOTE_READ);
  if (from == nullptr) return kRemoteAccess;
  return network.scatter(pair.pd, pair.sges_of(index), wqe.moved, {from, bytes}) ? Answer{}
                                                                                 : kLocalProtection;
}

Answer try_request(SoftQp& pair, SoftQp& peer, std::uint64_t bytes) {
  const auto& wqe = pair.queue[pair.cursor];
  auto& network = pair.network();
  const auto* port = pair.adapter().find_port(pair.attributes.port_num);
  if (wqe.length > port->attributes.max_msg_sz) return {.status = IBV_WC_LOC_LEN_ERR};
  if (wqe.length > mtu_of(pair) && mtu_of(pair) != mtu_of(peer)) return kInvalidRequest;
  if (wqe.opcode == IBV_WR_RDMA_READ) return issue_read(pair, peer, wqe);
  const auto packet = std::span(network.packet).first(bytes);
  if (!network.gather(pair, pair.cursor, wqe.moved, packet)) return kLocalProtection;
  return is_send(wqe.opcode) ? send_packet(peer, wqe, packet) : write_packet(peer, wqe, packet);
}

void answered(SoftQp& pair) {
  pair.attempts = 0;
  pair.attempts_not_ready = 0;
  ++pair.adapter().counts.packets;
}

}  // namespace

SoftQp* Network::peer_of(const SoftQp& pair, bool late_ones) {
  const auto found = by_number.find(pair.attributes.dest_qp_num);
  if (found == by_number.end() || !port_is_up(pair)) return nullptr;
  auto& peer = *found->second;
  const auto state = peer.attributes.qp_state;
  const bool takes = state == IBV_QPS_RTR || state == IBV_QPS_RTS ||
                     (state == IBV_QPS_ERR && late_ones && peer.late > 0);
  const bool meant = takes && port_is_up(peer) && peer.attributes.dest_qp_num == pair.qp_num &&
                     peer.attributes.rq_psn == pair.attributes.sq_psn && names(pair, peer) &&
                     names(peer, pair);
  return meant ? &peer : nullptr;
}

bool Network::can_request(SoftQp& pair) {
  if (pair.cursor >= pair.queue.size()) return false;
  const auto& wqe = pair.queue[pair.cursor];
  if ((wqe.flags & IBV_SEND_FENCE) != 0 && pair.reads > 0) return false;
  return wqe.opcode != IBV_WR_RDMA_READ || pair.reads < pair.attributes.max_rd_atomic;
}

bool Network::is_parked(SoftQp& pair) {
  if (pair.parked == SoftQp::Parked::no) return false;
  const auto* peer = peer_of(pair, false);
  const bool stays = pair.parked == SoftQp::Parked::unreachable
                         ? peer == nullptr
                         : peer != nullptr && !has_receive(*peer);
  if (!stays) pair.parked = SoftQp::Parked::no;
  return stays;
}

void Network::request(SoftQp& pair) {
  auto& wqe = pair.queue[pair.cursor];
  const bool may_be_late = wqe.opcode == IBV_WR_RDMA_WRITE;
  auto* peer = peer_of(pair, may_be_late);
  if (peer == nullptr) return no_answer(pair);
  const auto bytes = wqe.opcode == IBV_WR_RDMA_READ ? 0 : next_bytes(pair, wqe);
  const auto answer = try_request(pair, *peer, bytes);
  // Answers come in order: an error waits until the READs before it have been served.
  if (answer.failed() && pair.reads > 0) return response(pair);
  if (answer.failed()) return refuse(pair, pair.cursor, *peer, answer);
  answered(pair);
  if (peer->attributes.qp_state == IBV_QPS_ERR) --peer->late;
  if (wqe.opcode == IBV_WR_RDMA_READ) {
    wqe.issued = true;
    ++pair.reads;
    ++pair.cursor;
    return;
  }
  wqe.moved += bytes;
  if (wqe.moved < wqe.length) return;
  const auto index = pair.cursor++;
  if (takes_receive(wqe.opcode)) complete_receive(pair, *peer, wqe);
  finish(pair, index);
}

void Network::response(SoftQp& pair) {
  const auto first = oldest(pair);
  auto index = first;
  if (options.reads_out_of_order) {
    auto skip = random.below(pair.reads);
    while (!pair.queue[index].issued || pair.queue[index].done || skip-- > 0) ++index;
  }
  auto* peer = peer_of(pair, true);
  if (peer == nullptr) return no_answer(pair);
  auto answer = read_packet(pair, index, *peer, next_bytes(pair, pair.queue[index]));
  if (answer.failed() && index != first) {
    index = first;
    answer = read_packet(pair, index, *peer, next_bytes(pair, pair.queue[index]));
  }
  if (answer.failed()) return refuse(pair, index, *peer, answer);
  answered(pair);
  if (peer->attributes.qp_state == IBV_QPS_ERR) --peer->late;
  auto& wqe = pair.queue[index];
  wqe.moved += next_bytes(pair, wqe);
  if (wqe.moved < wqe.length) return;
  --pair.reads;
  finish(pair, index);
}

/// One more packet of the oldest request of a pair in error, which will be flushed all the same.
void Network::late_packet(SoftQp& pair) {
  --pair.late;
  auto& wqe = pair.queue.front();
  auto* peer = peer_of(pair, true);
  if (peer == nullptr) return;
  const auto bytes = next_bytes(pair, wqe);
  Answer answer;
  if (wqe.opcode == IBV_WR_RDMA_READ) {
    answer = read_packet(pair, 0, *peer, bytes);
  } else {
    const auto data = std::span(packet).first(bytes);
    if (!gather(pair, 0, wqe.moved, data)) return;
    // Without the notice that the last packet of a WRITE with immediate data would give.
    auto silent = wqe;
    silent.opcode = IBV_WR_RDMA_WRITE;
    answer = write_packet(*peer, silent, data);
  }
  if (!answer.failed()) wqe.moved += bytes;
}

}  // namespace shoal::verbs::test
