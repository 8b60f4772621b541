#include "tests/verbs/soft_storm.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace shoal::verbs::test {

namespace {

constexpr std::uint64_t kReceiveTag = 1ull << 63;

std::vector<std::byte> storm_data(std::uint64_t id, std::size_t bytes) {
  std::vector<std::byte> data(bytes + 8);
  // The identity of the message comes first, as its receiver has to know it.
  for (std::size_t i = 0; i < bytes; i += 8) {
    const auto word = i == 0 ? id : mix64(id * 4096 + i);
    std::memcpy(data.data() + i, &word, 8);
  }
  data.resize(bytes);
  return data;
}

}  // namespace

Storm::Storm(std::uint64_t seed, Fault fault)
    : fault_(fault),
      random_(seed),
      fabric_({.seed = seed, .reads_out_of_order = seed % 3 == 0, .retry_7_is_forever = false}) {
  Terms terms;
  terms.mtu = static_cast<ibv_mtu>(IBV_MTU_256 + random_.below(3));
  terms.reads = static_cast<std::uint8_t>(1 + random_.below(4));
  mtu_ = 128u << terms.mtu;
  for (auto& side : sides_) {
    side.device = &fabric_.add_device({});
    side.process = std::make_unique<Process>(*side.device, Depths{.requests = 8});
    side.memory = &side.process->make_buffer(kBlocks * kBlockBytes);
    side.inbox = &side.process->make_buffer(kInboxes * kBlockBytes);
    side.model = side.memory->bytes;
    side.rkey = side.memory->region->rkey;
    for (std::size_t i = 0; i < kPairs; ++i) {
      side.pairs[i] = side.process->make_pair();
      side.numbers[i] = side.pairs[i]->qp_num;
    }
  }
  for (std::size_t i = 0; i < kPairs; ++i)
    connect(*sides_[0].process, sides_[0].pairs[i], *sides_[1].process, sides_[1].pairs[i], terms);
  for (std::size_t side = 0; side < 2; ++side)
    for (std::size_t i = 0; i < kInboxes; ++i) post_receive(side, i);
}

std::pair<std::size_t, std::size_t> Storm::target(const Operation& operation) {
  if (operation.opcode == IBV_WR_RDMA_READ) return {operation.side, operation.local};
  return {1 - operation.side, operation.remote};
}

std::vector<std::byte> Storm::data_of(const Operation& operation) {
  if (operation.opcode != IBV_WR_RDMA_READ) return storm_data(operation.id, operation.bytes);
  const auto from = model(1 - operation.side, operation.remote).first(operation.bytes);
  return {from.begin(), from.end()};
}

void Storm::post_receive(std::size_t side, std::size_t index) {
  const auto& inbox = *sides_[side].inbox;
  EXPECT_EQ(sides_[side].process->receive(kReceiveTag | index,
                                          {inbox.sge(index * kBlockBytes, 24),
                                           inbox.sge(index * kBlockBytes + 24, kBlockBytes - 24)}),
            0);
}

std::size_t Storm::take_block(std::size_t side) {
  auto& used = sides_[side].used;
  const auto first = random_.below(kBlocks);
  for (std::size_t i = 0; i < kBlocks; ++i) {
    const auto index = (first + i) % kBlocks;
    if (!std::exchange(used[index], true)) return index;
  }
  return kBlocks;
}

