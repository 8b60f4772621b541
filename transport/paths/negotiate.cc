#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "core/base/log.h"
#include "transport/paths/path_transport.h"

// How a pair of peers comes to use a link, or TCP. See docs/design/selection.md.

namespace shoal::paths {

namespace {

/// Peers whose lack of a path has been told; beyond it they are told again.
constexpr std::size_t kWarnedMax = 256;

/// What a peer wrote, for our log.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  return text;
}

/// The lane that a path_try or path_use says it is on; 0: none.
std::uint8_t lane_bit(const FrameHeader& header) {
  return header.flags > 1 ? std::uint8_t{0} : static_cast<std::uint8_t>(1u << header.flags);
}

}  // namespace

/// Of a peer that does not negotiate.
std::string PathTransport::why_none(EndpointId endpoint) const {
  if (tcp_->is_control(endpoint)) return "the peer only coordinates";
  return fabrics_.empty() ? "" : "the peer has none";
}

/// Who reads this must know which machine it is about: "10.0.0.1:7000 says: ...".
std::string PathTransport::told_by_peer(const Path& path, std::string_view words) const {
  const auto name = path.fabric != nullptr ? path.fabric->name() : "";
  const auto named = path.connector && !name.empty() && words.starts_with(name) &&
                     words.substr(name.size()).starts_with(": ");
  if (named) words.remove_prefix(name.size() + 2);  // decline() names it
  return fmt::format("{} says: {}", tcp_->peer_of(path.id), words);
}

Fabric* PathTransport::find_fabric(std::string_view name) const {
  for (const auto& fabric : fabrics_)
    if (fabric->name() == name) return fabric.get();
  return nullptr;
}

Status PathTransport::say(Path& path, FrameKind kind, std::span<const std::byte> meta,
                          std::uint16_t flags) {
  FrameHeader header;
  header.kind = kind;
  header.flags = flags;
  return tcp_->send(path.id, header, meta, {}, {});
}

void PathTransport::warn(const Path& path, const std::string& why) {
  auto peer = tcp_->peer_of(path.id);
  if (peer.empty()) return;  // gone before its last words were read: nothing will be used
  if (!path.connector) peer.resize(std::min(peer.size(), peer.rfind(':')));  // always another port
  if (std::find(warned_.begin(), warned_.end(), peer) != warned_.end()) return;
  if (warned_.size() == kWarnedMax) warned_.clear();
  warned_.push_back(peer);
  log_warn("paths", "{}: {}", peer, printable(why));
}

// --- Both sides ----------------------------------------------------------------------------------

/// A deadline for what the peer has to say next.
bool PathTransport::on_connected(EndpointId endpoint, Event& event) {
  auto* path = find(endpoint);
  if (path == nullptr) return false;
  if (!tcp_->has_paths(endpoint)) {
    path->why = why_none(endpoint);
    return use_tcp(*path, event);
  }
  path->stage = Stage::wanting;
  path->deadline = std::min(path->connect_deadline, clock_.now() + try_timeout_);
  look_at(*path, path->deadline);
  return false;
}

bool PathTransport::on_accepted(EndpointId endpoint, Event& event) {
  auto& path = add_path(endpoint, Stage::offered);
  if (!tcp_->has_paths(endpoint)) {
    path.why = why_none(endpoint);
    return use_tcp(path, event);
  }
  // The connector decides, and its patience ends first.
  path.deadline = clock_.now() + 3 * try_timeout_;
  look_at(path, path.deadline);
  Offer offer;
  for (const auto& fabric : fabrics_)
    offer.cards.push_back({std::string(fabric->name()), fabric->offer()});
  if (!say(path, FrameKind::path_offer, encoded(offer, kOfferMax)).ok())
    return fail(path, event, Errc::peer_lost);
  return false;
}

