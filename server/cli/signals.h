#pragma once

#include <csignal>

namespace shoal::cli {

/// The signals that ask this process to end: SIGTERM, and of SIGINT and SIGHUP those that it was
/// not started to ignore, as nohup(1) and the `&` of a shell without job control have it. To be
/// blocked and waited for; a blocked signal comes to who waits even where it is ignored.
sigset_t ending_signals();

}  // namespace shoal::cli