void Storm::post() {
  constexpr ibv_wr_opcode kOpcodes[] = {IBV_WR_SEND, IBV_WR_SEND_WITH_IMM, IBV_WR_RDMA_WRITE,
                                        IBV_WR_RDMA_WRITE_WITH_IMM, IBV_WR_RDMA_READ};
  Operation operation{.id = last_id_ + 1,
                      .opcode = kOpcodes[random_.below(5)],
                      .side = random_.below(2),
                      .pair = random_.below(kPairs),
                      .local = 0,
                      .remote = 0,
                      .bytes = 8 + random_.below(random_.chance(0.5) ? 56 : kBlockBytes - 7),
                      .signalled = random_.chance(0.5)};
  auto& side = sides_[operation.side];
  auto* pair = side.pairs[operation.pair];
  auto& posted = side.posted[operation.pair];
  if (side.silent || side.memory->region == nullptr || pair == nullptr || posted.size() == 8)
    return;
  if (posted.size() == 7) operation.signalled = true;  // The last slot gives back the others.
  operation.local = take_block(operation.side);
  operation.remote = take_block(1 - operation.side);
  if (operation.local == kBlocks || operation.remote == kBlocks) {
    if (operation.local < kBlocks) side.used[operation.local] = false;
    if (operation.remote < kBlocks) sides_[1 - operation.side].used[operation.remote] = false;
    return;
  }
  last_id_ = operation.id;
  if (operation.opcode != IBV_WR_RDMA_READ) {
    const auto data = storm_data(operation.id, operation.bytes);
    std::ranges::copy(data, block(operation.side, operation.local).begin());
    std::ranges::copy(data, model(operation.side, operation.local).begin());
    if (operation.opcode != IBV_WR_RDMA_WRITE) sends_.emplace(operation.id, operation);
  }
  const auto cut = random_.below(operation.bytes + 1);
  const auto at = operation.local * kBlockBytes;
  const auto& peer = *sides_[1 - operation.side].memory;
  Request request{
      .opcode = operation.opcode,
      .local = {side.memory->sge(at, cut), side.memory->sge(at + cut, operation.bytes - cut)},
      .remote = peer.address(operation.remote * kBlockBytes),
      .rkey = sides_[1 - operation.side].rkey,
      .id = operation.id,
      .flags = operation.signalled ? unsigned{IBV_SEND_SIGNALED} : 0u,
      .imm = static_cast<std::uint32_t>(operation.id)};
  if (random_.chance(0.3)) request.flags |= IBV_SEND_FENCE;
  if (operation.opcode != IBV_WR_RDMA_READ && operation.bytes <= 64 && random_.chance(0.5))
    request.flags |= IBV_SEND_INLINE;
  EXPECT_EQ(side.process->post(pair, request), 0);
  posted.push_back(operation);
}

void Storm::poll(std::size_t side) {
  if (sides_[side].silent) return;
  for (const auto& wc : sides_[side].process->poll())
    if ((wc.wr_id & kReceiveTag) != 0)
      on_receive(side, wc);
    else
      on_request(side, wc);
}

void Storm::succeed(const Operation& operation) {
  ++completed;
  if (operation.opcode != IBV_WR_RDMA_WRITE && operation.opcode != IBV_WR_RDMA_READ)
    sends_ended_.insert(operation.id);
  if (operation.opcode != IBV_WR_SEND && operation.opcode != IBV_WR_SEND_WITH_IMM) {
    const auto [side, index] = target(operation);
    std::ranges::copy(data_of(operation), model(side, index).begin());
  }
  auto& own = sides_[operation.side];
  auto& peer = sides_[1 - operation.side];
  own.used[operation.local] = own.pinned[operation.local];
  peer.used[operation.remote] = peer.pinned[operation.remote];
}

void Storm::on_request(std::size_t index, const ibv_wc& wc) {
  auto& side = sides_[index];
  const auto pair =
      static_cast<std::size_t>(std::ranges::find(side.numbers, wc.qp_num) - side.numbers.begin());
  ASSERT_LT(pair, kPairs);
  if (side.pairs[pair] == nullptr) return;  // Destroyed; a late word of it.
  auto& posted = side.posted[pair];
  while (!posted.empty() && posted.front().id != wc.wr_id) {
    ASSERT_FALSE(posted.front().signalled) << "completions out of order";
    ASSERT_FALSE(side.broken[pair]) << "a flushed request completed in silence";
    succeed(posted.front());
    posted.pop_front();
  }
  ASSERT_FALSE(posted.empty()) << "a completion of nothing";
  if (wc.status == IBV_WC_SUCCESS) {
    ASSERT_TRUE(posted.front().signalled);
    ASSERT_FALSE(side.broken[pair]);
    succeed(posted.front());
  } else {
    ++failed;
    ASSERT_TRUE(struck_) << "failed, and nobody did anything: "
                         << side.process->api.wc_status_str(wc.status);
    if (side.broken[pair]) {
      ASSERT_EQ(wc.status, IBV_WC_WR_FLUSH_ERR);
    }
    side.broken[pair] = true;
    uncertain_.push_back(posted.front());
  }
  posted.pop_front();
}