bool PathTransport::on_path_frame(Path& path, Event& event, const Fabric* from) {
  const auto kind = event.frame.header.kind;
  // What had crossed a decline.
  const bool late =
      path.stage == Stage::tcp &&
      (kind == FrameKind::path_decline ||
       (path.connector && (kind == FrameKind::path_offer || kind == FrameKind::path_answer)));
  if (late && from == nullptr) return false;
  const bool over_link = from != nullptr && from == path.fabric && path.stage == Stage::trying;
  switch (kind) {
    case FrameKind::path_offer:
      if (from == nullptr && path.stage == Stage::wanting) return on_offer(path, event);
      break;
    case FrameKind::path_begin:
      if (from == nullptr && !path.connector &&
          (path.stage == Stage::offered || path.stage == Stage::trying))
        return on_begin(path, event);
      break;
    case FrameKind::path_answer:
      if (from == nullptr && path.stage == Stage::begun) return on_answer(path, event);
      break;
    case FrameKind::path_try:
      if (over_link) return on_try(path, event);
      break;
    case FrameKind::path_use:
      if (from != nullptr && from == path.fabric && !path.connector) return on_use(path, event);
      break;
    case FrameKind::path_decline:
      if (from == nullptr && path.stage != Stage::fabric) return on_decline(path, event);
      break;
    default:
      break;
  }
  return fail(path, event, Errc::protocol);
}

/// The endpoint is up without a link; `event` says so.
bool PathTransport::use_tcp(Path& path, Event& event) {
  if (fabric_required_ && !tcp_->is_control(path.id)) {
    warn(path, "only tcp leads there, and another transport is required (transports, require): " +
                   both(path.why, missing_));
    return fail(path, event, Errc::unavailable);
  }
  path.stage = Stage::tcp;
  path.control = tcp_->is_control(path.id);
  if (path.control) ++on_control_;
  event = {.kind = path.connector ? Event::Kind::connected : Event::Kind::accepted,
           .status = Errc::ok,
           .endpoint = path.id,
           .context = 0,
           .frame = {}};
  return true;
}

/// Its link is no more; `why` is kept for explain(), and returned with the fabric's name.
std::string PathTransport::give_up(Path& path, const std::string& why) {
  if (path.fabric == nullptr) {
    path.why = both(path.why, why).substr(0, kReasonMax);
    return why;
  }
  path.fabric->drop(path.id);
  return pass_over(path, *std::exchange(path.fabric, nullptr), why);
}

std::string PathTransport::pass_over(Path& path, const Fabric& fabric, const std::string& why) {
  auto reason = fmt::format("{}: {}", fabric.name(), why);
  path.why = both(path.why, reason).substr(0, kReasonMax);
  path.told |= fabric_bit(fabric);
  return reason;
}

Status PathTransport::say_no(Path& path, std::string_view why, std::uint16_t flags) {
  why = why.substr(0, kReasonMax);
  std::vector<std::byte> meta(why.size() + sizeof(std::uint32_t));
  Writer out(meta);
  out.put_string(why);
  return say(path, FrameKind::path_decline, meta, flags);
}

/// This link does not come to be. The connector begins the next; the acceptor says so, and waits
/// for what the connector does.
bool PathTransport::decline(Path& path, Event& event, const std::string& why) {
  const auto reason = give_up(path, why);
  path.amiss = true;
  if (path.stage == Stage::wanting) return settle_for_tcp(path, event);  // nothing was offered
  if (path.connector) return begin_next(path, event);
  path.stage = Stage::offered;
  if (!say_no(path, reason, current(path)).ok()) return fail(path, event, Errc::peer_lost);
  return false;
}

/// What the acceptor has and this process, which connected, has not.
std::string PathTransport::none_here(const Path& path) const {
  std::string text;
  for (const auto& card : path.offer)
    if (find_fabric(card.fabric) == nullptr)
      text = both(text, fmt::format("{}: none here", printable(card.fabric)));
  return text;
}

/// The connector has nothing (more) to begin: says so, with all reasons.
bool PathTransport::settle_for_tcp(Path& path, Event& event) {
  if (!fabric_required_ && path.amiss) warn(path, "tcp is used: " + path.why);
  const auto flags = path.amiss ? std::uint16_t{0} : kAsExpected;
  if (!say_no(path, both(path.why, none_here(path)), flags).ok())
    return fail(path, event, Errc::peer_lost);
  return use_tcp(path, event);
}

