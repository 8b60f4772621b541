#include <sys/resource.h>

#include <string>

#include "tests/transport/contract.h"
#include "tests/transport/tcp_fixture.h"
#include "tests/ucx/adapters.h"
#include "transport/paths/paths.h"
#include "transport/ucx/ucx.h"

namespace shoal::contract {
namespace {

/// Processes that meet over sockets and talk over UCX.
class UcxBackend final : public TcpBackend {
 public:
  UcxBackend(const ucx::Api& api, std::string transports, Duration try_timeout, std::size_t many)
      : api_(api), transports_(std::move(transports)), try_timeout_(try_timeout), many_(many) {
    // Both ends of all links are of this process: more than half of the usual 1024 descriptors.
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }

  Node make(bool right_token) override {
    paths::PathOptions options;
    options.tcp.token = token(right_token);
    options.try_timeout = try_timeout_;
    options.fabric_required = true;
    options.fabrics.push_back(
        ucx::create_fabric(api_, {.transports = transports_}, clock()).value());
    return watch(paths::create_paths(std::move(options), clock()).value());
  }
  bool copies_frames() const override { return true; }
  bool sums_frames() const override { return transports_.find("posix") == std::string::npos; }
  std::string touches_freed_because(bool /*written*/) const override {
    return "packets are taken out of memory, and put into it, by its process's CPU";
  }
  bool announces_regions() const override { return true; }
  std::size_t many() const override { return many_; }

 private:
  const ucx::Api api_;
  const std::string transports_;
  const Duration try_timeout_;
  const std::size_t many_;
};

std::function<std::unique_ptr<Backend>()> over(
    const char* transports, Duration try_timeout = paths::PathOptions{}.try_timeout,
    std::size_t many = Backend::kMany) {
  return [=]() -> std::unique_ptr<Backend> {
    const auto api = ucx::load();
    return api.ok() ? std::make_unique<UcxBackend>(*api, transports, try_timeout, many) : nullptr;
  };
}

std::vector<BackendFactory> ucxs() {
  const auto missing = "libucp.so.0 cannot be loaded, or is too old";
  return {{"ucxShm", over("posix,sysv,self"), missing}, {"ucxTcp", over("tcp"), missing}};
}

INSTANTIATE_TEST_SUITE_P(Ucx, TransportContract, testing::ValuesIn(ucxs()), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Ucx, BulkContract, testing::ValuesIn(ucxs()), name_of_backend);

/// The real devices of this machine.
std::vector<BackendFactory> adapters() {
  const auto make = []() -> std::unique_ptr<Backend> {
    if (!ucx::test::has_adapters()) return nullptr;
    return over(ucx::test::kAdapters, ucx::test::kAdapterPatience, 12)();  // emulated
  };
  return {{"device", make, "this machine has no RDMA device, or no UCX"}};
}

INSTANTIATE_TEST_SUITE_P(RealUcx, TransportContract, testing::ValuesIn(adapters()),
                         name_of_backend);
INSTANTIATE_TEST_SUITE_P(RealUcx, BulkContract, testing::ValuesIn(adapters()), name_of_backend);

}  // namespace
}  // namespace shoal::contract