void Storm::on_receive(std::size_t index, const ibv_wc& wc) {
  auto& side = sides_[index];
  const auto slot = wc.wr_id & ~kReceiveTag;
  ASSERT_LT(slot, kInboxes);
  ASSERT_EQ(wc.status, IBV_WC_SUCCESS);
  std::uint64_t id = wc.imm_data;
  const auto got = std::span(side.inbox->bytes).subspan(slot * kBlockBytes, kBlockBytes);
  if ((wc.wc_flags & IBV_WC_WITH_IMM) == 0) std::memcpy(&id, got.data(), 8);
  const auto found = sends_.find(id);
  ASSERT_NE(found, sends_.end()) << "a message came twice, or was never sent";
  const auto& operation = found->second;
  EXPECT_EQ(operation.side, 1 - index);
  EXPECT_EQ(side.numbers[operation.pair], wc.qp_num);
  EXPECT_EQ(operation.bytes, wc.byte_len);
  EXPECT_LT(side.last_received[operation.pair], id) << "messages of a pair are in order";
  side.last_received[operation.pair] = id;
  const auto data = storm_data(id, operation.bytes);
  // Once its sender knows that it was received, the block of a WRITE may be another's.
  const auto landed = wc.opcode == IBV_WC_RECV ? got : block(index, operation.remote);
  if (wc.opcode == IBV_WC_RECV || !sends_ended_.contains(id)) {
    EXPECT_TRUE(std::ranges::equal(data, landed.first(operation.bytes)));
  }
  sends_.erase(found);
  post_receive(index, slot);
}

/// Pair `pair` is about to be destroyed on one side: what its requests have done is final.
void Storm::freeze_pair(std::size_t pair) {
  for (auto& side : sides_)
    for (const auto& operation : side.posted[pair]) {
      if (operation.opcode == IBV_WR_SEND || operation.opcode == IBV_WR_SEND_WITH_IMM) continue;
      const auto [where, index] = target(operation);
      const auto bytes = block(where, index);
      frozen_.push_back({where, index, {bytes.begin(), bytes.end()}});
      sides_[where].pinned[index] = true;
    }
}

void Storm::strike() {
  struck_ = true;
  const auto victim = random_.below(2);
  auto& side = sides_[victim];
  const auto pair = random_.below(kPairs);
  switch (fault_) {
    case Fault::none:
      break;
    case Fault::error_state:
      EXPECT_EQ(side.process->to_state(side.pairs[pair], IBV_QPS_ERR), 0);
      break;
    case Fault::destroy_pair:
      freeze_pair(pair);
      side.process->destroy(std::exchange(side.pairs[pair], nullptr));
      for (const auto& operation : side.posted[pair]) uncertain_.push_back(operation);
      side.posted[pair].clear();
      break;
    case Fault::deregister:
      side.process->deregister(*side.memory);
      side.snapshot = side.memory->bytes;
      break;
    case Fault::kill:
      side.device->kill();
      side.snapshot = side.memory->bytes;
      side.inbox_snapshot = side.inbox->bytes;
      side.silent = true;
      break;
    case Fault::link_down:
      side.device->set_port_state(1, IBV_PORT_DOWN);
      break;
    case Fault::failing:
      side.device->fate = [this](const ibv_wc& wc) {
        const bool fails = (wc.wr_id & kReceiveTag) == 0 && random_.chance(0.2);
        return Fate{.status = fails ? IBV_WC_GENERAL_ERR : IBV_WC_SUCCESS};
      };
      break;
    case Fault::delays:
      struck_ = false;  // No reason to fail.
      side.device->fate = [this](const ibv_wc&) {
        return Fate{.delay = std::chrono::microseconds(random_.below(50))};
      };
      break;
  }
}

