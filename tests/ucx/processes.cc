#include "tests/ucx/processes.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "tests/ucx/adapters.h"
#include "transport/paths/paths.h"
#include "transport/ucx/limits.h"
#include "transport/ucx/ucx.h"

namespace shoal::ucx::test {

namespace {

constexpr const char* kRole = "SHOAL_TEST_UCX_ROLE";
constexpr const char* kAddress = "SHOAL_TEST_UCX_ADDRESS";
constexpr const char* kTransports = "SHOAL_TEST_UCX_TRANSPORTS";
constexpr const char* kShared = "SHOAL_TEST_UCX_SHARED";

Status say(Transport& transport, EndpointId to, std::span<const std::byte> meta) {
  FrameHeader header;
  header.kind = FrameKind::push;
  return transport.send(to, header, meta, {}, {});
}

}  // namespace

std::unique_ptr<Transport> make_transport(const std::string& transports, const Clock& clock) {
  const auto api = load();
  if (!api.ok()) return nullptr;
  paths::PathOptions options;
  options.tcp.token = {std::byte{1}};
  if (transports == kAdapters) options.try_timeout = kAdapterPatience;
  options.fabric_required = true;
  options.fabrics.push_back(create_fabric(*api, {.transports = transports}, clock).value());
  return paths::create_paths(std::move(options), clock).value();
}

Memory::Memory(Transport& transport, bool shared, std::byte value) : transport_(transport) {
  if (shared) view_ = transport.allocate_shared(kPeerBytes);
  EXPECT_EQ(view_.data != nullptr, shared);
  if (view_.data == nullptr) {
    own_.resize(kPeerBytes);
    view_ = {own_.data(), own_.size()};
  }
  std::fill(bytes().begin(), bytes().end(), value);
}

Memory::~Memory() { EXPECT_EQ(transport_.deallocate_shared(view_), own_.empty()); }

Process::Process(Role role, const Address& at, const Way& way) {
  // Whatever is made between fork and exec is made before: UCX has threads.
  std::vector<std::string> own;
  for (char** variable = environ; *variable != nullptr; ++variable) own.emplace_back(*variable);
  own.push_back(std::string(kRole) + "=" + std::to_string(static_cast<int>(role)));
  own.push_back(std::string(kAddress) + "=" + at.to_string());
  own.push_back(std::string(kTransports) + "=" + way.transports);
  own.push_back(std::string(kShared) + "=" + (way.shared ? "1" : "0"));
  std::vector<char*> environment;
  for (auto& variable : own) environment.push_back(variable.data());
  environment.push_back(nullptr);
  std::array<std::string, 4> words{"ucx_test", "--gtest_filter=UcxPeer.*",
                                   "--gtest_also_run_disabled_tests", "--gtest_brief=1"};
  std::array<char*, 5> arguments{words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                                 nullptr};
  pid_ = ::fork();
  if (pid_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  ::execve("/proc/self/exe", arguments.data(), environment.data());
  ::_exit(127);
}

Process::~Process() { kill(); }

void Process::stop() {
  ASSERT_GT(pid_, 0);
  ::kill(pid_, SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(pid_, &status, WUNTRACED), pid_);
  ASSERT_TRUE(WIFSTOPPED(status)) << "the peer ended by itself";
}

bool Process::has_stopped() {
  int status = 0;
  if (pid_ <= 0 || ::waitpid(pid_, &status, WUNTRACED | WNOHANG) != pid_) return false;
  if (!WIFSTOPPED(status)) pid_ = -1;
  return WIFSTOPPED(status);
}

void Process::resume() {
  if (pid_ > 0) ::kill(pid_, SIGCONT);
}

void Process::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::optional<int> Process::ended_by() {
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

// --- The peer ------------------------------------------------------------------------------------

namespace {

/// The page that is not readable before its reader was stopped there.
std::byte* halt_page = nullptr;
constexpr std::size_t kHaltBytes = 4096;

void on_halt(int /*signal*/) {
  ::raise(SIGSTOP);
  ::mprotect(halt_page, kHaltBytes, PROT_READ | PROT_WRITE);
}

/// Who copies `memory` stops in the middle of it, and of one of the pieces that are copied at once.
void halt_in(MemoryView memory) {
  void* at = memory.data + memory.bytes / 2 + kCopyBytes / 2;
  std::size_t room = 2 * kHaltBytes;
  halt_page = static_cast<std::byte*>(std::align(kHaltBytes, kHaltBytes, at, room));
  struct sigaction action {};
  action.sa_handler = &on_halt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ASSERT_EQ(::sigaction(SIGSEGV, &action, nullptr), 0);
  ASSERT_EQ(::mprotect(halt_page, kHaltBytes, PROT_NONE), 0);
}

/// The kernel hands out addresses from the top: what is mapped once this is free lies behind its
/// first kPeerBytes.
constexpr std::size_t kFreedBytes = 64 * kPeerBytes;

MemoryView map_to_free() {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  void* mapped = ::mmap(nullptr, kFreedBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EXPECT_NE(mapped, MAP_FAILED);
  return {static_cast<std::byte*>(mapped), kPeerBytes};
}

struct PeerState {
  bool writes() const { return role == Role::writes || role == Role::halts; }

  Transport& transport;
  Role role;
  EndpointId endpoint;
  MemoryView memory;
  Region region;
  RemoteSpan target;
  int under_way = 0;
  bool over = false;
};

void on_event(PeerState& peer, const Event& event) {
  switch (event.kind) {
    case Event::Kind::connected:
      if (peer.writes()) return;
      peer.region = peer.transport.register_memory(peer.memory, Access::read_write).value();
      if (peer.role == Role::frees) ::munmap(peer.memory.data, kFreedBytes);
      peer.target = peer.region.remote();
      (void)say(peer.transport, peer.endpoint, std::as_bytes(std::span(&peer.target, 1)));
      return;
    case Event::Kind::message:
      if (peer.writes() && peer.target.bytes == 0)
        std::memcpy(&peer.target, event.frame.meta.data(), sizeof peer.target);
      else
        (void)say(peer.transport, peer.endpoint, event.frame.meta);
      return;
    case Event::Kind::write_done:
      --peer.under_way;
      return;
    case Event::Kind::closed:
      peer.over = true;
      return;
    default:
      return;
  }
}

void run_peer(PeerState& peer) {
  std::array<Event, 32> events;
  while (!peer.over) {
    const auto count = peer.transport.poll(events);
    for (std::size_t i = 0; i < count; ++i) on_event(peer, events[i]);
    while (peer.writes() && peer.target.bytes > 0 && peer.under_way < 3) {
      const ConstMemoryView from(peer.memory.data, peer.target.bytes);
      if (!peer.transport.write(peer.endpoint, from, peer.target, 1).ok()) break;
      ++peer.under_way;
    }
    if (count == 0 && peer.under_way == 0 && peer.transport.arm())
      peer.transport.wait(nullptr, std::chrono::seconds(1));
  }
}

/// Not a test: what Process runs.
TEST(UcxPeer, DISABLED_Runs) {
  const char* role = std::getenv(kRole);
  if (role == nullptr) GTEST_SKIP() << "run by other tests";
  SteadyClock clock;
  const auto transport = make_transport(std::getenv(kTransports), clock);
  ASSERT_NE(transport, nullptr);
  const auto at = Address::parse(std::getenv(kAddress)).value();
  const auto endpoint =
      transport->connect(at, deadline_after(clock.now(), std::chrono::seconds(20)));
  ASSERT_TRUE(endpoint.ok());
  Memory memory(*transport, std::string_view(std::getenv(kShared)) == "1", kPeerByte);
  PeerState peer{.transport = *transport,
                 .role = static_cast<Role>(std::atoi(role)),
                 .endpoint = *endpoint,
                 .memory = memory.view(),
                 .region = {},
                 .target = {}};
  if (peer.role == Role::halts) halt_in(peer.memory);
  if (peer.role == Role::frees) peer.memory = map_to_free();
  run_peer(peer);
}

}  // namespace

}  // namespace shoal::ucx::test
