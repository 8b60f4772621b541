#include "tests/verbs/soft_adapter.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>

#include "tests/verbs/soft_fixture.h"

namespace shoal::verbs::test {
namespace {

TEST(SoftDevices, AreListedOnTheirMachine) {
  SoftFabric fabric;
  fabric.add_device({.name = "left0", .host = "left"});
  fabric.add_device({.name = "right0", .host = "right"});
  fabric.add_device({.name = "right1", .host = "right"});
  const auto api = SoftFabric::api();
  const auto names = [&] {
    int count = -1;
    auto** list = api.get_device_list(&count);
    std::vector<std::string> found;
    for (int i = 0; i < count; ++i) found.emplace_back(api.get_device_name(list[i]));
    EXPECT_EQ(list[count], nullptr);
    api.free_device_list(list);
    return found;
  };
  EXPECT_TRUE(names().empty());
  {
    const SoftFabric::Current left(fabric, "left");
    EXPECT_EQ(names(), std::vector<std::string>{"left0"});
    const SoftFabric::Current right(fabric, "right");
    EXPECT_EQ(names(), (std::vector<std::string>{"right0", "right1"}));
  }
  EXPECT_TRUE(names().empty());
}

TEST(SoftDevices, SayWhatTheyWereGiven) {
  SoftFabric fabric;
  DeviceOptions options;
  options.attributes.max_qp_rd_atom = 7;
  auto& device = fabric.add_device(options);
  Process process(device);
  ibv_device_attr attributes{};
  ASSERT_EQ(process.api.query_device(process.context, &attributes), 0);
  EXPECT_EQ(attributes.max_qp_rd_atom, 7);
  EXPECT_EQ(attributes.phys_port_cnt, 1);
  ibv_port_attr port{};
  ASSERT_EQ(process.api.query_port(process.context, 1, &port), 0);
  EXPECT_EQ(port.state, IBV_PORT_ACTIVE);
  EXPECT_EQ(port.gid_tbl_len, 4);
  EXPECT_EQ(process.api.query_port(process.context, 2, &port), EINVAL);
  ibv_gid_entry gid{};
  ASSERT_EQ(process.api.query_gid_ex(process.context, 1, 3, &gid), 0);
  EXPECT_EQ(gid.gid_type, static_cast<std::uint32_t>(IBV_GID_TYPE_ROCE_V2));
  EXPECT_EQ(process.api.query_gid_ex(process.context, 1, 4, &gid), EINVAL);
  device.find_port(1)->gids[2].gid = {};
  EXPECT_EQ(process.api.query_gid_ex(process.context, 1, 2, &gid), ENODATA);
}

TEST(SoftDevices, TellOfTheirPorts) {
  SoftFabric fabric;
  auto& device = fabric.add_device({});
  Process process(device);
  device.set_port_state(1, IBV_PORT_DOWN);
  device.set_port_state(1, IBV_PORT_INIT);
  device.set_port_state(1, IBV_PORT_ACTIVE);
  EXPECT_EQ(process.event(), IBV_EVENT_PORT_ERR);
  EXPECT_EQ(process.event(), IBV_EVENT_PORT_ACTIVE);
  EXPECT_EQ(process.event(), std::nullopt);
}

TEST(SoftDevices, EnforceTheirLimits) {
  SoftFabric fabric;
  DeviceOptions options;
  options.max_inline = 0;
  options.attributes.max_srq_wr = 16;
  options.attributes.max_cqe = 300;
  auto& device = fabric.add_device(options);
  Process process(device, {.receives = 16, .inline_bytes = 0});
  ibv_qp_init_attr init{};
  init.send_cq = init.recv_cq = process.cq;
  init.qp_type = IBV_QPT_RC;
  init.cap.max_inline_data = 1;
  EXPECT_EQ(process.api.create_qp(process.pd, &init), nullptr);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(process.api.create_cq(process.context, 301, nullptr, nullptr, 0), nullptr);
  EXPECT_EQ(errno, EINVAL);
  ibv_srq_init_attr shared{};
  shared.attr.max_wr = 17;
  EXPECT_EQ(process.api.create_srq(process.pd, &shared), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST(SoftMemory, RegistrationFailsAsItDoes) {
  SoftFabric fabric;
  DeviceOptions options;
  options.memlock_bytes = 8192;
  auto& device = fabric.add_device(options);
  Process process(device);
  std::vector<std::byte> memory(8193);
  const auto reg = [&](std::size_t bytes, int access) {
    errno = 0;
    return process.api.reg_mr(process.pd, memory.data(), bytes, access);
  };
  EXPECT_EQ(reg(8193, kAllAccess), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  EXPECT_EQ(reg(1, IBV_ACCESS_REMOTE_WRITE), nullptr);
  EXPECT_EQ(errno, EINVAL);
  device.fail_registrations(EFAULT, 1);
  auto* first = reg(8192, kAllAccess);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(process.api.dereg_mr(first), 0);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(reg(1, kAllAccess), nullptr);
    EXPECT_EQ(errno, EFAULT);
  }
  device.fail_registrations(0);
  auto* last = reg(8192, kAllAccess);
  ASSERT_NE(last, nullptr);
  EXPECT_EQ(process.api.dereg_mr(last), 0);
}

TEST(SoftMemory, KeysAreNeverReused) {
  SoftFabric fabric;
  Process process(fabric.add_device({}));
  std::byte memory[8] = {};
  std::set<std::uint32_t> keys;
  for (int i = 0; i < 1000; ++i) {
    auto* region = process.api.reg_mr(process.pd, memory, sizeof memory, kAllAccess);
    EXPECT_TRUE(keys.insert(region->lkey).second);
    EXPECT_TRUE(keys.insert(region->rkey).second);
    EXPECT_EQ(process.api.dereg_mr(region), 0);
  }
}

TEST(SoftMemory, WhatIsInUseStays) {
  SoftFabric fabric;
  {
    Process process(fabric.add_device({}));
    process.make_pair();
    EXPECT_EQ(process.api.dealloc_pd(process.pd), EBUSY);
    EXPECT_EQ(process.api.destroy_cq(process.cq), EBUSY);
    EXPECT_EQ(process.api.destroy_srq(process.srq), EBUSY);
    EXPECT_EQ(process.api.destroy_comp_channel(process.channel), EBUSY);
    EXPECT_TRUE(fabric.misuse().empty());
    EXPECT_EQ(process.api.close_device(process.context), EBUSY);
    EXPECT_EQ(fabric.misuse().size(), 1u);
    EXPECT_EQ(fabric.objects(), 6u);
  }
  EXPECT_EQ(fabric.objects(), 0u);
}

class SoftDmaBuf : public SoftAdapter {};

TEST_F(SoftDmaBuf, IsAFileThatCanBeMapped) {
  start();
  const int fd = ::memfd_create("dmabuf", MFD_CLOEXEC);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::ftruncate(fd, 16384), 0);
  constexpr std::uint64_t kBase = 0x7000'0000'0010;
  auto* region = b->api.reg_dmabuf_mr(b->pd, 4096 + 16, 64, kBase, fd, kAllAccess);
  ASSERT_NE(region, nullptr);
  EXPECT_EQ(b->api.reg_dmabuf_mr(b->pd, 4096, 64, kBase, fd, kAllAccess), nullptr);
  auto& from = a->make_buffer(64);
  fill(from.bytes, 5);
  EXPECT_EQ(a->post(at_a, {.local = {from.all()}, .remote = kBase, .rkey = region->rkey}), 0);
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].status, IBV_WC_SUCCESS);
  std::vector<std::byte> file(16384);
  ASSERT_EQ(::pread(fd, file.data(), file.size(), 0), 16384);
  EXPECT_EQ(count_of(file, 5), 64u);
  EXPECT_EQ(count_of(std::span(file).subspan(4096 + 16, 64), 5), 64u);
  EXPECT_EQ(b->api.dereg_mr(region), 0);
  ::close(fd);
}

}  // namespace
}  // namespace shoal::verbs::test
