#!/bin/sh
# Runs the benchmark suite of two commits in turn and says what changed beyond the noise:
#   scripts/bench_compare.sh A B [--rounds N] [arguments of the suite, as --only REGEX]
# Each commit is built in a worktree of its own, removed at the end. Each round (5) runs every row
# once with A and once with B, so that a machine that gets slower or faster changes both alike.
set -eu
usage() {
  sed -n '2,3s/^# //p' "$0" >&2
  exit 2
}
[ $# -ge 2 ] || usage
cd "$(dirname "$0")/.."
a=$1 b=$2 rounds=5
shift 2
if [ "${1:-}" = --rounds ]; then
  [ $# -ge 2 ] || usage
  rounds=$2
  shift 2
fi
case $rounds in '' | *[!0-9]* | 0) usage ;; esac

command -v git >/dev/null || {
  echo "bench_compare.sh: git is needed, to build two commits: apt-get install git" >&2
  exit 1
}
scripts/packages.sh build
work=$(mktemp -d)
cleanup() {
  for side in a b; do
    [ ! -e "$work/$side" ] || git worktree remove --force "$work/$side"
  done
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

build() {  # build SIDE COMMIT
  git rev-parse --verify --quiet "$2^{commit}" >/dev/null || {
    echo "bench_compare.sh: '$2' is no commit of this repository" >&2
    exit 2
  }
  echo "building $2"
  { git worktree add --detach "$work/$1" "$2" && cd "$work/$1" &&
    cmake --preset release -DCMAKE_CXX_COMPILER_LAUNCHER=ccache &&
    cmake --build --preset release --target shoal_bench; } >"$work/$1.log" 2>&1 || {
    tail -n 20 "$work/$1.log" >&2
    echo "bench_compare.sh: cannot build the suite of $2 (is the commit older than the suite?)" >&2
    exit 1
  }
}
# In subshells, for their change of directory.
(build a "$a")
(build b "$b")

round=1
while [ "$round" -le "$rounds" ]; do
  echo "round $round of $rounds"
  for side in a b; do
    "$work/$side/build/release/perf/shoal_bench" "$@" --runs 1 --json "$work/$side.$round.json" \
      >"$work/$side.out" || {
      cat "$work/$side.out" >&2
      exit 1
    }
  done
  round=$((round + 1))
done
/usr/bin/python3 scripts/bench_compare.py "$a" "$b" "$work"/a.*.json -- "$work"/b.*.json
