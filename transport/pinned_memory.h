#pragma once

#include <cstdint>
#include <optional>
#include <string>

// How much memory devices may pin for this process. Private to transport/.

namespace shoal {

/// What this process may lock, and so have pinned, in bytes (RLIMIT_MEMLOCK of getrlimit(2)).
/// Nothing: as much as there is.
std::optional<std::uint64_t> lock_limit();

/// As the kernel applies it where this thread registers memory: not with CAP_IPC_LOCK
/// (capabilities(7)).
std::optional<std::uint64_t> pin_limit();

/// What devices have pinned for this process, in bytes (VmPin of proc(5)).
std::uint64_t pinned_bytes();

/// "this process may lock 64 KiB of memory: raise that with ...".
std::string about_lock_limit(std::uint64_t limit);

}  // namespace shoal
