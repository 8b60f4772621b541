#include <algorithm>
#include <cerrno>

#include "tests/verbs/soft_objects.h"

namespace shoal::verbs::test {

namespace {

SoftContext& context_of(ibv_context* context) { return static_cast<SoftContext&>(*context); }

ibv_comp_channel* create_channel(ibv_context* context) {
  auto& owner = context_of(context);
  if (owner.dead) return errno = EIO, nullptr;
  auto channel = std::make_unique<SoftChannel>();
  channel->context = context;
  channel->fd = channel->notice.fd();
  ++owner.objects;
  auto& all = owner.network().channels;
  all.push_back(std::move(channel));
  return all.back().get();
}

int destroy_channel(ibv_comp_channel* channel) {
  if (channel->refcnt > 0) return EBUSY;
  auto& owner = context_of(channel->context);
  --owner.objects;
  discard(owner.network().channels, static_cast<SoftChannel*>(channel));
  return 0;
}

ibv_cq* create_cq(ibv_context* context, int entries, void* user, ibv_comp_channel* channel,
                  int vector) {
  auto& owner = context_of(context);
  const auto& limits = owner.owner().options.attributes;
  if (owner.dead) return errno = EIO, nullptr;
  if (entries < 1 || entries > limits.max_cqe || vector < 0 || vector >= context->num_comp_vectors)
    return errno = EINVAL, nullptr;
  auto& all = owner.network().queues;
  if (all.size() >= static_cast<std::size_t>(limits.max_cq)) return errno = ENOMEM, nullptr;
  auto cq = std::make_unique<SoftCq>();
  cq->context = context;
  cq->channel = channel;
  cq->cq_context = user;
  cq->cqe = entries;
  cq->entries = Ring<Cqe>(static_cast<std::size_t>(entries));
  if (channel != nullptr) ++channel->refcnt;
  ++owner.objects;
  all.push_back(std::move(cq));
  return all.back().get();
}

int destroy_cq(ibv_cq* cq) {
  auto& soft = static_cast<SoftCq&>(*cq);
  auto& owner = context_of(cq->context);
  if (soft.users > 0) return EBUSY;
  if (soft.unacked > 0 || soft.async_unacked > 0) {
    owner.network().complain("ibv_destroy_cq would wait for ever for events to be acknowledged");
    return EBUSY;
  }
  if (auto* channel = static_cast<SoftChannel*>(cq->channel)) {
    std::erase_if(channel->events, [&](const ibv_cq* one) {
      if (one != cq) return false;
      channel->notice.lower();
      return true;
    });
    --channel->refcnt;
  }
  owner.forget(cq);
  --owner.objects;
  discard(owner.network().queues, &soft);
  return 0;
}

int poll_cq(ibv_cq* cq, int entries, ibv_wc* completions) {
  auto& soft = static_cast<SoftCq&>(*cq);
  auto& owner = context_of(cq->context);
  auto& network = owner.network();
  ++owner.owner().counts.polls;
  for (unsigned unit = 0; unit < network.options.auto_step; ++unit) network.step();
  if (owner.dead || owner.owner().stopped_) return 0;
  int count = 0;
  for (; count < entries && !soft.entries.empty(); ++count) {
    const auto& entry = soft.entries.front();
    completions[count] = entry.wc;
    const auto found = network.by_number.find(entry.wc.qp_num);
    if (found != network.by_number.end()) found->second->slots_taken -= entry.slots;
    soft.entries.pop();
  }
  return count;
}

int req_notify_cq(ibv_cq* cq, int solicited_only) {
  auto& soft = static_cast<SoftCq&>(*cq);
  if (context_of(cq->context).dead) return EIO;
  if (solicited_only == 0)
    soft.armed = SoftCq::Armed::any;
  else if (soft.armed == SoftCq::Armed::no)
    soft.armed = SoftCq::Armed::solicited;
  return 0;
}

int get_cq_event(ibv_comp_channel* channel, ibv_cq** cq, void** user) {
  auto& soft = static_cast<SoftChannel&>(*channel);
  auto& owner = context_of(channel->context);
  if (soft.events.empty() || owner.owner().stopped_) {
    if (soft.notice.blocks()) owner.network().complain("ibv_get_cq_event would block for ever");
    return errno = EAGAIN, -1;
  }
  *cq = soft.events.front();
  *user = (*cq)->cq_context;
  soft.events.erase(soft.events.begin());
  soft.notice.lower();
  ++static_cast<SoftCq*>(*cq)->unacked;
  return 0;
}

void ack_cq_events(ibv_cq* cq, unsigned count) {
  auto& soft = static_cast<SoftCq&>(*cq);
  soft.unacked -= static_cast<int>(count);
  if (soft.unacked < 0)
    context_of(cq->context).network().complain("ibv_ack_cq_events: more than were got");
}

ibv_srq* create_srq(ibv_pd* pd, ibv_srq_init_attr* init) {
  auto& owner = context_of(pd->context);
  const auto& limits = owner.owner().options.attributes;
  if (owner.dead) return errno = EIO, nullptr;
  if (init->attr.max_wr == 0 || init->attr.max_wr > static_cast<unsigned>(limits.max_srq_wr) ||
      init->attr.max_sge > static_cast<unsigned>(limits.max_srq_sge))
    return errno = EINVAL, nullptr;
  auto& all = owner.network().shared_queues;
  if (all.size() >= static_cast<std::size_t>(limits.max_srq)) return errno = ENOMEM, nullptr;
  auto srq = std::make_unique<SoftSrq>();
  srq->context = pd->context;
  srq->srq_context = init->srq_context;
  srq->pd = pd;
  srq->receives = Ring<Recv>(init->attr.max_wr);
  srq->max_sge = std::max(init->attr.max_sge, 1u);
  init->attr.max_sge = srq->max_sge;
  ++static_cast<SoftPd*>(pd)->users;
  ++owner.objects;
  all.push_back(std::move(srq));
  return all.back().get();
}

int destroy_srq(ibv_srq* srq) {
  auto& soft = static_cast<SoftSrq&>(*srq);
  auto& owner = context_of(srq->context);
  if (soft.users > 0) return EBUSY;
  --static_cast<SoftPd*>(srq->pd)->users;
  --owner.objects;
  discard(owner.network().shared_queues, &soft);
  return 0;
}

}  // namespace

void fill_queues(Api& api) {
  api.create_comp_channel = &create_channel;
  api.destroy_comp_channel = &destroy_channel;
  api.create_cq = &create_cq;
  api.destroy_cq = &destroy_cq;
  api.poll_cq = &poll_cq;
  api.req_notify_cq = &req_notify_cq;
  api.get_cq_event = &get_cq_event;
  api.ack_cq_events = &ack_cq_events;
  api.create_srq = &create_srq;
  api.destroy_srq = &destroy_srq;
}

}  // namespace shoal::verbs::test
