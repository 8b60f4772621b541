#include "transport/backends.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "core/base/token_file.h"
#include "transport/open_transport.h"

namespace shoal {
namespace {

TEST(Backends, EachSaysYesOrWhyNot) {
  const auto backends = describe_backends(Config{});
  ASSERT_EQ(backends.size(), 3u);
  EXPECT_EQ(backends[0].name, "tcp");
  EXPECT_EQ(backends[0].lines, std::vector<std::string>{"yes"});
  for (const auto& backend : backends) {
    EXPECT_FALSE(backend.lines.empty()) << backend.name;
    for (const auto& line : backend.lines)
      EXPECT_TRUE(line.starts_with("yes") || line.starts_with("no")) << line;
  }
}

/// What is here and not used says so, and what is not here says that.
TEST(Backends, WhatTransportsDoesNotNameSaysSo) {
  Config config;
  const auto expect = [&](std::size_t backend, std::string_view why) {
    const auto found = describe_backends(config)[backend];
    const auto& line = found.lines.front();
    EXPECT_TRUE(line.starts_with("no: ") || line.starts_with(why)) << found.name << " " << line;
  };
  constexpr std::size_t kTcp = 0, kUcx = 1, kVerbs = 2;
  config.transports = "tcp,ucx";
  expect(kTcp, "yes");
  expect(kUcx, "yes, but tcp stands before it in transports: UCX 1.");
  expect(kVerbs, "yes, but not named in transports: ");
  config.transports = "verbs,ucx";
  config.require = Config::Require::rdma;
  expect(kTcp, "yes, but not named in transports: it connects, and carries no rows");
  expect(kUcx, "yes, but require = rdma, which only verbs is sure to be: UCX 1.");
  expect(kVerbs, "yes: ");
  config.transports = "verbs,ipoib";
  for (const auto backend : {kTcp, kUcx, kVerbs})
    expect(backend, "yes, but transports = 'verbs,ipoib': 'ipoib' is none");
}

TEST(Backends, VerbsFollowsTheFilterOfDevices) {
  Config config;
  // No device is called that.
  config.devices = NameFilter::parse(NameFilter::Kind::devices, "=-none-").value();
  for (const auto& backend : describe_backends(config)) {
    if (backend.name != "verbs") continue;
    for (const auto& line : backend.lines) EXPECT_TRUE(line.starts_with("no: ")) << line;
  }
}

class OpenTransport : public testing::Test {
 protected:
  OpenTransport() : token_(TokenFile::create().value()) {
    config_.token_file = token_.path();
    // No device is called that.
    config_.devices = NameFilter::parse(NameFilter::Kind::devices, "=-none-").value();
  }
  Error refused() {
    const auto transport = open_transport(config_, clock_);
    EXPECT_FALSE(transport.ok());
    return transport.ok() ? Error{} : transport.error();
  }
  /// Of a connection to itself.
  std::string explained() {
    const auto transport = open_transport(config_, clock_);
    EXPECT_TRUE(transport.ok()) << transport.error().message();
    if (!transport.ok()) return {};
    const auto address = (*transport)->listen({"127.0.0.1", 0}).value();
    const auto endpoint =
        (*transport)->connect(address, clock_.now() + std::chrono::seconds(20)).value();
    std::array<Event, 8> events;
    for (;;) {
      const auto count = (*transport)->poll(events);
      for (std::size_t i = 0; i < count; ++i) {
        if (events[i].kind == Event::Kind::connected) return (*transport)->explain(endpoint);
        if (events[i].kind != Event::Kind::closed) continue;
        ADD_FAILURE() << "no connection: " << name_of(events[i].status);
        return {};
      }
    }
  }

  SteadyClock clock_;
  TokenFile token_;
  Config config_;
};

TEST_F(OpenTransport, ATransportThatIsNoneIsNamed) {
  for (const auto* list : {"tcp,rdma", "", ",", "TCP"}) {
    config_.transports = list;
    const auto error = refused();
    EXPECT_EQ(error.code, Errc::invalid_argument) << list;
    EXPECT_NE(error.what.find("expected a list of verbs, ucx, tcp"), std::string::npos)
        << error.what;
  }
}

TEST_F(OpenTransport, WhereThereIsNoDeviceTcpIsUsedAndSaysWhy) {
  config_.transports = "verbs,tcp";
  const auto text = explained();
  EXPECT_TRUE(text.starts_with("tcp 127.0.0.1:")) << text;
  EXPECT_NE(text.find("no faster path: verbs: "), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("; not used: ucx: not named in transports")) << text;
}

TEST_F(OpenTransport, WhatIsNamedAndNotUsedSaysWhy) {
  config_.transports = "tcp";
  const auto text = explained();
  EXPECT_TRUE(text.ends_with(
      " sockets; not used: verbs: not named in transports; ucx: not named in transports"))
      << text;
  config_.transports = "tcp,ucx";
  EXPECT_TRUE(
      explained().ends_with("; not used: verbs: not named in transports; ucx: tcp stands "
                            "before it in transports"))
      << explained();
}

TEST_F(OpenTransport, RequiredRdmaThatIsMissingSaysWhatIsMissing) {
  config_.require = Config::Require::rdma;
  auto error = refused();
  EXPECT_EQ(error.code, Errc::unavailable);
  EXPECT_NE(error.what.find("require = rdma, and this process has none: verbs: "),
            std::string::npos)
      << error.what;
  config_.transports = "tcp";
  error = refused();
  EXPECT_EQ(error.code, Errc::invalid_argument);
  EXPECT_EQ(error.what, "require = 'rdma' needs verbs among transports, which are 'tcp'");
  config_.require = Config::Require::nothing;
  config_.transports = "verbs";
  EXPECT_NE(refused().what.find("transports = 'verbs', and this process has none"),
            std::string::npos);
  // Who only coordinates needs none.
  EXPECT_TRUE(open_control_transport(config_, clock_).ok());
}

}  // namespace
}  // namespace shoal
