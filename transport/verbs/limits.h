#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/clock.h"

// Every depth and threshold of the verbs backend: why this value, and what breaks beyond it.

namespace shoal::verbs {

// --- Receiving -----------------------------------------------------------------------------------

/// A receive buffer. Frames up to this are used where they arrived, larger ones arrive in as many
/// pieces and are put together by a copy. Twice the largest packet: a frame with a small eager
/// payload fits.
inline constexpr std::size_t kReceiveBytes = 8u << 10;
/// Receive buffers made at a time, in one registration: 1 MiB, half a huge page. What is locked
/// counts for a limit that is often 8 MiB, and a process may have one peer on each of four ports.
inline constexpr std::size_t kReceivesPerSlab = 128;
/// Receive buffers that a link adds to a device's shared receive queue: all that a session's
/// credits let a peer send at once, twice. Fewer, and a burst is held back by the network's
/// receiver-not-ready timer.
inline constexpr std::size_t kReceivesPerLink = 128;
/// Of a device: 4096 hold 32 MiB. With more peers than 32 that send all they may at the same
/// moment, the receiver-not-ready timer holds some back.
inline constexpr std::size_t kReceivesMax = 4096;
/// More buffers, in place of those that are lost. A pair that ends while a message is half there
/// keeps its receive: some devices give it back, soft-RoCE does not, so
/// each connection that breaks may cost two. With this many lost while others live a device takes
/// no new links (peers use TCP); when its last link ends it gets all of them back.
inline constexpr std::size_t kReceivesLostMax = 2048;
/// Completions taken from a queue at a time.
inline constexpr int kCompletionsPerPoll = 16;

// --- Registering ---------------------------------------------------------------------------------

/// Memory whose pages several threads fault in before it is registered. Below that starting them
/// costs about what they save.
inline constexpr std::size_t kPopulateBytes = 8u << 20;
/// What a thread takes at a time: a few milliseconds' work, whole huge pages.
inline constexpr std::size_t kPopulatePiece = 4u << 20;
/// The kernel clears pages at the speed of memory, which a few cores use up.
inline constexpr unsigned kPopulateThreads = 8;

// --- Sending -------------------------------------------------------------------------------------

/// Work requests on a pair: of messages, a burst of a session's credits with answers of several
/// pieces; of bulk, some 256 MiB under way.
inline constexpr std::uint32_t kMessageDepth = 256;
inline constexpr std::uint32_t kBulkDepth = 256;
inline constexpr std::uint32_t kReadDepth = 128;
inline constexpr std::uint32_t kLinkDepth = kMessageDepth + kBulkDepth + kReadDepth;
/// Links that share a completion queue: so that one has room for all that can come at once
/// (all receives and kLinksPerQueue * kLinkDepth entries: 26 624), which soft-RoCE's 32 767 allow.
inline constexpr std::size_t kLinksPerQueue = 32;
/// One work request in so many asks for a completion, if nobody waits for one before: a completion
/// costs both the device and the CPU about as much as a small message.
inline constexpr std::uint32_t kSignalEvery = 32;
/// Work requests posted with one doorbell.
inline constexpr std::size_t kBatchMax = 32;
/// Asked for as inline data, halved until the device grants it. More than a cache line or four
/// costs more to copy than the device's own fetch takes.
inline constexpr std::uint32_t kInlineBytes = 256;
/// Copied frames, of one lane, not yet acknowledged. Grows from the first to the second by
/// doubling, so only who sends that much at once has it; 16 MiB hold eight of the largest frames (2
/// MiB).
inline constexpr std::size_t kStagedMin = 64u << 10;
inline constexpr std::size_t kStagedMax = 16u << 20;
/// Operations queued beyond those that the device has: as TCP's queue.
inline constexpr std::size_t kQueuedMax = 4096;
/// One READ or WRITE: what is under way to memory that goes, or to a peer that does, is at most
/// this much each. Larger ones save nothing.
inline constexpr std::size_t kPieceBytes = 1u << 20;
/// The same of memory that is not registered, and so goes through memory that is.
inline constexpr std::size_t kBounceBytes = 128u << 10;
inline constexpr std::size_t kBounceMax = 1u << 20;

// --- Several ports -------------------------------------------------------------------------------

/// A further pair of ports carries a strand if its addresses have at most so many leading bits less
/// in common than the home's: hosts of one network, or of networks of one kind, whose addresses end
/// differently.
inline constexpr int kStrandBits = 16;
/// A transfer is split into parts of at least this, one for each strand: a part costs a request and
/// a completion, some 0.2 us each, which is a tenth of what 128 KiB take at 400 Gbit/s.
inline constexpr std::size_t kPartBytes = 128u << 10;
/// A transfer of less stays on the home strand, where the frame behind it needs no token.
inline constexpr std::size_t kHomeBytes = 64u << 10;
/// Frames whose tokens have not come, of one link: some of each of a session's credits.
inline constexpr std::size_t kHeldBytesMax = 64u << 20;
/// A port that brought nothing of a link that was tried, or whose requests were not acknowledged,
/// is passed over for so long if there is another: as long as operators take to look.
inline constexpr Duration kSuspectFor = std::chrono::seconds(30);

// --- Reliability ---------------------------------------------------------------------------------

/// InfiniBand Architecture Specification, volume 1, 9.7.6.1.3: 4.096 us * 2^this without an
/// acknowledgement, then again, kRetries times: 0.5 s and 4 s. Who dies is noticed sooner, by the
/// connection that the link stands beside. 7 retries never end on soft-RoCE.
inline constexpr std::uint8_t kAckTimeout = 17;
inline constexpr std::uint8_t kRetries = 6;
/// Wait for receive buffers as long as it takes: only deadlines of messages know how long that is.
inline constexpr std::uint8_t kRetriesNotReady = 7;
/// 0.06 ms (the encoding of 9.7.5.2.8): receive buffers come back at the next poll.
inline constexpr std::uint8_t kNotReadyTimer = 5;
inline constexpr std::uint8_t kHopLimit = 64;

/// How often a device is asked for news (a port that went down, a pair in error) while nobody
/// waits.
inline constexpr Duration kDeviceNews = std::chrono::milliseconds(10);

}  // namespace shoal::verbs
