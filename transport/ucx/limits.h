#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/base/clock.h"
#include "transport/transport.h"

// Every depth and threshold of the UCX backend: why this value, and what breaks beyond it.

namespace shoal::ucx {

// --- What UCX is told ----------------------------------------------------------------------------

/// As UCX_TLS, unless the user says otherwise. Over TCP Shoal itself is faster than UCX
/// (docs/decisions/0008-ucx-by-active-messages.md); of the two kinds of shared memory one is
/// enough, as each takes megabytes per link; and nothing here uses those that read another
/// process's memory.
inline constexpr const char* kTransports = "^tcp,sysv,cma,knem,xpmem";
/// The data of one packet; with UCX's own header and ours it fills one of the buffers that
/// kSettings ask for. One that does not fit is cut by UCX, put together again in memory that is
/// allocated for it, and copied once more. With 8 KiB half as much moves a second.
inline constexpr std::size_t kPacketBytes = (32u << 10) - 256;
static_assert(kPacketBytes * 3 / 2 <= Transport::kCopyMax, "the frame that tries a link is copied");
/// The same over what is neither shared memory nor TCP, whose buffers stay as they are: an
/// adapter's have 8256 bytes, and hundreds are made.
inline constexpr std::size_t kSmallPacketBytes = 8000;
/// A frame of so many bytes goes as one piece of memory: UCX puts that into an entry of its queue
/// in shared memory, where other data take a buffer as well, which is 0.1 us each way.
inline constexpr std::size_t kSmallFrame = 440;
/// As options of UCX (`ucx_info -c -f`), without the names of transports. What a version of UCX
/// does not know it ignores: links are slower then, or none.
inline constexpr std::array<std::pair<const char*, const char*>, 8> kSettings{{
    // Else an endpoint that has to survive its peer does not use shared memory.
    {"MM_ERROR_HANDLING", "y"},
    {"MM_SEG_SIZE", "32k"},
    // A queue's entry, of which there are 64: room for kSmallFrame.
    {"MM_FIFO_ELEM_SIZE", "512"},
    // Buffers are made at so many a time: the 64 of a queue and some to spare, not 512.
    {"MM_RX_BUFS_GROW", "80"},
    {"TX_SEG_SIZE", "32k"},
    // The receive queue of an adapter, one or two in each link. With UCX's own 4096, meant for many
    // peers, a link pins 76 MB, with these 18, and takes four times as long to make.
    {"IB_RX_QUEUE_LEN", "512"},
    // What the one peer sends unasked fits into it: no packet is turned away, and waits to be sent
    // again.
    {"RC_FC_WND_SIZE", "256"},
    // And buffers to send from, made at so many a time: not 1024.
    {"IB_TX_BUFS_GROW", "64"},
}};

// --- Links ---------------------------------------------------------------------------------------

/// Each has a worker of its own: kLinkDescriptors, 2.6 MB of shared memory, and 40 ns
/// of each turn of a poll.
/// Peers beyond it are reached over TCP.
inline constexpr std::size_t kLinksMax = 64;
/// Descriptors of one worker, by counting those of 1.13.1 over `posix`. A link is not made where it
/// would leave the process's own sockets and files less than half of RLIMIT_NOFILE.
inline constexpr std::size_t kLinkDescriptors = 8;
/// What a link pins where UCX has RDMA devices, by measuring 1.13.1 over `rc_verbs` with the
/// kSettings above. Where the process may not pin as much, UCX's own attempts take minutes.
inline constexpr std::size_t kLinkPins = 18u << 20;
/// So many have to be free for a link, or for UCX's first steps, and its own thread: where UCX gets
/// none it ends the process.
inline constexpr std::size_t kDescriptorsFree = 16;
/// For UCX to let go of the last links when a fabric ends, before their workers are left behind.
inline constexpr Duration kBurial = std::chrono::milliseconds(200);

// --- Shared pages --------------------------------------------------------------------------------

/// Smaller memory is not worth a descriptor and a mapping in every peer.
inline constexpr std::size_t kSharedMin = 256u << 10;
/// Each takes a descriptor, of the usual 1024.
inline constexpr std::size_t kSharedMax = 256;
/// Smaller READs and WRITEs go by packets: there the second copy costs less than the gate.
inline constexpr std::size_t kCopiedMin = 16u << 10;
/// Copied at once, some 25 us: messages wait for so long, and so many pages at most are replaced
/// when a peer is stopped meanwhile.
inline constexpr std::size_t kCopyBytes = 256u << 10;
/// How long an owner that bars a peer waits for it to come out: one whose core is another's for a
/// while is not stopped yet.
inline constexpr Duration kInsideMax = std::chrono::milliseconds(5);

// --- Sending -------------------------------------------------------------------------------------

/// Packets that UCX has taken and not sent: what is under way where a message wants to pass, at
/// most. Fewer, and UCX runs dry between two polls.
inline constexpr std::size_t kWindow = 16;
/// Of one link in one poll, so that the others have their turn.
inline constexpr std::size_t kTurnBytes = 1u << 20;
/// Copied frames of one lane, not yet taken by UCX: eight of the largest (2 MiB). Only who sends
/// that much at once has it.
inline constexpr std::size_t kStagedMax = 16u << 20;
/// Operations queued, by lane: as TCP's queue.
inline constexpr std::size_t kQueuedMax = 4096;
/// UCX cannot say when a queue in shared memory has room again. A peer that has taken nothing for
/// so long has stopped, and is looked at so often: until then whoever waits for it is kept awake.
inline constexpr Duration kStalled = std::chrono::milliseconds(1);
/// READs of one link under way. A peer that asks for more loses its link.
inline constexpr std::size_t kReadsMax = 1024;

// --- Receiving -----------------------------------------------------------------------------------

/// Turns of a link's worker in one poll; each brings up to sixteen packets.
inline constexpr int kTurns = 16;
/// Turns in which nothing came, of all links together, after which a poll gives up. A turn takes
/// 40 ns and a poll with all that is around it 200: what comes meanwhile waits for the next.
inline constexpr std::size_t kIdleTurns = 16;

}  // namespace shoal::ucx
