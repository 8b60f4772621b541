#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace shoal {

/// The closed list of ways in which an operation can fail. The numbers travel on the wire and never
/// change their meaning; new ones are appended.
enum class Errc : std::uint16_t {
  ok = 0,                ///< Only inside wire results and completions; an Error never holds it.
  invalid_argument = 1,  ///< The caller passed something that can never work.
  unknown_name = 2,      ///< No table, node, option, rule ... of this name or id.
  out_of_range = 3,      ///< A key, row or index lies outside its table.
  mismatch = 4,          ///< Two descriptions of one thing differ (dtype, width, rule, count).
  unavailable = 5,       ///< Hardware, library or feature is not there.
  overloaded = 6,        ///< A bounded queue, pool or quota is full. Try again later.
  timed_out = 7,         ///< The deadline passed. A push may have been applied, at most once.
  cancelled = 8,         ///< Confirmed: it did not happen and never will.
  partly_applied = 9,    ///< A cancelled push of which some parts had been applied already.
  peer_lost = 10,        ///< The peer does not answer, or broke off. A push: as timed_out.
  slot_lost = 11,        ///< The only server of a slot is gone, and the slot's data with it.
  stale_view = 12,       ///< The sender's cluster view is older than the receiver's.
  fenced = 13,           ///< This worker was cut off from the roster; it must join anew.
  needs_tick = 14,       ///< Only this worker's own tick() could let the operation finish.
  gap = 15,              ///< A push arrived ahead of one that the server has not accepted.
  send_keys = 16,        ///< Reserved: a key list whose keys cannot be READ is not known.
  refused = 17,          ///< A join is refused for good, or the peer's port refuses connections.
  protocol = 18,         ///< The peer sent bytes that no correct peer sends.
  version = 19,          ///< The peer speaks another version of the wire protocol.
  registration = 20,     ///< Memory could not be registered with a transport.
  revoked = 21,          ///< The region is revoked, or was never there.
  closed = 22,           ///< The object or connection was closed by its owner.
  io = 23,               ///< A file or socket operation failed; `native` is its errno.
  exists = 24,           ///< Something of this name is already there.
  corrupt = 25,          ///< A checksum does not match.
  not_ready = 26,        ///< The cluster is not complete yet (first roster, restart).
  no_memory = 27,        ///< Memory, or the memory budget, does not suffice.
  unchanged = 28,        ///< The puller already has this version.
  untrusted = 29,        ///< The two ends of a connection do not know the same cluster token.
};

/// The name that messages and logs print, for example "slot_lost".
std::string_view name_of(Errc code) noexcept;

/// Why an operation failed: the kind, a sentence for the user (what was tried, on what, what to
/// do), and the code of the system or library underneath (errno, ibv status), 0 if there was none.
struct Error {
  Errc code = Errc::invalid_argument;
  std::string what;
  int native = 0;

  /// One line for a person: "what (code: strerror)".
  std::string message() const;

  friend bool operator==(const Error&, const Error&) = default;
};

}  // namespace shoal
