#include "perf/peer.h"

#include <fmt/core.h>

#include <array>
#include <optional>
#include <vector>

#include "core/base/log.h"
#include "perf/host.h"
#include "perf/messages.h"
#include "perf/ring.h"
#include "server/host.h"
#include "transport/attachment.h"
#include "transport/loop.h"
#include "transport/open_transport.h"

namespace shoal::perf {

/// What the client of the moment has asked for.
struct Visit {
  EndpointId client;
  Begin begin;
  Ring source;  // what echoes carry, and READs find
  Ring target;  // where WRITEs land, and own READs
  std::array<Attachment, 2> attached;
  Region region;
  std::uint64_t operations = 0;  // that have brought bytes here
  std::uint64_t wrong = 0;
  std::uint32_t ended = 0;  // and not answered yet
  bool spinning = false;
  std::unique_ptr<SchedulerHost> scheduler;
  std::unique_ptr<ServerHost> server;

  ~Visit() {
    scheduler.reset();  // first, so that it does not miss its server
    server.reset();
  }
};

class Peer::Parts final : public Pollable {
 public:
  Parts(Config config, const Clock& clock)
      : config_(std::move(config)), clock_(clock), rules_(RuleSet::builtin()) {}

  Status listen() {
    SHOAL_ASSIGN(transport_, open_transport(config_, clock_));
    SHOAL_ASSIGN(const auto wanted, Address::parse(config_.listen));
    SHOAL_ASSIGN(address_, transport_->listen(wanted));
    return {};
  }
  const Address& address() const { return address_; }

  void run(bool once) {
    while (!(once && gone_)) {
      const auto now = clock_.now();
      const bool spinning = visit_ && visit_->spinning;
      if (!poll(now) && !spinning)
        wait_for_work(*this, nullptr, now, deadline_after(now, kIdleTurn));
    }
  }

  bool poll(TimePoint) override {
    const auto count = transport_->poll(events_);
    for (std::size_t i = 0; i < count; ++i) handle(events_[i]);
    // One answer for all operations of this turn.
    if (visit_ && visit_->ended != 0) {
      const auto told = answer({}, Lane::message, std::exchange(visit_->ended, 0));
      if (!told.ok()) fail(told.error());
    }
    return count != 0;
  }
  TimePoint next_timer() const override { return kNever; }
  Transport& transport() override { return *transport_; }

 private:
  void handle(const Event& event) {
    switch (event.kind) {
      case Event::Kind::accepted:
        return accept(event.endpoint);
      case Event::Kind::closed:
        if (visit_ && event.endpoint == visit_->client) leave();
        return;
      case Event::Kind::message:
        if (!visit_ || event.endpoint != visit_->client) return;
        if (const auto handled = on_message(event.frame); !handled.ok()) fail(handled.error());
        return;
      case Event::Kind::read_done:
        if (visit_ && event.endpoint == visit_->client && event.status == Errc::ok) ++visit_->ended;
        return;
      default:
        return;
    }
  }

  void accept(EndpointId endpoint) {
    if (visit_) {
      log_warn("perf", "{} has to wait: {} is being measured", transport_->peer_of(endpoint),
               transport_->peer_of(visit_->client));
      transport_->close(endpoint);
      return;
    }
    visit_.emplace();
    visit_->client = endpoint;
    log_info("perf", "measuring for {}", transport_->peer_of(endpoint));
  }

  void leave() {
    visit_.reset();
    gone_ = true;
  }

  Status on_message(const FrameView& frame) {
    switch (static_cast<Verb>(frame.header.flags)) {
      case Verb::message:
        return on_payload(frame);
      case Verb::written:
        return on_written(frame);
      case Verb::fetch:
        return on_fetch(frame);
      case Verb::begin:
        return on_begin(frame);
      case Verb::check:
        return on_check();
      case Verb::usage:
        return reply(Verb::used, [](Writer& out) { out.put(cpu_seconds()); });
      case Verb::cluster:
        return on_cluster(frame);
      default:
        return Error{Errc::protocol,
                     fmt::format("request {} is not one that this release of 'shoal perf' knows",
                                 frame.header.flags)};
    }
  }

  Status on_begin(const FrameView& frame) {
    SHOAL_ASSIGN(const auto begin, decode_begin(frame.meta));
    auto& visit = *visit_;
    visit.region.revoke();
    visit.begin = begin;
    visit.operations = visit.wrong = 0;
    visit.attached = {};
    visit.source = visit.target = Ring();  // before there are others
    visit.source = Ring(begin.bytes, begin.inflight, true);
    visit.target = Ring(begin.bytes, begin.inflight, false);
    for (std::size_t i = 0; i < visit.attached.size(); ++i) {
      SHOAL_ASSIGN(
          visit.attached[i],
          Attachment::create(*transport_, (i == 0 ? visit.source : visit.target).memory()));
    }
    const bool read = begin.op == Op::read;
    SHOAL_ASSIGN(visit.region,
                 transport_->register_memory((read ? visit.source : visit.target).memory(),
                                             read ? Access::read : Access::write));
    visit.spinning = begin.wait == Wait::spin;
    return reply(Verb::ready, [&](Writer& out) { out.put(visit.region.remote()); });
  }