/// The connector's word is the last; the acceptor's is about the link that its flags number, which
/// the connector may have given up meanwhile.
bool PathTransport::on_decline(Path& path, Event& event) {
  Reader in(event.frame.meta);
  const auto why = printable(in.get_string(kReasonMax));
  if (!in.finish("decline").ok()) return fail(path, event, Errc::protocol);
  if (path.connector) {
    const auto number = event.frame.header.flags;
    if (path.stage != Stage::wanting && number >= path.attempts)
      return fail(path, event, Errc::protocol);
    if (path.stage != Stage::wanting && number != current(path)) return false;
    return decline(path, event, told_by_peer(path, why));
  }
  path.why = told_by_peer(path, why);
  if (path.fabric != nullptr) path.fabric->drop(path.id);
  path.fabric = nullptr;
  if (!fabric_required_ && event.frame.header.flags != kAsExpected)
    warn(path, "tcp is used: " + path.why);
  return use_tcp(path, event);
}

/// No link can be made: to go on without, if the peer did not talk nonsense.
bool PathTransport::no_link(Path& path, Event& event, const Error& error) {
  if (error.code == Errc::protocol) return fail(path, event, Errc::protocol);
  return decline(path, event, sentence_of(error));
}

/// The endpoint ends; whoever connected is told.
bool PathTransport::fail(Path& path, Event& event, Errc why) {
  event = {
      .kind = Event::Kind::closed, .status = why, .endpoint = path.id, .context = 0, .frame = {}};
  if (path.stage == Stage::fabric) {
    path.nonsense = true;
    path.fabric->lose(path.id, why);  // tells
    return false;
  }
  if (path.fabric != nullptr) path.fabric->drop(path.id);
  tcp_->close(path.id);
  const bool told = path.connector && path.stage != Stage::tcp;
  if (path.stage == Stage::tcp) farewells_.push_back(event);
  forget(path);
  return told;
}

/// The link carries frames both ways, as both sides know or are about to hear.
bool PathTransport::up(Path& path, Event& event) {
  path.stage = Stage::fabric;
  ++on_fabric_;
  for (const auto& [region, own] : regions_) path.untold.push_back(region);
  if (!tell_regions(path)) look_at(path, clock_.now() + kFullRetry);
  log_info("paths", "{} is reached over {}", tcp_->peer_of(path.id), path.fabric->explain(path.id));
  if (path.amiss) warn(path, fmt::format("{} is used: {}", path.fabric->name(), path.why));
  event = {.kind = path.connector ? Event::Kind::connected : Event::Kind::accepted,
           .status = Errc::ok,
           .endpoint = path.id,
           .context = 0,
           .frame = {}};
  return true;
}

// What is registered must be reachable by the time that the link is up.
Status PathTransport::expose_all(Path& path) {
  for (auto& [region, own] : regions_) SHOAL_TRY(expose(region, own, *path.fabric));
  return {};
}

Status PathTransport::try_link(Path& path) {
  const std::vector<std::byte> filler(path.fabric->try_bytes(path.id));
  const ConstMemoryView payload(filler.data(), filler.size());
  for (const auto lane : {Lane::message, Lane::bulk}) {
    FrameHeader header;
    header.kind = FrameKind::path_try;
    header.flags = static_cast<std::uint16_t>(lane);
    SHOAL_TRY(path.fabric->send(path.id, header, {}, {&payload, 1},
                                {.lane = lane, .copy_payload = true}));
  }
  return {};
}

// Lanes are not ordered among each other: whatever the connector says next has a path_use before it
// on its own lane.
bool PathTransport::on_try(Path& path, Event& event) {
  const auto lane = lane_bit(event.frame.header);
  if (lane == 0 || (path.lanes_tried & lane) != 0) return fail(path, event, Errc::protocol);
  path.lanes_tried |= lane;
  if (path.lanes_tried != kBothLanes) return false;
  if (!path.connector) {
    auto status = try_link(path);
    return !status.ok() && decline(path, event, status.error().message());
  }
  for (const auto use : {Lane::message, Lane::bulk}) {
    FrameHeader header;
    header.kind = FrameKind::path_use;
    header.flags = static_cast<std::uint16_t>(use);
    const auto status = path.fabric->send(path.id, header, {}, {}, {.lane = use});
    if (!status.ok()) return fail(path, event, status.code());
  }
  return up(path, event);
}

