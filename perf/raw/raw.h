#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "perf/window.h"
#include "perf/workload.h"

// What the machine's sockets give to a program that does nothing else: the baseline of every TCP
// row. Requests and answers of fixed sizes over one connection, from and into rings of buffers as
// large as Shoal's, with as many in flight and the same way of waiting. No frames, no work on the
// data.

namespace shoal::perf {

struct RawPattern {
  std::size_t request_bytes = 8;
  std::size_t answer_bytes = 8;
  std::uint32_t inflight = 1;
  Wait wait = Wait::block;
  /// One system call for all that is ready, both ways; else one for each message sent.
  bool batched = false;
};

/// The side that answers. Runs in a process of its own.
class RawServer {
 public:
  /// Listens on the loopback interface. Errors: io.
  static Result<std::unique_ptr<RawServer>> create();
  ~RawServer();
  std::uint16_t port() const { return port_; }
  /// Takes one connection and answers until it is closed. Errors: io.
  Status serve(const RawPattern& pattern);

 private:
  RawServer(int fd, std::uint16_t port) : fd_(fd), port_(port) {}
  int fd_;
  std::uint16_t port_;
};

/// The side that asks.
class RawClient {
 public:
  /// Connects to `port` of this machine; returns when both sides have their buffers. Errors: io,
  /// peer_lost.
  static Result<std::unique_ptr<RawClient>> connect(std::uint16_t port, const RawPattern& pattern);
  ~RawClient();
  /// Errors: io, peer_lost.
  Result<Measured> run(const Clock& clock, const Limits& limits, Recorder& recorder);

 private:
  struct Parts;
  explicit RawClient(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace shoal::perf