void Storm::run() {
  const auto when = 10 + random_.below(40);
  for (std::uint64_t turn = 0; turn < 60; ++turn) {
    if (turn == when) strike();
    for (auto count = random_.below(4); count > 0; --count) post();
    for (auto count = random_.below(20); count > 0; --count) fabric_.step();
    if (random_.chance(0.5)) poll(random_.below(2));
    if (testing::Test::HasFatalFailure()) return;
  }
  flush_out();
  if (!testing::Test::HasFatalFailure()) check();
}

/// Lets all end that can, so that every request is known to be over.
void Storm::flush_out() {
  for (int round = 0; round < 20; ++round) {
    EXPECT_TRUE(fabric_.run());
    for (std::size_t side = 0; side < 2; ++side) poll(side);
  }
  for (auto& side : sides_)
    for (std::size_t pair = 0; pair < kPairs; ++pair) {
      auto& posted = side.posted[pair];
      if (!struck_) {
        // What is left are unsignalled requests behind the last signalled one.
        for (const auto& operation : posted) {
          EXPECT_FALSE(operation.signalled) << "never completed";
          succeed(operation);
        }
      } else {
        uncertain_.insert(uncertain_.end(), posted.begin(), posted.end());
      }
      posted.clear();
    }
}

/// Of a request that did not succeed, a beginning may have landed, in whole packets.
void Storm::check_partial(const Operation& operation) {
  if (operation.opcode == IBV_WR_SEND || operation.opcode == IBV_WR_SEND_WITH_IMM) return;
  const auto [side, index] = target(operation);
  if (!sides_[side].snapshot.empty()) return;
  auto expected = model(side, index);
  const auto found = block(side, index);
  const auto data = data_of(operation);
  std::size_t landed = 0;
  while (landed < data.size()) {
    const auto piece = std::min(mtu_, data.size() - landed);
    if (!std::equal(data.begin() + static_cast<std::ptrdiff_t>(landed),
                    data.begin() + static_cast<std::ptrdiff_t>(landed + piece),
                    found.begin() + static_cast<std::ptrdiff_t>(landed)))
      break;
    landed += piece;
  }
  std::copy_n(data.begin(), landed, expected.begin());
  EXPECT_TRUE(std::ranges::equal(expected, found)) << "torn within a packet, or out of order";
}

void Storm::check() {
  for (const auto& operation : uncertain_) check_partial(operation);
  for (const auto& [side, index, bytes] : frozen_)
    EXPECT_TRUE(std::ranges::equal(bytes, block(side, index))) << "landed in a destroyed pair";
  for (std::size_t i = 0; i < 2; ++i) {
    const auto& side = sides_[i];
    if (side.silent) {
      EXPECT_EQ(side.inbox_snapshot, side.inbox->bytes) << "landed in a killed process";
    }
    if (!side.snapshot.empty()) {
      EXPECT_EQ(side.snapshot, side.memory->bytes) << "landed in a region that is gone";
      continue;
    }
    for (std::size_t index = 0; index < kBlocks; ++index)
      if (!side.used[index]) {
        EXPECT_TRUE(std::ranges::equal(model(i, index), block(i, index)));
      }
  }
  if (!struck_ || fault_ == Fault::none) {
    EXPECT_TRUE(sends_.empty()) << "a message was sent and never received";
    EXPECT_EQ(failed, 0u);
  }
  EXPECT_TRUE(fabric_.misuse().empty());
}

}  // namespace shoal::verbs::test
