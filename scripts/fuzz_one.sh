#!/bin/sh
# Runs one libFuzzer target for so many seconds, from its seeds in tests/fuzz/seeds if it has any.
#   scripts/fuzz_one.sh TARGET SECONDS [SEED]
# The same SEED tries the same inputs in the same order; without one, others each time.
set -eu
name=$(basename "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seeds=$(dirname "$0")/../tests/fuzz/seeds/$name
[ -d "$seeds" ] || seeds=""
if "$1" -max_total_time="$2" -seed="${3:-0}" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
  -artifact_prefix="$work/" "$work" $seeds >"$work.log" 2>&1; then
  printf '%-24s %s\n' "$name" "$(grep -a 'Done' "$work.log" | tail -n 1)"
  rm -f "$work.log"
else
  tail -n 60 "$work.log" >&2
  for found in "$work"/crash-* "$work"/timeout-* "$work"/oom-*; do
    [ -f "$found" ] && { echo "input that broke $name, base64:" >&2; base64 "$found" >&2; }
  done
  rm -f "$work.log"
  exit 1
fi
