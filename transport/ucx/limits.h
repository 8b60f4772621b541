#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/base/clock.h"

// Every depth and threshold of the UCX backend: why this value, and what breaks beyond it.

namespace shoal::ucx {

// --- What UCX is told ----------------------------------------------------------------------------

/// Of the two kinds of shared memory one is enough, and each takes a megabyte per link; nothing
/// here uses the ones that read another process's memory.
inline constexpr const char* kTransports = "^sysv,cma,knem,xpmem";
/// One packet, with UCX's own header and ours, in UCX's buffers: a packet that does not fit is cut
/// by UCX, put together again, and copied twice more on the way.
inline constexpr std::size_t kSegmentBytes = 32u << 10;
inline constexpr std::size_t kSegmentReserve = 256;
inline constexpr std::size_t kPacketBytes = kSegmentBytes - kSegmentReserve;
/// As options of UCX (`ucx_info -c -f`).
inline constexpr std::array<std::pair<const char*, const char*>, 4> kSettings{{
    // Else an endpoint that has to survive its peer does not use shared memory.
    {"MM_ERROR_HANDLING", "y"},
    {"MM_SEG_SIZE", "32k"},
    // Buffers are made at so many a time: the 64 of a queue and some to spare, not 512.
    {"MM_RX_BUFS_GROW", "80"},
    {"TCP_TX_SEG_SIZE", "32k"},
}};

// --- Links ---------------------------------------------------------------------------------------

/// Each has a worker of its own: some ten descriptors and 3 MiB of shared memory.
inline constexpr std::size_t kLinksMax = 128;
/// Of one that is given to UCX's care to be closed, before its worker is left behind.
inline constexpr Duration kBurial = std::chrono::milliseconds(200);

// --- Sending -------------------------------------------------------------------------------------

/// Packets that UCX has taken and not sent: what is under way where a message wants to pass, at
/// most. Fewer, and UCX runs dry between two polls.
inline constexpr std::size_t kWindow = 16;
/// Of one link in one poll, so that the others have their turn.
inline constexpr std::size_t kTurnBytes = 1u << 20;
/// Copied frames of one lane, not yet taken by UCX: as TCP's queue.
inline constexpr std::size_t kStagedMax = 4u << 20;
/// Operations queued, by lane: as TCP's queue.
inline constexpr std::size_t kQueuedMax = 4096;
/// READs of one link under way. A peer that asks for more loses its link.
inline constexpr std::size_t kReadsMax = 1024;

// --- Receiving -----------------------------------------------------------------------------------

/// Turns of a link's worker in one poll; each brings up to sixteen packets.
inline constexpr int kTurns = 16;

}  // namespace shoal::ucx
