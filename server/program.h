#pragma once

#include "core/ops/rule_set.h"

namespace shoal {

/// The program `shoal`, whole: run, scheduler, server, status, perf, info, with the update rules
/// given. A server binary with rules of one's own is one line:
///
///     int main(int argc, char** argv) {
///       return shoal::run_program(argc, argv, shoal::RuleSet::builtin().add<Lion>());
///     }
///
/// Returns the exit code: 0, 1 for a failure, 2 for a wrong command line; `run` has codes of its
/// own. In the library shoal::cli. Owns the process: signals, standard streams, log.
int run_program(int argc, char** argv, const RuleSet& rules);

}  // namespace shoal
