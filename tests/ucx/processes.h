#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "transport/transport.h"

// A peer in a process of its own, which a test stops or kills: this program again, running the
// disabled test UcxPeer.

namespace shoal::ucx::test {

inline constexpr std::size_t kPeerBytes = 4u << 20;
inline constexpr std::byte kPeerByte{2};

/// What a peer does once it is connected.
enum class Role : std::uint8_t {
  writes,  ///< into the region that the first message names, again and again
  serves,  ///< sends a span of its own memory, of kPeerBytes bytes of kPeerByte
  halts,   ///< as `writes`, and stops itself once, in the middle of a copy
  frees,   ///< as `serves`, and unmaps that memory, which stays registered
};

/// Over what processes meet.
struct Way {
  const char* transports;  ///< UCX_TLS
  bool shared;             ///< their memory is such that peers copy in it themselves
  int rounds = 12;         ///< of what is random, each with a process of its own
};

/// A transport over UCX alone; null: there is no UCX here.
std::unique_ptr<Transport> make_transport(const std::string& transports, const Clock& clock);

/// kPeerBytes of one value that go with this object.
class Memory {
 public:
  Memory(Transport& transport, bool shared, std::byte value);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  MemoryView view() const { return view_; }
  std::span<std::byte> bytes() const { return view_.host_span(); }

 private:
  Transport& transport_;
  std::vector<std::byte> own_;
  MemoryView view_;
};

/// A peer's process; its end is the destructor's business.
class Process {
 public:
  /// It connects to `at`, and echoes each message from the second on.
  Process(Role role, const Address& at, const Way& way);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  /// Stops it, between two of its instructions: returns when it has.
  void stop();
  /// Whether it has stopped itself. True once for each time.
  bool has_stopped();
  void resume();
  void kill();
  /// The signal that ended it, 0: none did. Nothing: it has not ended.
  std::optional<int> ended_by();

 private:
  pid_t pid_;
};

}  // namespace shoal::ucx::test
