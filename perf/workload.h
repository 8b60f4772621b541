#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/result.h"

namespace shoal::perf {

inline constexpr double kBytesPerMiB = 1024.0 * 1024.0;

/// What is measured. The first three are the transport's own; the others are a worker's, with a
/// scheduler and a server in the other process.
enum class Op : std::uint8_t { send, read, write, push, pull, push_pull, onesided };
inline constexpr std::uint8_t kOpCount = 7;

std::string_view name_of(Op op);
/// Errors: unknown_name, with the nearest.
Result<Op> parse_op(std::string_view text);
inline bool is_table_op(Op op) { return op >= Op::push; }
/// The largest operation: a message is bounded by the wire format, the rest by patience.
std::size_t bytes_max(Op op);

/// What a process does while it waits for the other side.
enum class Wait : std::uint8_t { spin, block };

/// The name that reports print and options take.
std::string_view name_of(Wait wait);
std::string_view name_of(Config::Progress progress);
Result<Wait> parse_wait(std::string_view text);

/// The `spin` option that makes a loop wait so: longer than any pause within a run, or not at all.
/// Bounded, so that what is left idle falls asleep.
Duration spin_of(Wait wait);

/// Operations under way that fill a fast path without queueing for long: 64 small ones, and about
/// 8 MiB of large ones, at least two.
std::uint32_t default_inflight(std::size_t bytes);

/// How many buffers of `bytes` a run goes round: 64 MiB of large ones, so that no cache holds them
/// all; of small ones at most 4096; at least `inflight`.
std::size_t ring_size(std::size_t bytes, std::uint32_t inflight);

}  // namespace shoal::perf
