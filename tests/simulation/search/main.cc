// Searches seeds of the simulated cluster for broken invariants, for as long as one has time:
//   search --seconds 7200 --jobs 2
//   search --seed 1234 --verbose          replays one
//   search --mutation forget_last         shows that the search can find faults
// Exits 1 with the first broken seeds. See docs/design/simulation.md.

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/log.h"
#include "tests/simulation/cluster.h"

namespace {

using shoal::simulation::Mutation;

struct Options {
  std::uint64_t first = 1;
  std::uint64_t count = 1000;
  double seconds = 0;  ///< 0: by count
  int jobs = 1;
  bool verbose = false;
  Mutation mutation;
};

int usage() {
  std::fprintf(stderr,
               "usage: search [--first N] [--count N | --seconds S] [--jobs N]\n"
               "              [--seed N] [--verbose]\n"
               "              [--mutation report_clock_early|join_at_global_clock|forget_last\n"
               "                          |read_unchecked]\n");
  return 2;
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--verbose") {
      options.verbose = true;
      continue;
    }
    if (++i == argc) return false;
    const std::string value = argv[i];
    if (name == "--first") {
      options.first = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--count") {
      options.count = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--seconds") {
      options.seconds = std::strtod(value.c_str(), nullptr);
    } else if (name == "--jobs") {
      options.jobs = std::atoi(value.c_str());
    } else if (name == "--seed") {
      options.first = std::strtoull(value.c_str(), nullptr, 10);
      options.count = 1;
    } else if (name == "--mutation" && value == "report_clock_early") {
      options.mutation.report_clock_early = true;
    } else if (name == "--mutation" && value == "join_at_global_clock") {
      options.mutation.join_at_global_clock = true;
    } else if (name == "--mutation" && value == "forget_last") {
      options.mutation.forget_last = true;
    } else if (name == "--mutation" && value == "read_unchecked") {
      options.mutation.read_unchecked = true;
    } else {
      return false;
    }
  }
  return options.jobs > 0;
}

/// Every jobs-th seed from `job` on. Stops at the first broken one.
int search(const Options& options, int job) {
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::uint64_t seeds = 0, events = 0, pushes = 0, pulls = 0, read = 0, again = 0;
  int status = 0;
  for (auto seed = options.first + static_cast<std::uint64_t>(job);;
       seed += static_cast<std::uint64_t>(options.jobs)) {
    if (options.seconds > 0 ? elapsed() > options.seconds : seed >= options.first + options.count)
      break;
    const auto outcome = shoal::simulation::run_seed(seed, options.mutation, options.verbose);
    ++seeds;
    events += outcome.events;
    pushes += outcome.pushes_applied;
    pulls += outcome.pulls_answered;
    read += outcome.shares_read;
    again += outcome.segments_again;
    if (outcome.violations.empty()) continue;
    std::printf("seed %llu is broken:\n", static_cast<unsigned long long>(seed));
    for (const auto& violation : outcome.violations) std::printf("  %s\n", violation.c_str());
    status = 1;
    break;
  }
  std::printf(
      "%llu seeds, %llu events, %llu pushes applied, %llu pulls answered (%llu shares READ, "
      "%llu segments again), %.0f s\n",
      static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(events),
      static_cast<unsigned long long>(pushes), static_cast<unsigned long long>(pulls),
      static_cast<unsigned long long>(read), static_cast<unsigned long long>(again), elapsed());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) return usage();
  shoal::set_log_level(options.verbose ? shoal::LogLevel::info : shoal::LogLevel::off);
  if (options.jobs == 1) return search(options, 0);
  std::vector<pid_t> children;
  for (int job = 0; job < options.jobs; ++job) {
    const auto child = ::fork();
    if (child == 0) {
      const int status = search(options, job);
      std::fflush(stdout);
      ::_exit(status);
    }
    children.push_back(child);
  }
  int worst = 0;
  for (const auto child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) worst = 1;
  }
  return worst;
}
