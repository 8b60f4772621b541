#pragma once

#include <cstdint>
#include <memory>

#include "core/base/result.h"
#include "perf/messages.h"
#include "perf/peer_link.h"
#include "perf/ring.h"
#include "perf/window.h"
#include "transport/attachment.h"

namespace shoal::perf {

struct TransportPattern {
  Op op = Op::send;
  Wait wait = Wait::spin;
  std::size_t bytes = 8;
  std::uint32_t inflight = 1;
  /// The peer does the same to us, operation by operation: for `send` and `write` it echoes.
  bool both_ways = false;
  bool check = false;
  /// Of `write`, one way: the peer is told of each, and answers. Else an operation ends as soon as
  /// its source may be reused, as with ib_write_bw.
  bool told = true;
};

/// Messages, READs and WRITEs between this process and its Peer, with no protocol above. Every
/// operation ends when the peer's answer has come (a READ: its bytes).
class TransportLoad {
 public:
  /// Takes memory on both sides. `link` outlives it. Errors: those of PeerLink,
  /// registration.
  static Result<std::unique_ptr<TransportLoad>> create(PeerLink& link,
                                                       const TransportPattern& pattern);
  Result<Measured> run(const Limits& limits, Recorder& recorder);
  /// Whether every byte that came to either side is right. Errors: corrupt.
  Status check();

 private:
  TransportLoad(PeerLink& link, const TransportPattern& pattern)
      : link_(link),
        pattern_(pattern),
        source_(pattern.bytes, pattern.inflight, true),
        target_(pattern.bytes, pattern.inflight, false) {}
  Status begin();
  Status issue(std::uint64_t i);
  Status finish(std::uint64_t i);
  Status tell(Verb verb, std::uint64_t i, ConstMemoryView payload, Lane lane);
  Status on_event(const Event& event);
  bool untold() const { return pattern_.op == Op::write && !pattern_.told && !pattern_.both_ways; }
  bool ended(std::uint64_t i) const {
    if (untold()) return written_ > i;
    if (pattern_.op != Op::read) return answered_ > i;
    return read_ > i && (!pattern_.both_ways || answered_ > i);
  }

  PeerLink& link_;
  TransportPattern pattern_;
  Ring source_, target_;
  Attachment source_attached_, target_attached_;
  Region region_;  // goes before its memory
  RemoteSpan remote_{};
  PeerLink::Handler handler_;
  std::uint64_t answered_ = 0, read_ = 0, written_ = 0, echoes_wrong_ = 0;
};

}  // namespace shoal::perf