bool PathTransport::on_use(Path& path, Event& event) {
  const auto lane = lane_bit(event.frame.header);
  const bool due = path.stage == Stage::fabric ||
                   (path.stage == Stage::trying && path.lanes_tried == kBothLanes);
  if (!due || lane == 0 || (path.lanes_used & lane) != 0) return fail(path, event, Errc::protocol);
  path.lanes_used |= lane;
  return path.stage == Stage::trying && up(path, event);
}

// --- The connector -------------------------------------------------------------------------------

bool PathTransport::on_offer(Path& path, Event& event) {
  Reader in(event.frame.meta);
  auto offer = read_offer(in);
  if (!in.finish("offer of paths").ok()) return fail(path, event, Errc::protocol);
  path.offer = std::move(offer.cards);
  return begin_next(path, event);
}

/// The best fabric that both have and that has not been tried; half of the time that is left is
/// for it.
bool PathTransport::begin_next(Path& path, Event& event) {
  const auto skip = [&](const Fabric& fabric, const std::string& reason, bool amiss) {
    path.amiss = path.amiss || amiss;
    pass_over(path, fabric, reason);
  };
  while (path.next_fabric < fabrics_.size()) {
    auto& fabric = *fabrics_[path.next_fabric++];
    const auto at = std::find_if(path.offer.begin(), path.offer.end(),
                                 [&](const auto& card) { return card.fabric == fabric.name(); });
    if (at == path.offer.end()) {
      skip(fabric, "the peer has none", true);
      continue;
    }
    path.fabric = &fabric;
    auto ready = expose_all(path);
    auto card = ready.ok() ? fabric.begin(path.id, at->card) : std::move(ready).error();
    if (card.code() == Errc::protocol) return fail(path, event, Errc::protocol);
    if (!card.ok()) {
      path.fabric = nullptr;
      const bool amiss = card.code() != Errc::out_of_range;
      skip(fabric, amiss ? sentence_of(card.error()) : card.error().what, amiss);
      continue;
    }
    path.stage = Stage::begun;
    path.lanes_tried = 0;
    const auto now = clock_.now();
    path.deadline = now + std::min(try_timeout_, (path.connect_deadline - now) / 2);
    look_at(path, path.deadline);
    const NamedCard begun{std::string(fabric.name()), std::move(card).value()};
    if (!say(path, FrameKind::path_begin, encoded(begun, kOfferMax), path.attempts++).ok())
      return fail(path, event, Errc::peer_lost);
    return false;
  }
  return settle_for_tcp(path, event);
}

bool PathTransport::on_answer(Path& path, Event& event) {
  const auto number = event.frame.header.flags;
  if (number >= path.attempts) return fail(path, event, Errc::protocol);
  if (number != current(path)) return false;  // of a link that was given up
  Reader in(event.frame.meta);
  const auto answer = read_named_card(in);
  if (!in.finish("answer of a path").ok() || answer.fabric != path.fabric->name())
    return fail(path, event, Errc::protocol);
  auto status = path.fabric->finish(path.id, answer.card);
  if (status.ok()) status = try_link(path);
  if (!status.ok()) return no_link(path, event, status.error());
  path.stage = Stage::trying;
  return false;
}

// --- The acceptor --------------------------------------------------------------------------------

bool PathTransport::on_begin(Path& path, Event& event) {
  Reader in(event.frame.meta);
  const auto begun = read_named_card(in);
  auto* fabric = find_fabric(begun.fabric);
  const bool again = event.frame.header.flags < path.attempts;
  if (!in.finish("beginning of a path").ok() || fabric == nullptr || again)
    return fail(path, event, Errc::protocol);
  if (path.fabric != nullptr) give_up(path, "the peer, which connected, gave it up");
  path.fabric = fabric;
  path.attempts = static_cast<std::uint16_t>(event.frame.header.flags + 1);
  path.lanes_tried = 0;
  auto ready = expose_all(path);
  auto card = ready.ok() ? fabric->answer(path.id, begun.card) : std::move(ready).error();
  if (!card.ok()) return no_link(path, event, card.error());
  path.stage = Stage::trying;
  const NamedCard answer{begun.fabric, std::move(card).value()};
  if (!say(path, FrameKind::path_answer, encoded(answer, kOfferMax), current(path)).ok())
    return fail(path, event, Errc::peer_lost);
  return false;
}

}  // namespace shoal::paths
