#include "perf/transport_load.h"

#include <fmt/core.h>

namespace shoal::perf {

namespace {

/// Payloads up to this size are copied into the send queue, as the protocols above do.
constexpr std::size_t kCopiedBytes = 1024;

}  // namespace

Result<std::unique_ptr<TransportLoad>> TransportLoad::create(PeerLink& link,
                                                             const TransportPattern& pattern) {
  std::unique_ptr<TransportLoad> load(new TransportLoad(link, pattern));
  SHOAL_TRY(load->begin());
  return load;
}

Status TransportLoad::begin() {
  // What the peer reads from, or writes its echoes to.
  const bool read = pattern_.op == Op::read;
  SHOAL_ASSIGN(source_attached_, Attachment::create(link_.transport(), source_.memory()));
  SHOAL_ASSIGN(target_attached_, Attachment::create(link_.transport(), target_.memory()));
  SHOAL_ASSIGN(region_, link_.transport().register_memory((read ? source_ : target_).memory(),
                                                          read ? Access::read : Access::write));
  const Begin begin{pattern_.op,    pattern_.wait,     pattern_.both_ways, pattern_.check,
                    pattern_.bytes, pattern_.inflight, region_.remote()};
  SHOAL_ASSIGN(const auto meta,
               link_.ask(Verb::begin, Verb::ready, [&](Writer& out) { encode(out, begin); }));
  Reader in(meta);
  remote_ = in.get<RemoteSpan>();
  SHOAL_TRY(in.finish("name of the peer's memory"));
  if (remote_.bytes != source_.memory().bytes)
    return Error{Errc::protocol, "the peer's memory is not as large as ours"};
  handler_ = [this](const Event& event) { return on_event(event); };
  return {};
}

Result<Measured> TransportLoad::run(const Limits& limits, Recorder& recorder) {
  answered_ = read_ = written_ = 0;
  return run_window(
      link_.clock(), limits, pattern_.inflight, pattern_.bytes * (pattern_.both_ways ? 2 : 1),
      recorder, [this](std::uint64_t i) { return issue(i); },
      [this](std::uint64_t i) { return finish(i); });
}

Status TransportLoad::tell(Verb verb, std::uint64_t i, ConstMemoryView payload, Lane lane) {
  FrameHeader header;
  header.kind = FrameKind::call;
  header.flags = static_cast<std::uint16_t>(verb);
  header.request = RequestId(i);
  const auto views = std::span(&payload, payload.bytes == 0 ? 0u : 1u);
  return link_.transport().send(link_.endpoint(), header, {}, views,
                                {.lane = lane, .copy_payload = payload.bytes <= kCopiedBytes});
}

Status TransportLoad::issue(std::uint64_t i) {
  auto& transport = link_.transport();
  const auto remote = remote_.sub(source_.offset(i), pattern_.bytes);
  switch (pattern_.op) {
    case Op::write:
      SHOAL_TRY(transport.write(link_.endpoint(), source_.at(i), remote, 1));
      if (untold()) return {};
      return tell(Verb::written, i, {}, Lane::bulk);
    case Op::read:
      SHOAL_TRY(transport.read(link_.endpoint(), target_.at(i), remote, 1));
      return pattern_.both_ways ? tell(Verb::fetch, i, {}, Lane::message) : Status();
    default:
      return tell(Verb::message, i, source_.at(i), Lane::message);
  }
}

Status TransportLoad::finish(std::uint64_t i) {
  while (!ended(i)) SHOAL_TRY(link_.turn(pattern_.wait, handler_));
  return {};
}

Status TransportLoad::on_event(const Event& event) {
  if (event.kind == Event::Kind::read_done) {
    ++read_;
  } else if (event.kind == Event::Kind::write_done) {
    ++written_;
  } else if (event.kind == Event::Kind::message &&
             static_cast<Verb>(event.frame.header.flags) == Verb::answer) {
    const auto& payload = event.frame.payload;
    if (pattern_.check && pattern_.op == Op::send && pattern_.both_ways &&
        (payload.size() != pattern_.bytes || !has_pattern(payload, source_.index(answered_))))
      ++echoes_wrong_;
    answered_ += event.frame.header.credits;
  }
  return {};
}

Status TransportLoad::check() {
  SHOAL_ASSIGN(const auto meta, link_.ask(Verb::check, Verb::checked, [](Writer&) {}));
  Reader in(meta);
  const auto theirs = in.get<std::uint64_t>();
  SHOAL_TRY(in.finish("the peer's verdict"));
  std::uint64_t ours = echoes_wrong_;
  if (pattern_.op == Op::read) ours += target_.wrong(read_);
  if (pattern_.op == Op::write && pattern_.both_ways) ours += target_.wrong(answered_);
  if (ours + theirs == 0) return {};
  return Error{Errc::corrupt,
               fmt::format("{} of {} bytes: {} buffers here and {} at the peer hold wrong bytes",
                           name_of(pattern_.op), pattern_.bytes, ours, theirs)};
}

}  // namespace shoal::perf
