#include "server/cli/scheduler_client.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/base/entropy.h"
#include "core/base/token.h"
#include "core/cluster/messages.h"
#include "transport/loop.h"
#include "transport/open_transport.h"

namespace shoal::cli {

namespace {

std::string text_of(const FrameView& frame) {
  return {reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size()};
}

/// For wait_for_work, which sleeps on behalf of a Pollable.
class Idle final : public Pollable {
 public:
  explicit Idle(Transport& transport) : transport_(transport) {}
  bool poll(TimePoint) override { return false; }
  TimePoint next_timer() const override { return kNever; }
  Transport& transport() override { return transport_; }

 private:
  Transport& transport_;
};

}  // namespace

Result<SchedulerClient> SchedulerClient::create(const Config& config, const Clock& clock) {
  if (config.scheduler.empty())
    return Error{Errc::invalid_argument,
                 "no scheduler address: --scheduler host:port, or SHOAL_SCHEDULER"};
  Session::Options options;
  SHOAL_ASSIGN(options.peer, Address::parse(config.scheduler));
  options.hello.role = Role::observer;
  options.hello.incarnation = Incarnation(entropy());
  options.requests_max = 4;
  options.seed = entropy();
  SHOAL_ASSIGN(auto transport, open_control_transport(config, clock));
  return SchedulerClient(config, clock, std::move(transport), std::move(options));
}

SchedulerClient::SchedulerClient(const Config& config, const Clock& clock,
                                 std::unique_ptr<Transport> transport, Session::Options options)
    : token_source_(token_source(config)),
      timeout_(config.connect_timeout),
      clock_(&clock),
      peer_(options.peer),
      transport_(std::move(transport)),
      session_(std::make_unique<Session>(*transport_, std::move(options))) {}

Result<SchedulerClient::Reply> SchedulerClient::ask(FrameKind kind, TableId table,
                                                    std::span<const std::byte> meta) {
  FrameHeader header;
  header.kind = kind;
  header.table = table;
  SHOAL_ASSIGN(const auto id, session_->request(header, meta, {}, 0));
  const auto until = deadline_after(clock_->now(), timeout_);
  std::vector<Event> events(16);
  Status failure;
  for (auto now = clock_->now(); failure.ok() && now < until; now = clock_->now()) {
    session_->poll(now);
    const auto count = transport_->poll(events);
    for (std::size_t i = 0; i < count && failure.ok(); ++i) {
      Incoming incoming;
      if (!session_->handle(events[i], now, incoming)) continue;
      failure = look_at(incoming);
      if (incoming.kind != Incoming::Kind::answer || incoming.id != id) continue;
      const auto& frame = incoming.frame;
      if (const auto code = static_cast<Errc>(frame.header.status); code != Errc::ok)
        return Error{code, frame.payload.empty() ? "the scheduler refused" : text_of(frame)};
      return Reply{frame.header, {frame.meta.begin(), frame.meta.end()}, text_of(frame)};
    }
    if (count == 0 && failure.ok())
      wait(now, std::min({until, session_->next_timer(), transport_->next_timer()}));
  }
  if (failure.ok())
    failure = Error{Errc::timed_out,
                    fmt::format("the scheduler does not answer: {}", session_->explain())};
  session_->withdraw(id);
  return failure.error();
}

/// What no further try within this question would mend.
Status SchedulerClient::look_at(const Incoming& incoming) const {
  const auto at = peer_.to_string();
  if (incoming.kind == Incoming::Kind::refused)
    return Error{Errc::refused, fmt::format("{}: no scheduler listens there", at)};
  if (incoming.status == Errc::untrusted) return wrong_token(peer_, token_source_);
  if (incoming.status == Errc::version)
    return Error{Errc::version, fmt::format("{} speaks another wire version: use the shoal command "
                                            "of the cluster's release",
                                            at)};
  return {};
}

void SchedulerClient::wait(TimePoint now, TimePoint until) {
  Idle idle(*transport_);
  wait_for_work(idle, nullptr, now, until);
}

Result<ClusterView> SchedulerClient::view() {
  SHOAL_ASSIGN(const auto reply, ask(FrameKind::get_view));
  // We have none, so a delta is one from none.
  const bool delta = (reply.header.flags & frame_flag::kDelta) != 0;
  return delta ? apply_delta(ClusterView{}, reply.meta) : decode_view(reply.meta);
}

Status SchedulerClient::drop_table(TableId table) {
  SHOAL_TRY(ask(FrameKind::drop_table, table));
  return {};
}

Status SchedulerClient::leave_for(NodeId worker) {
  std::array<std::byte, kSmallMessageBytesMax> buffer;
  Writer out(buffer);
  encode(out, Leave{worker});
  SHOAL_TRY(ask(FrameKind::leave, {}, out.written()));
  return {};
}

}  // namespace shoal::cli
