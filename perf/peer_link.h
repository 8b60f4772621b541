#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/result.h"
#include "perf/messages.h"
#include "transport/loop.h"
#include "transport/transport.h"

namespace shoal::perf {

/// The measuring process's connection to its Peer.
class PeerLink final : private Pollable {
 public:
  /// `clock` outlives it. Errors: refused (nobody listens there, another token, or it measures for
  /// somebody else), timed_out, io.
  static Result<std::unique_ptr<PeerLink>> connect(const Config& config, const Clock& clock,
                                                   const Address& peer);

  Transport& transport() override { return *transport_; }
  EndpointId endpoint() const { return endpoint_; }
  const Clock& clock() const { return clock_; }

  /// Looks for events, handing each to `handle`; if there are none, waits as told. Errors:
  /// peer_lost; timed_out after kPatience without an event; what the peer says went wrong.
  using Handler = std::function<Status(const Event&)>;
  Status turn(Wait wait, const Handler& handle);
  /// Sends a request and waits for its answer's fields. Errors: the same, protocol.
  Result<std::vector<std::byte>> ask(Verb verb, Verb answer,
                                     const std::function<void(Writer&)>& fill);
  /// Processor seconds that the peer has used so far.
  Result<double> peer_cpu_seconds();

  static constexpr Duration kPatience = std::chrono::seconds(30);

 private:
  PeerLink(const Clock& clock, std::unique_ptr<Transport> transport, Address peer,
           std::string token_source)
      : clock_(clock),
        transport_(std::move(transport)),
        peer_(std::move(peer)),
        token_source_(std::move(token_source)) {}
  bool poll(TimePoint) override { return false; }
  TimePoint next_timer() const override { return kNever; }
  Status look(const Event& event) const;
  Error failure(const FrameView& frame) const;

  const Clock& clock_;
  std::unique_ptr<Transport> transport_;
  Address peer_;
  std::string token_source_;
  EndpointId endpoint_{};
  TimePoint heard_{};  // when there was an event last
  std::vector<Event> events_ = std::vector<Event>(128);
};

}  // namespace shoal::perf
