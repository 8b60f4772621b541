#include <algorithm>
#include <cerrno>

#include "tests/verbs/soft_objects.h"

namespace shoal::verbs::test {

namespace {

/// A change of state of a reliable-connected pair: ibv_modify_qp(3), and ib_modify_qp_is_ok() of
/// Linux for what may come with it.
struct Transition {
  ibv_qp_state from, to;
  int required, optional;
};

constexpr Transition kTransitions[] = {
    {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, 0},
    {IBV_QPS_INIT, IBV_QPS_INIT, 0, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS},
    {IBV_QPS_INIT, IBV_QPS_RTR,
     IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
         IBV_QP_MIN_RNR_TIMER,
     IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX},
    {IBV_QPS_RTR, IBV_QPS_RTS,
     IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC,
     IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER},
    {IBV_QPS_RTS, IBV_QPS_RTS, 0, IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER},
};

bool mask_fits(ibv_qp_state from, ibv_qp_state to, int mask) {
  mask &= ~(IBV_QP_STATE | IBV_QP_CUR_STATE);
  if (to == IBV_QPS_ERR || to == IBV_QPS_RESET) return mask == 0;
  for (const auto& one : kTransitions)
    if (one.from == from && one.to == to)
      return (mask & one.required) == one.required && (mask & ~(one.required | one.optional)) == 0;
  return false;
}

bool values_fit(SoftQp& pair, const ibv_qp_attr& wanted, int mask) {
  const auto has = [&](int bit) { return (mask & bit) != 0; };
  auto& device = pair.adapter();
  const auto& limits = device.options.attributes;
  const auto* port =
      device.find_port(has(IBV_QP_PORT) ? wanted.port_num : pair.attributes.port_num);
  if (has(IBV_QP_PORT) && port == nullptr) return false;
  if (has(IBV_QP_PKEY_INDEX) && wanted.pkey_index >= limits.max_pkeys) return false;
  if (has(IBV_QP_AV)) {
    const auto& av = wanted.ah_attr;
    if (device.find_port(av.port_num) == nullptr) return false;
    const bool ethernet = port->attributes.link_layer == IBV_LINK_LAYER_ETHERNET;
    if (ethernet && av.is_global == 0) return false;
    if (av.is_global != 0 && av.grh.sgid_index >= port->gids.size()) return false;
  }
  if (has(IBV_QP_PATH_MTU) &&
      (wanted.path_mtu < IBV_MTU_256 || wanted.path_mtu > port->attributes.active_mtu))
    return false;
  if (has(IBV_QP_MAX_QP_RD_ATOMIC) && wanted.max_rd_atomic > limits.max_qp_init_rd_atom)
    return false;
  if (has(IBV_QP_MAX_DEST_RD_ATOMIC) && wanted.max_dest_rd_atomic > limits.max_qp_rd_atom)
    return false;
  return (!has(IBV_QP_TIMEOUT) || wanted.timeout < 32) &&
         (!has(IBV_QP_RETRY_CNT) || wanted.retry_cnt < 8) &&
         (!has(IBV_QP_RNR_RETRY) || wanted.rnr_retry < 8) &&
         (!has(IBV_QP_MIN_RNR_TIMER) || wanted.min_rnr_timer < 32) &&
         (!has(IBV_QP_DEST_QPN) || wanted.dest_qp_num < 1u << 24);
}

void apply(ibv_qp_attr& current, const ibv_qp_attr& wanted, int mask) {
  const auto take = [&](int bit, auto member) {
    if ((mask & bit) != 0) current.*member = wanted.*member;
  };
  take(IBV_QP_STATE, &ibv_qp_attr::qp_state);
  take(IBV_QP_PKEY_INDEX, &ibv_qp_attr::pkey_index);
  take(IBV_QP_PORT, &ibv_qp_attr::port_num);
  take(IBV_QP_ACCESS_FLAGS, &ibv_qp_attr::qp_access_flags);
  take(IBV_QP_AV, &ibv_qp_attr::ah_attr);
  take(IBV_QP_PATH_MTU, &ibv_qp_attr::path_mtu);
  take(IBV_QP_DEST_QPN, &ibv_qp_attr::dest_qp_num);
  take(IBV_QP_RQ_PSN, &ibv_qp_attr::rq_psn);
  take(IBV_QP_MAX_DEST_RD_ATOMIC, &ibv_qp_attr::max_dest_rd_atomic);
  take(IBV_QP_MIN_RNR_TIMER, &ibv_qp_attr::min_rnr_timer);
  take(IBV_QP_TIMEOUT, &ibv_qp_attr::timeout);
  take(IBV_QP_RETRY_CNT, &ibv_qp_attr::retry_cnt);
  take(IBV_QP_RNR_RETRY, &ibv_qp_attr::rnr_retry);
  take(IBV_QP_SQ_PSN, &ibv_qp_attr::sq_psn);
  take(IBV_QP_MAX_QP_RD_ATOMIC, &ibv_qp_attr::max_rd_atomic);
}

/// All queues empty, as after creation. Completions that are in a completion queue stay.
void reset(SoftQp& pair) {
  pair.attributes = {};
  pair.queue.clear();
  pair.cursor = 0;
  pair.slots_taken = pair.slots_retired = 0;
  pair.reads = 0;
  pair.attempts = pair.attempts_not_ready = 0;
  pair.wait_until = {};
  pair.parked = SoftQp::Parked::no;
  pair.flushing = false;
  pair.receiving.reset();
  pair.held.clear();
  pair.late = 0;
  for (auto* cq : {pair.send_cq, pair.recv_cq})
    static_cast<SoftCq*>(cq)->entries.remove_if(
        [&](const Cqe& entry) { return entry.wc.qp_num == pair.qp_num; });
}

int modify_qp(ibv_qp* qp, ibv_qp_attr* wanted, int mask) {
  auto& pair = static_cast<SoftQp&>(*qp);
  if (pair.owner().dead) return EIO;
  const auto from = pair.attributes.qp_state;
  const auto to = (mask & IBV_QP_STATE) != 0 ? wanted->qp_state : from;
  if ((mask & IBV_QP_CUR_STATE) != 0 && wanted->cur_qp_state != from) return EINVAL;
  if (!mask_fits(from, to, mask) || !values_fit(pair, *wanted, mask)) return EINVAL;
  if (to == IBV_QPS_RESET)
    reset(pair);
  else if (to == IBV_QPS_ERR && from != IBV_QPS_ERR)
    pair.network().enter_error(pair);
  apply(pair.attributes, *wanted, mask);
  pair.state = to;
  return 0;
}

int query_qp(ibv_qp* qp, ibv_qp_attr* attributes, int /*mask*/, ibv_qp_init_attr* created) {
  const auto& pair = static_cast<SoftQp&>(*qp);
  *attributes = pair.attributes;
  attributes->cur_qp_state = pair.attributes.qp_state;
  attributes->cap = pair.cap;
  *created = {};
  created->qp_context = qp->qp_context;
  created->send_cq = qp->send_cq;
  created->recv_cq = qp->recv_cq;
  created->srq = qp->srq;
  created->cap = pair.cap;
  created->qp_type = qp->qp_type;
  created->sq_sig_all = pair.signal_all ? 1 : 0;
  qp->state = pair.attributes.qp_state;
  return 0;
}

int refuses_pair(SoftContext& owner, const ibv_qp_init_attr& init) {
  const auto& options = owner.owner().options;
  const auto& limits = options.attributes;
  if (owner.dead) return EIO;
  if (init.qp_type != IBV_QPT_RC) return EOPNOTSUPP;
  if (init.send_cq == nullptr || init.recv_cq == nullptr) return EINVAL;
  if (init.cap.max_send_wr > static_cast<unsigned>(limits.max_qp_wr) ||
      init.cap.max_send_sge > static_cast<unsigned>(limits.max_sge) ||
      init.cap.max_inline_data > options.max_inline)
    return EINVAL;
  const auto pairs = owner.network().pairs.size();
  return pairs >= static_cast<std::size_t>(limits.max_qp) ? ENOMEM : 0;
}

ibv_qp* create_qp(ibv_pd* pd, ibv_qp_init_attr* init) {
  auto& owner = static_cast<SoftContext&>(*pd->context);
  if (const int error = refuses_pair(owner, *init); error != 0) return errno = error, nullptr;
  auto& network = owner.network();
  auto pair = std::make_unique<SoftQp>();
  pair->context = pd->context;
  pair->qp_context = init->qp_context;
  pair->pd = pd;
  pair->send_cq = init->send_cq;
  pair->recv_cq = init->recv_cq;
  pair->srq = init->srq;
  pair->qp_num = network.fresh_key();
  pair->qp_type = init->qp_type;
  pair->signal_all = init->sq_sig_all != 0;
  auto& cap = init->cap;
  cap.max_send_wr = std::max(cap.max_send_wr, 1u);
  cap.max_send_sge = std::max(cap.max_send_sge, 1u);
  cap.max_recv_wr = cap.max_recv_sge = 0;
  pair->cap = cap;
  pair->queue = Ring<Wqe>(cap.max_send_wr);
  pair->sges.resize(std::size_t{cap.max_send_wr} * cap.max_send_sge);
  pair->inlined.resize(std::size_t{cap.max_send_wr} * cap.max_inline_data);
  ++static_cast<SoftPd*>(pd)->users;
  ++static_cast<SoftCq*>(init->send_cq)->users;
  ++static_cast<SoftCq*>(init->recv_cq)->users;
  if (init->srq != nullptr) ++static_cast<SoftSrq*>(init->srq)->users;
  ++owner.objects;
  network.by_number[pair->qp_num] = pair.get();
  network.pairs.push_back(std::move(pair));
  return network.pairs.back().get();
}

int destroy_qp(ibv_qp* qp) {
  auto& pair = static_cast<SoftQp&>(*qp);
  auto& owner = pair.owner();
  auto& network = owner.network();
  if (pair.async_unacked > 0) {
    network.complain("ibv_destroy_qp would wait for ever for events to be acknowledged");
    return EBUSY;
  }
  // Some libraries clean the completion queue, others leave that to its reader.
  if (network.random.chance(0.5)) reset(pair);
  network.unplug(pair);
  owner.forget(qp);
  --static_cast<SoftPd*>(qp->pd)->users;
  --static_cast<SoftCq*>(qp->send_cq)->users;
  --static_cast<SoftCq*>(qp->recv_cq)->users;
  if (qp->srq != nullptr) --pair.receives()->users;
  --owner.objects;
  discard(network.pairs, &pair);
  return 0;
}

}  // namespace

void fill_pairs(Api& api) {
  api.create_qp = &create_qp;
  api.modify_qp = &modify_qp;
  api.query_qp = &query_qp;
  api.destroy_qp = &destroy_qp;
}

}  // namespace shoal::verbs::test
