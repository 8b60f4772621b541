#include "tests/verbs/soft_fixture.h"

#include <fcntl.h>

namespace shoal::verbs::test {

Process::Process(SoftDevice& device, const Depths& its_depths) : depths(its_depths) {
  context = api.open_device(&device);
  pd = api.alloc_pd(context);
  channel = api.create_comp_channel(context);
  for (const int fd : {context->async_fd, channel->fd}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  cq = api.create_cq(context, depths.completions, this, channel, 0);
  ibv_srq_init_attr init{};
  init.attr.max_wr = depths.receives;
  init.attr.max_sge = 4;
  srq = api.create_srq(pd, &init);
}

Process::~Process() {
  while (event()) {
  }
  for (auto* pair : pairs) EXPECT_EQ(api.destroy_qp(pair), 0);
  for (const auto& buffer : buffers)
    if (buffer->region != nullptr) {
      EXPECT_EQ(api.dereg_mr(buffer->region), 0);
    }
  EXPECT_EQ(api.destroy_srq(srq), 0);
  EXPECT_EQ(api.destroy_cq(cq), 0);
  EXPECT_EQ(api.destroy_comp_channel(channel), 0);
  EXPECT_EQ(api.dealloc_pd(pd), 0);
  EXPECT_EQ(api.close_device(context), 0);
}

ibv_qp* Process::make_pair() {
  ibv_qp_init_attr init{};
  init.send_cq = init.recv_cq = cq;
  init.srq = srq;
  init.cap.max_send_wr = depths.requests;
  init.cap.max_send_sge = depths.sges;
  init.cap.max_inline_data = depths.inline_bytes;
  init.qp_type = IBV_QPT_RC;
  pairs.push_back(api.create_qp(pd, &init));
  EXPECT_NE(pairs.back(), nullptr);
  return pairs.back();
}

void Process::destroy(ibv_qp* pair) {
  EXPECT_EQ(api.destroy_qp(pair), 0);
  std::erase(pairs, pair);
}

Buffer& Process::make_buffer(std::size_t bytes, int access, ibv_pd* in) {
  auto buffer = std::make_unique<Buffer>();
  buffer->bytes.resize(bytes);
  buffer->region = api.reg_mr(in != nullptr ? in : pd, buffer->bytes.data(), bytes, access);
  EXPECT_NE(buffer->region, nullptr);
  buffers.push_back(std::move(buffer));
  return *buffers.back();
}

void Process::deregister(Buffer& buffer) {
  EXPECT_EQ(api.dereg_mr(buffer.region), 0);
  buffer.region = nullptr;
}

int Process::receive(std::uint64_t id, std::vector<ibv_sge> into) {
  ibv_recv_wr wr{};
  wr.wr_id = id;
  wr.sg_list = into.data();
  wr.num_sge = static_cast<int>(into.size());
  ibv_recv_wr* bad = nullptr;
  return api.post_srq_recv(srq, &wr, &bad);
}

int Process::post(ibv_qp* pair, Request request) {
  ibv_send_wr wr{};
  wr.wr_id = request.id;
  wr.sg_list = request.local.data();
  wr.num_sge = static_cast<int>(request.local.size());
  wr.opcode = request.opcode;
  wr.send_flags = request.flags;
  wr.imm_data = request.imm;
  wr.wr.rdma.remote_addr = request.remote;
  wr.wr.rdma.rkey = request.rkey;
  ibv_send_wr* bad = nullptr;
  const int error = api.post_send(pair, &wr, &bad);
  EXPECT_EQ(bad, error == 0 ? nullptr : &wr);
  return error;
}

std::vector<ibv_wc> Process::poll() {
  std::vector<ibv_wc> found(1024);
  const int count = api.poll_cq(cq, static_cast<int>(found.size()), found.data());
  EXPECT_GE(count, 0);
  found.resize(static_cast<std::size_t>(count));
  return found;
}

ibv_qp_state Process::state_of(ibv_qp* pair) const {
  ibv_qp_attr attributes{};
  ibv_qp_init_attr created{};
  EXPECT_EQ(api.query_qp(pair, &attributes, IBV_QP_STATE, &created), 0);
  return attributes.qp_state;
}

int Process::to_state(ibv_qp* pair, ibv_qp_state state) {
  ibv_qp_attr wanted{};
  wanted.qp_state = state;
  return api.modify_qp(pair, &wanted, IBV_QP_STATE);
}

int Process::to_init(ibv_qp* pair, const Terms& terms) {
  ibv_qp_attr wanted{};
  wanted.qp_state = IBV_QPS_INIT;
  wanted.port_num = 1;
  wanted.qp_access_flags = terms.access;
  return api.modify_qp(pair, &wanted,
                       IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

int Process::to_ready(ibv_qp* pair, const Process& peer, const ibv_qp* peers, const Terms& terms) {
  ibv_gid_entry gid{};
  EXPECT_EQ(api.query_gid_ex(peer.context, 1, terms.gid_index, &gid), 0);
  ibv_qp_attr wanted{};
  wanted.qp_state = IBV_QPS_RTR;
  wanted.path_mtu = terms.mtu;
  wanted.dest_qp_num = peers->qp_num;
  wanted.rq_psn = peers->qp_num;
  wanted.max_dest_rd_atomic = terms.reads_dest;
  wanted.min_rnr_timer = terms.not_ready_timer;
  wanted.ah_attr.is_global = 1;
  wanted.ah_attr.grh.dgid = gid.gid;
  wanted.ah_attr.grh.sgid_index = static_cast<std::uint8_t>(terms.gid_index);
  wanted.ah_attr.grh.hop_limit = 64;
  wanted.ah_attr.port_num = 1;
  const int error =
      api.modify_qp(pair, &wanted,
                    IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                        IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  if (error != 0) return error;
  wanted.qp_state = IBV_QPS_RTS;
  wanted.timeout = terms.timeout;
  wanted.retry_cnt = terms.retries;
  wanted.rnr_retry = terms.retries_not_ready;
  wanted.sq_psn = pair->qp_num;
  wanted.max_rd_atomic = terms.reads;
  return api.modify_qp(pair, &wanted,
                       IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                           IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

std::optional<ibv_event_type> Process::event() {
  ibv_async_event event{};
  if (api.get_async_event(context, &event) != 0) return std::nullopt;
  api.ack_async_event(&event);
  return event.event_type;
}

void connect(Process& a, ibv_qp* at_a, Process& b, ibv_qp* at_b, const Terms& terms) {
  ASSERT_EQ(a.to_init(at_a, terms), 0);
  ASSERT_EQ(b.to_init(at_b, terms), 0);
  ASSERT_EQ(a.to_ready(at_a, b, at_b, terms), 0);
  ASSERT_EQ(b.to_ready(at_b, a, at_a, terms), 0);
}

void SoftAdapter::start(const FabricOptions& options, const Terms& terms, const Depths& depths) {
  a.reset();
  b.reset();
  fabric.emplace(options);
  device_a = &fabric->add_device({.name = "soft_a", .host = "a"});
  device_b = &fabric->add_device({.name = "soft_b", .host = "b"});
  a = std::make_unique<Process>(*device_a, depths);
  b = std::make_unique<Process>(*device_b, depths);
  at_a = a->make_pair();
  at_b = b->make_pair();
  connect(*a, at_a, *b, at_b, terms);
}

void SoftAdapter::TearDown() {
  a.reset();
  b.reset();
  if (!fabric) return;
  EXPECT_EQ(fabric->objects(), 0u);
  for (const auto& what : fabric->misuse()) ADD_FAILURE() << what;
}

}  // namespace shoal::verbs::test
