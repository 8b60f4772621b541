#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "transport/paths/path_transport.h"

// One turn of the transport: the hot path.

namespace shoal::paths {

namespace {

/// While links bring all rows, TCP is only asked who connects and who dies, and what the scheduler
/// says: after an eighth of the time for which it has been silent, as asking takes microseconds.
constexpr Duration kLookAroundMin = std::chrono::microseconds(50);
constexpr Duration kLookAroundMax = std::chrono::microseconds(500);
constexpr int kLookAroundShare = 8;
/// Polls in which links brought something, one after the other, that do not ask for the time: it
/// takes 20 ns, and what has come is waited for.
constexpr int kHurriedMax = 16;
/// A closed link that still sends is asked so often whether it has done.
constexpr Duration kLingerTurn = std::chrono::milliseconds(1);
/// Regions of a peer; more cannot be named by TCP's either.
constexpr std::size_t kPeerRegionsMax = tcp::kRegionsMax;

}  // namespace

std::size_t PathTransport::poll(std::span<Event> events) {
  owner_.check();
  Out out{events};
  if (!unsettled_.empty()) expire(clock_.now());
  report(out);
  poll_fabrics(out);
  const bool linked = on_fabric_ > 0 && on_fabric_ + on_control_ == paths_.size();
  const bool quiet = linked && !woken_ && farewells_.empty();
  if (quiet && out.count > 0 && ++hurried_ < kHurriedMax) return out.count;
  hurried_ = 0;
  const auto now = clock_.now();
  if (!quiet || now >= next_tcp_) poll_tcp(now, out);
  report(out);
  return out.count;
}

void PathTransport::flush() {
  owner_.check();
  for (const auto& fabric : fabrics_) fabric->flush();
  tcp_->flush();
}

void PathTransport::report(Out& out) {
  while (!reports_.empty() && out.room() > 0) {
    const auto& event = reports_.front();
    if (event.endpoint != EndpointId{}) out.events[out.count++] = event;
    reports_.pop_front();
  }
}

void PathTransport::poll_fabrics(Out& out) {
  for (const auto& fabric : fabrics_) {
    const auto rest = out.events.subspan(out.count);
    const auto count = fabric->poll(rest);
    for (std::size_t i = 0; i < count; ++i)
      if (take(rest[i], fabric.get())) out.events[out.count++] = rest[i];
  }
}

void PathTransport::poll_tcp(TimePoint now, Out& out) {
  const auto rest = out.events.subspan(out.count);
  const auto farewells = static_cast<std::ptrdiff_t>(farewells_.size());
  const auto count = tcp_->poll(rest);
  if (count != 0) tcp_heard_ = now;
  for (std::size_t i = 0; i < count; ++i)
    if (take(rest[i], nullptr)) out.events[out.count++] = rest[i];
  if (count == rest.size()) return;  // there may be more
  for (std::ptrdiff_t i = 0; i < farewells; ++i) reports_.push_back(farewells_[std::size_t(i)]);
  farewells_.erase(farewells_.begin(), farewells_.begin() + farewells);
  woken_ = false;
  next_tcp_ =
      now + std::clamp((now - tcp_heard_) / kLookAroundShare, kLookAroundMin, kLookAroundMax);
}

/// What an event of TCP (`from` null) or a fabric is to whoever polls: true if it is reported,
/// perhaps as another one.
bool PathTransport::take(Event& event, const Fabric* from) {
  if (event.kind == Event::Kind::accepted) return on_accepted(event.endpoint, event);
  if (event.kind == Event::Kind::connected) return on_connected(event.endpoint, event);
  auto* path = find(event.endpoint);
  switch (event.kind) {
    case Event::Kind::closed:
      return path != nullptr && on_closed(*path, event, from);
    case Event::Kind::message: {
      if (path == nullptr || path->stage == Stage::closing || path->nonsense) return false;
      const bool dropped = from != nullptr && from != path->fabric;  // while this poll went on
      return !dropped && on_message(*path, event, from);
    }
    default:
      return true;
  }
}

bool PathTransport::on_closed(Path& path, Event& event, const Fabric* from) {
  if (from != nullptr) {
    if (path.stage == Stage::begun || path.stage == Stage::trying) {
      if (path.connector || path.lanes_tried != kBothLanes)
        return decline(
            path, event,
            fmt::format("the link broke while it was tried ({})", path.fabric->why_silent()));
      give_up(path, "the link broke");  // the connector may be up; if not, it declines
      return false;
    }
    tcp_->close(path.id);
    const bool told = path.stage == Stage::fabric;
    forget(path);
    return told;
  }
  if (path.stage == Stage::fabric) {
    path.fabric->lose(path.id, event.status);  // and says so when all that has come is reported
    return false;
  }
  if (path.fabric != nullptr) path.fabric->drop(path.id);
  const bool told = path.stage == Stage::tcp || (path.connector && path.stage != Stage::closing);
  forget(path);
  return told;
}

bool PathTransport::on_message(Path& path, Event& event, const Fabric* from) {
  const auto kind = event.frame.header.kind;
  if (!is_transport_kind(kind)) {
    const bool right =
        path.stage == Stage::tcp ? from == nullptr : path.stage == Stage::fabric && from != nullptr;
    return right || fail(path, event, Errc::protocol);
  }
  if (kind == FrameKind::region_key || kind == FrameKind::region_gone) {
    const bool good =
        from != nullptr && path.stage == Stage::fabric && on_region(path, event.frame);
    return !good && fail(path, event, Errc::protocol);
  }
  return on_path_frame(path, event, from);
}

/// False: nonsense.
bool PathTransport::on_region(Path& path, const FrameView& frame) {
  const bool known = frame.header.kind == FrameKind::region_key;
  Reader in(frame.meta);
  const auto read = read_announcement(in, known);
  if (!read.ok()) return false;
  const auto& announcement = *read;
  const auto at = path.regions.find(announcement.region);
  if (at != path.regions.end()) {
    path.fabric->forget_key(path.id, at->second.key);
    path.regions.erase(at);
  }
  if (!known) return true;
  if (path.regions.size() >= kPeerRegionsMax) return false;
  const auto key = path.fabric->import_key(path.id, frame.meta.subspan(sizeof announcement));
  if (!key.ok()) return false;
  path.regions[announcement.region] = {announcement.bytes, static_cast<Access>(announcement.access),
                                       *key};
  return true;
}

// --- Time ----------------------------------------------------------------------------------------

void PathTransport::expire(TimePoint now) {
  timer_ = kNever;
  auto due = std::move(unsettled_);
  unsettled_.clear();
  for (const auto id : due) {
    auto* path = find(id);
    if (path == nullptr) continue;
    expire(*path, now);
  }
  std::sort(unsettled_.begin(), unsettled_.end());
  unsettled_.erase(std::unique(unsettled_.begin(), unsettled_.end()), unsettled_.end());
}

/// Keeps the path in the list as long as there is something to wait for.
void PathTransport::expire(Path& path, TimePoint now) {
  const auto id = path.id;
  const auto keep = [&](TimePoint until) {
    timer_ = std::min(timer_, until);
    unsettled_.push_back(id);
  };
  Event event{.kind = Event::Kind::closed, .status = Errc::ok, .endpoint = id, .frame = {}};
  switch (path.stage) {
    case Stage::connecting:
    case Stage::tcp:
      return;
    case Stage::fabric:
      if (!tell_regions(path)) keep(now + kFullRetry);
      return;
    case Stage::closing:
      if (now < path.deadline && !path.fabric->drained(id)) return keep(now + kLingerTurn);
      path.fabric->drop(id);
      tcp_->close(id);
      forget(path);
      return;
    case Stage::offered:
      if (now < path.deadline) return keep(path.deadline);
      fail(path, event, Errc::timed_out);
      return;
    case Stage::wanting:
    case Stage::begun:
    case Stage::trying:
      break;
  }
  if (now < path.deadline) return keep(path.deadline);
  const bool give_up = !path.connector || now >= path.connect_deadline;
  const auto why = [&] {
    if (path.stage != Stage::trying) return std::string("the peer does not answer");
    return fmt::format("frames sent over the link do not arrive ({})", path.fabric->why_silent());
  };
  const bool report = give_up ? fail(path, event, Errc::timed_out) : decline(path, event, why());
  if (report) reports_.push_back(event);
}

bool PathTransport::arm() {
  owner_.check();
  if (!reports_.empty() || !farewells_.empty()) return false;
  for (const auto& fabric : fabrics_)
    if (!fabric->arm()) return false;
  woken_ = true;  // or TCP would not be asked what it knows
  return tcp_->arm();
}

void PathTransport::wait(const Waker* waker, Duration at_most) {
  owner_.check();
  woken_ = true;
  tcp_->wait(waker, at_most);
}

TimePoint PathTransport::next_timer() const {
  return unsettled_.empty() ? tcp_->next_timer() : std::min(timer_, tcp_->next_timer());
}

}  // namespace shoal::paths
