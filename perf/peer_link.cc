#include "perf/peer_link.h"

#include <fmt/core.h>

#include <array>
#include <optional>

#include "core/base/token.h"
#include "transport/open_transport.h"
#include "transport/session.h"

namespace shoal::perf {

Result<std::unique_ptr<PeerLink>> PeerLink::connect(const Config& config, const Clock& clock,
                                                    const Address& peer) {
  SHOAL_ASSIGN(auto transport, open_transport(config, clock));
  std::unique_ptr<PeerLink> link(
      new PeerLink(clock, std::move(transport), peer, token_source(config)));
  link->heard_ = clock.now();
  SHOAL_ASSIGN(link->endpoint_, link->transport_->connect(
                                    peer, deadline_after(clock.now(), config.connect_timeout)));
  bool connected = false;
  while (!connected)
    SHOAL_TRY(link->turn(Wait::block, [&](const Event& event) -> Status {
      connected |= event.kind == Event::Kind::connected;
      return {};
    }));
  return link;
}

Status PeerLink::turn(Wait wait, const Handler& handle) {
  const auto count = transport_->poll(events_);
  if (count == 0) {
    const auto now = clock_.now();
    const auto until = deadline_after(heard_, kPatience);
    if (now >= until)
      return Error{Errc::timed_out,
                   fmt::format("{} has not answered for {} s: does it still run?",
                               peer_.to_string(), kPatience / std::chrono::seconds(1))};
    if (wait == Wait::block)
      wait_for_work(*this, nullptr, now, std::min(until, deadline_after(now, kIdleTurn)));
    return {};
  }
  for (std::size_t i = 0; i < count; ++i) {
    SHOAL_TRY(look(events_[i]));
    SHOAL_TRY(handle(events_[i]));
  }
  heard_ = clock_.now();
  return {};
}

Status PeerLink::look(const Event& event) const {
  if (event.kind == Event::Kind::closed) {
    if (event.status == Errc::refused)
      return Error{Errc::refused,
                   fmt::format("{}: no 'shoal perf --listen' there", peer_.to_string())};
    if (event.status == Errc::untrusted) return wrong_token(peer_, token_source_);
    if (event.status == Errc::unavailable)
      return Error{Errc::unavailable,
                   fmt::format("only tcp leads to {}, which was not asked for: the warning before "
                               "this says why, and 'shoal info' what either side has",
                               peer_.to_string())};
    return Error{event.status,
                 fmt::format("the connection to {} ended; it may be measuring for somebody else, "
                             "have stopped, or be no 'shoal perf --listen'",
                             peer_.to_string())};
  }
  if (event.kind == Event::Kind::message &&
      static_cast<Verb>(event.frame.header.flags) == Verb::failed)
    return failure(event.frame);
  if (event.status != Errc::ok)
    return Error{event.status, fmt::format("an operation on the memory of {}", peer_.to_string())};
  return {};
}

Error PeerLink::failure(const FrameView& frame) const {
  Reader in(frame.meta);
  const auto code = static_cast<Errc>(in.get<std::uint16_t>());
  const auto what = in.get_string(kMetaMax);
  return {in.ok() ? code : Errc::protocol, fmt::format("{}: {}", peer_.to_string(), what)};
}

Result<std::vector<std::byte>> PeerLink::ask(Verb verb, Verb answer,
                                             const std::function<void(Writer&)>& fill) {
  std::array<std::byte, kMetaMax> meta;
  Writer out(meta);
  fill(out);
  FrameHeader header;
  header.kind = FrameKind::call;
  header.flags = static_cast<std::uint16_t>(verb);
  SHOAL_TRY(transport_->send(endpoint_, header, out.written(), {}, {}));
  heard_ = clock_.now();
  std::optional<std::vector<std::byte>> answered;
  while (!answered)
    SHOAL_TRY(turn(Wait::block, [&](const Event& event) -> Status {
      if (event.kind == Event::Kind::message &&
          static_cast<Verb>(event.frame.header.flags) == answer)
        answered.emplace(event.frame.meta.begin(), event.frame.meta.end());
      return {};
    }));
  return std::move(*answered);
}

Result<double> PeerLink::peer_cpu_seconds() {
  SHOAL_ASSIGN(const auto meta, ask(Verb::usage, Verb::used, [](Writer&) {}));
  Reader in(meta);
  const auto seconds = in.get<double>();
  SHOAL_TRY(in.finish("processor time of the peer"));
  return seconds;
}

}  // namespace shoal::perf
