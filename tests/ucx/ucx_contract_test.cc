#include <string>

#include "tests/transport/contract.h"
#include "tests/transport/tcp_fixture.h"
#include "transport/paths/paths.h"
#include "transport/ucx/ucx.h"

namespace shoal::contract {
namespace {

/// Processes that meet over sockets and talk over UCX.
class UcxBackend final : public TcpBackend {
 public:
  UcxBackend(const ucx::Api& api, std::string transports)
      : api_(api), transports_(std::move(transports)) {}

  Node make(bool right_token) override {
    paths::PathOptions options;
    options.tcp.token = token(right_token);
    options.fabric_required = true;
    options.fabrics.push_back(
        ucx::create_fabric(api_, {.transports = transports_}, clock()).value());
    return watch(paths::create_paths(std::move(options), clock()).value());
  }
  bool copies_frames() const override { return true; }
  bool announces_regions() const override { return true; }

 private:
  const ucx::Api api_;
  const std::string transports_;
};

std::vector<BackendFactory> ucxs() {
  const auto over = [](const char* transports) -> std::function<std::unique_ptr<Backend>()> {
    return [transports]() -> std::unique_ptr<Backend> {
      const auto api = ucx::load();
      return api.ok() ? std::make_unique<UcxBackend>(*api, transports) : nullptr;
    };
  };
  const auto missing = "libucp.so.0 cannot be loaded, or is too old";
  return {{"ucxShm", over("posix,sysv,self"), missing}, {"ucxTcp", over("tcp"), missing}};
}

INSTANTIATE_TEST_SUITE_P(Ucx, TransportContract, testing::ValuesIn(ucxs()), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Ucx, BulkContract, testing::ValuesIn(ucxs()), name_of_backend);

}  // namespace
}  // namespace shoal::contract
