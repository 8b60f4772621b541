#include <utility>

#include "tests/verbs/soft_objects.h"

namespace shoal::verbs::test {

namespace {

ibv_wc_opcode completion_of(ibv_wr_opcode opcode) {
  switch (opcode) {
    case IBV_WR_RDMA_WRITE:
    case IBV_WR_RDMA_WRITE_WITH_IMM:
      return IBV_WC_RDMA_WRITE;
    case IBV_WR_RDMA_READ:
      return IBV_WC_RDMA_READ;
    default:
      return IBV_WC_SEND;
  }
}

/// All that a failed completion says is wr_id, status, qp_num and vendor_err; the rest is noise.
void scramble(ibv_wc& wc, Random& random) {
  wc.opcode = static_cast<ibv_wc_opcode>(random.below(256));
  wc.byte_len = static_cast<std::uint32_t>(random.next());
  wc.imm_data = static_cast<std::uint32_t>(random.next());
  wc.wc_flags = static_cast<unsigned>(random.below(8));
}

void overflow(Network& network, SoftCq& queue) {
  queue.overflown = true;
  auto& owner = static_cast<SoftContext&>(*queue.context);
  owner.raise(IBV_EVENT_CQ_ERR, static_cast<ibv_cq*>(&queue));
  for (const auto& pair : network.pairs) {
    if (pair->send_cq != &queue && pair->recv_cq != &queue) continue;
    const auto state = pair->attributes.qp_state;
    if (state == IBV_QPS_ERR || state == IBV_QPS_RESET) continue;
    network.enter_error(*pair);
    pair->owner().raise(IBV_EVENT_QP_FATAL, static_cast<ibv_qp*>(pair.get()));
  }
}

}  // namespace

std::uint64_t Recv::capacity() const {
  std::uint64_t bytes = 0;
  for (const auto& sge : std::span(sges).first(sge_count)) bytes += sge.length;
  return bytes;
}

void Network::push(SoftCq& queue, const ibv_wc& wc, bool solicited, std::uint32_t slots) {
  if (queue.overflown) return;
  if (queue.entries.full()) {
    overflow(*this, queue);
    return;
  }
  auto& entry = queue.entries.push();
  entry = {wc, slots};
  if (wc.status != IBV_WC_SUCCESS) scramble(entry.wc, random);
  auto& counts = static_cast<SoftContext&>(*queue.context).owner().counts;
  ++counts.completions;
  const bool wakes = solicited || wc.status != IBV_WC_SUCCESS;
  if (queue.armed == SoftCq::Armed::no || (queue.armed == SoftCq::Armed::solicited && !wakes))
    return;
  queue.armed = SoftCq::Armed::no;
  auto* channel = static_cast<SoftChannel*>(queue.channel);
  if (channel == nullptr) return;
  channel->events.push_back(&queue);
  channel->notice.raise();
  ++counts.channel_events;
}

/// Ends the oldest request, and with it the ones behind it as long as they end in silence.
void Network::retire(SoftQp& pair) {
  while (!pair.queue.empty()) {
    auto& head = pair.queue.front();
    bool in_error = pair.attributes.qp_state == IBV_QPS_ERR;
    if (head.ready_at > time || !(head.done || in_error)) return;
    if (head.status != IBV_WC_SUCCESS && !in_error) {
      enter_error(pair);
      in_error = true;
    }
    if (in_error && (pair.flushing || !head.done)) {
      const bool under_way = head.issued || (head.moved > 0 && head.opcode != IBV_WR_SEND);
      if (pair.late > 0 && under_way && head.moved < head.length) return late_packet(pair);
      head.status = IBV_WC_WR_FLUSH_ERR;
    }
    ++pair.slots_retired;
    ibv_wc wc{};
    wc.wr_id = head.wr_id;
    wc.status = head.status;
    wc.opcode = completion_of(head.opcode);
    wc.qp_num = pair.qp_num;
    if (head.opcode == IBV_WR_RDMA_READ) wc.byte_len = static_cast<std::uint32_t>(head.length);
    const bool silent = wc.status == IBV_WC_SUCCESS && (head.flags & IBV_SEND_SIGNALED) == 0;
    if (wc.status != IBV_WC_SUCCESS) pair.flushing = true;
    pair.queue.pop();
    if (pair.cursor > 0) --pair.cursor;
    if (silent) continue;
    push(static_cast<SoftCq&>(*pair.send_cq), wc, false, std::exchange(pair.slots_retired, 0));
    return;
  }
}

void Network::receive(SoftQp& pair, ibv_wc wc, bool solicited) {
  Fate fate;
  if (wc.status == IBV_WC_SUCCESS && pair.adapter().fate) fate = pair.adapter().fate(wc);
  if (fate.status != IBV_WC_SUCCESS) wc.status = fate.status;
  if (fate.delay == Duration{} && pair.held.empty())
    push(static_cast<SoftCq&>(*pair.recv_cq), wc, solicited);
  else
    pair.held.push_back({wc, solicited, time + fate.delay});
  if (fate.status != IBV_WC_SUCCESS) enter_error(pair);
}

void Network::deliver_held(SoftQp& pair) {
  const auto first = pair.held.front();
  pair.held.erase(pair.held.begin());
  push(static_cast<SoftCq&>(*pair.recv_cq), first.wc, first.solicited);
}

void Network::enter_error(SoftQp& pair) {
  pair.attributes.qp_state = IBV_QPS_ERR;
  pair.receiving.reset();
  pair.parked = SoftQp::Parked::no;
  pair.wait_until = {};
  pair.late = static_cast<unsigned>(random.below(options.late_packets_max + 1u));
}

}  // namespace shoal::verbs::test