  Status on_payload(const FrameView& frame) {
    auto& visit = *visit_;
    const auto number = frame.header.request.value;
    const auto& payload = frame.payload;
    if (visit.begin.check &&
        (payload.size() != visit.begin.bytes || !has_pattern(payload, visit.source.index(number))))
      ++visit.wrong;
    if (!visit.begin.echo) {
      ++visit.ended;
      return {};
    }
    return answer(visit.source.at(number), Lane::message, 1);
  }

  Status on_written(const FrameView& frame) {
    auto& visit = *visit_;
    ++visit.operations;
    if (!visit.begin.echo) {
      ++visit.ended;
      return {};
    }
    const auto number = frame.header.request.value;
    const auto offset = visit.source.offset(number);
    if (visit.begin.memory.bytes < offset + visit.begin.bytes)
      return Error{Errc::out_of_range, "an echo beyond the client's memory"};
    SHOAL_TRY(transport_->write(visit.client, visit.source.at(number),
                                visit.begin.memory.sub(offset, visit.begin.bytes), 0));
    return answer({}, Lane::bulk, 1);
  }

  Status on_fetch(const FrameView& frame) {
    auto& visit = *visit_;
    const auto number = frame.header.request.value;
    const auto offset = visit.target.offset(number);
    if (visit.begin.memory.bytes < offset + visit.begin.bytes)
      return Error{Errc::out_of_range, "a READ beyond the client's memory"};
    ++visit.operations;
    return transport_->read(visit.client, visit.target.at(number),
                            visit.begin.memory.sub(offset, visit.begin.bytes), 1);
  }

  Status on_check() {
    const auto& visit = *visit_;
    const auto wrong = visit.wrong + visit.target.wrong(visit.operations);
    return reply(Verb::checked, [&](Writer& out) { out.put(wrong); });
  }

  Status on_cluster(const FrameView& frame) {
    Reader in(frame.meta);
    const auto wait = in.get_enum<Wait>(2);
    SHOAL_TRY(in.finish("request for a cluster"));
    auto& visit = *visit_;
    visit.spinning = false;  // the server's loop does
    visit.scheduler.reset();
    visit.server.reset();
    auto config = config_;
    config.servers = config.workers = 1;
    config.spin = spin_of(wait);
    config.state_dir.clear();
    config.listen = Address{address_.host, 0}.to_string();
    SHOAL_ASSIGN(visit.scheduler, SchedulerHost::start(config));
    config.scheduler = visit.scheduler->address().to_string();
    config.name = "perf server";
    SHOAL_ASSIGN(visit.server, ServerHost::start(config, rules_));
    return reply(Verb::started, [&](Writer& out) { out.put_string(config.scheduler); });
  }

  template <class Fill>
  Status reply(Verb verb, Fill&& fill) {
    std::array<std::byte, kMetaMax> meta;
    Writer out(meta);
    fill(out);
    FrameHeader header;
    header.kind = FrameKind::call;
    header.flags = static_cast<std::uint16_t>(verb);
    return transport_->send(visit_->client, header, out.written(), {}, {});
  }

  Status answer(ConstMemoryView payload, Lane lane, std::uint32_t operations) {
    FrameHeader header;
    header.kind = FrameKind::call;
    header.flags = static_cast<std::uint16_t>(Verb::answer);
    header.credits = operations;
    const auto views = std::span(&payload, payload.bytes == 0 ? 0u : 1u);
    return transport_->send(visit_->client, header, {}, views, {.lane = lane});
  }

  void fail(const Error& error) {
    log_warn("perf", "{}: {}", transport_->peer_of(visit_->client), error.message());
    const auto told = reply(Verb::failed, [&](Writer& out) {
      out.put(static_cast<std::uint16_t>(error.code));
      out.put_string(std::string_view(error.message()).substr(0, kMetaMax / 2));
    });
    if (told.ok()) return;
    transport_->close(visit_->client);
    leave();
  }

  Config config_;
  const Clock& clock_;
  RuleSet rules_;
  Address address_;
  std::unique_ptr<Transport> transport_;
  std::optional<Visit> visit_;  // goes before transport and rules
  std::vector<Event> events_ = std::vector<Event>(128);
  bool gone_ = false;
};

Peer::Peer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Peer::~Peer() = default;
const Address& Peer::address() const { return parts_->address(); }
void Peer::run(bool once) { parts_->run(once); }

Result<std::unique_ptr<Peer>> Peer::create(const Config& config, const Clock& clock) {
  auto parts = std::make_unique<Parts>(config, clock);
  SHOAL_TRY(parts->listen());
  return std::unique_ptr<Peer>(new Peer(std::move(parts)));
}

}  // namespace shoal::perf
