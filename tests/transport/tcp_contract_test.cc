#include "tests/transport/contract.h"
#include "tests/transport/tcp_fixture.h"

namespace shoal::contract {
namespace {

std::vector<BackendFactory> tcps() {
  // Once as it is, once with socket buffers smaller than a segment, and once with short turns:
  // frames leave in pieces.
  tcp::TcpOptions small, hasty;
  small.send_buffer_bytes = 128 << 10;
  hasty.bulk_turn_bytes = 16u << 10;
  return {{"tcp", [] { return std::make_unique<TcpBackend>(); }},
          {"tcpSmallBuffers", [small] { return std::make_unique<TcpBackend>(small); }},
          {"tcpShortTurns", [hasty] { return std::make_unique<TcpBackend>(hasty); }}};
}

INSTANTIATE_TEST_SUITE_P(Tcp, TransportContract, testing::ValuesIn(tcps()), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Tcp, BulkContract, testing::ValuesIn(tcps()), name_of_backend);

}  // namespace
}  // namespace shoal::contract
