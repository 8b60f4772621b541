#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/clock.h"

// Every depth and threshold of the TCP backend: why this value, and what breaks beyond it.

namespace shoal::tcp {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// --- Strangers -----------------------------------------------------------------------------------

/// Connections that have not proved the token yet. One holds a descriptor and some 600 bytes; a
/// legal one leaves within a round trip. More would let strangers eat the descriptors that peers
/// need.
inline constexpr std::size_t kHandshakesMax = 256;
/// When all are taken, the oldest gives way once it is this old; until then newcomers wait in the
/// kernel's backlog. Shorter cuts off honest peers on a loaded machine; longer lets a flood hold
/// the door shut for (backlog / kHandshakesMax) times as long.
inline constexpr Duration kHandshakeGrace = milliseconds(100);
/// A connection that has not proved itself, or whose second lane has not come, is dropped after
/// this.
inline constexpr Duration kHandshakeDeadline = seconds(5);
/// Connections accepted in one poll: a flood may not hold up the loop's own messages for longer
/// than about 32 x 10 us.
inline constexpr int kAcceptsPerPoll = 32;
/// The kernel clips it to net.core.somaxconn. A whole cluster's workers may come in one moment.
inline constexpr int kListenBacklog = 4096;
/// After accept() failed for want of descriptors or memory the listener rests this long: the
/// connection stays in the backlog and would make poll() spin.
inline constexpr Duration kAcceptRest = milliseconds(100);
/// Warnings about strangers, at most one in this time: a scanner may not fill the disk.
inline constexpr Duration kWarningInterval = seconds(5);
/// An error about a peer that a session tries again and again, at most one in this time, with the
/// number of tries since the last; and of so many peers at a time.
inline constexpr Duration kComplaintInterval = seconds(60);
inline constexpr std::size_t kComplaintsMax = 256;

// --- Receiving -----------------------------------------------------------------------------------

/// A connection's receive buffer for messages. Holds a full eager payload (64 KiB) and a tail, so
/// that a frame is moved at most once; only touched pages become resident. Larger frames (a view of
/// the cluster) make it grow up to FrameLimits.
inline constexpr std::size_t kReceiveBytes = 128u << 10;
/// A grown buffer is given back after this many turns without a large frame: giving back at once
/// would allocate for each of a run of large frames.
inline constexpr std::uint32_t kShrinkTurns = 256;
/// Room behind a bulk frame for the next ones' headers, so that one system call receives the rest
/// of a segment and what tells where the next one goes. What else falls into it is copied once
/// more: 4 KiB is 1.6 % of a segment, and lets 30 small writes arrive with one call.
inline constexpr std::size_t kAheadBytes = 4u << 10;
/// Where the bytes of a write into a revoked region go.
inline constexpr std::size_t kDiscardBytes = 64u << 10;

// --- Sending -------------------------------------------------------------------------------------

/// Frames queued on a message lane, or operations on a bulk lane. Above what the sessions' credits
/// allow in flight (hundreds); beyond it the peer has not read for long: overloaded.
inline constexpr std::size_t kQueuedMax = 4096;
/// Bytes copied into one lane's queue. The largest message (1 MiB of meta, 64 KiB copied payload)
/// fits several times.
inline constexpr std::size_t kStagedMax = 4u << 20;
/// READs under way to one peer, and how many of a peer we keep: a peer with more breaks the
/// protocol.
inline constexpr std::size_t kReadsMax = 4096;
/// Payload of one bulk frame: a segment. Frames of a read's answer and of writes take turns by
/// frames, and a half-sent frame of a revoked source costs the connection; smaller frames cost
/// throughput.
inline constexpr std::size_t kSegmentBytesMax = 256u << 10;
/// Scatter/gather entries in one call. The kernel takes 1024 (UIO_MAXIOV); 64 small frames already
/// fill a segment-sized write with some 100 bytes each, and contiguous ones are merged.
inline constexpr std::size_t kIovecsMax = 64;

// --- Taking turns --------------------------------------------------------------------------------

/// Bytes that one system call takes of a message lane's queue. Those of a bulk socket's turn are
/// an option (TcpOptions::bulk_turn_bytes), within these bounds: smaller turns are all overhead,
/// and larger ones than a connection's buffers hold end early.
inline constexpr std::size_t kMessageTurnBytes = 512u << 10;
inline constexpr std::size_t kBulkTurnBytesMin = 4u << 10;
inline constexpr std::size_t kBulkTurnBytesMax = 16u << 20;
/// Bulk sockets that get a turn in one poll: bounds what a message waits behind, whatever the
/// number of peers. epoll hands out ready sockets in rotation, so all get theirs.
inline constexpr int kBulkSocketsPerTurn = 4;
/// Message sockets looked at per epoll_wait.
inline constexpr int kMessageSocketsPerTurn = 128;
/// Message sockets that a spinning poll tries directly, without epoll: a recv that finds nothing
/// costs about what an epoll_wait costs, so more than two direct tries are slower than asking.
inline constexpr std::size_t kHotSockets = 2;
/// Messages of one hot socket after which another that has brought none is one no longer.
inline constexpr std::uint32_t kHotSilence = 16;
/// Messages in a row that spinning polls find on a hot socket, before epoll stops to watch it: what
/// the kernel does for epoll takes 4 % of a round trip of 8 bytes on the loopback interface.
inline constexpr std::uint32_t kHotStreak = 64;
/// How often a poll tries them if the last one found nothing: the next message will come there.
inline constexpr int kIdleTries = 4;
/// How long a spinning poll that finds nothing on its hot sockets goes without looking at the
/// others.
inline constexpr Duration kLookAround = microseconds(4);
/// The same while hot sockets do bring messages: others may wait this much longer.
inline constexpr Duration kLookAroundBusy = microseconds(50);

// --- Tables --------------------------------------------------------------------------------------

inline constexpr unsigned kRegionIndexBits = 20;
/// Regions registered at a time. The other 44 bits of a region's name are its generation.
inline constexpr std::size_t kRegionsMax = std::size_t{1} << kRegionIndexBits;
inline constexpr unsigned kEndpointIndexBits = 20;
/// Endpoints at a time; each has two descriptors, and the kernel's limit may come first. A
/// scheduler has two of each node (kNodesMax), and those of who asks for the status.
inline constexpr std::size_t kEndpointsMax = 65536;
/// Addresses of one host name that a connect tries in turn (localhost is ::1 and 127.0.0.1).
inline constexpr std::size_t kAddressesMax = 4;

}  // namespace shoal::tcp
