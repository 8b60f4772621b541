#!/bin/sh
# Builds Shoal for speed and runs the benchmark suite: every row in turn with raw sockets, UCX's or
# perftest's tools, or a loop by hand, that do the same. Arguments go to the suite:
#   scripts/bench.sh --only 'pull/8B' --json results.json
#   scripts/bench.sh --list       the rows and their goals
#   scripts/bench.sh --smoke      every row once and briefly, no verdicts
# The whole suite takes some minutes; let nothing else run beside it. See docs/performance.md.
set -eu
cd "$(dirname "$0")/.."
scripts/build_release.sh shoal_bench
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
build/release/perf/shoal_bench --commit "$commit" "$@"
