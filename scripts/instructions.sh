#!/bin/sh
# Instructions that a push or pull of the eager path takes, worker and server together, without the
# kernel's: counted by callgrind, so no load or clock speed changes them.
#   scripts/instructions.sh [--record]
# Prints each operation beside what perf/bench/instructions.txt holds, and fails if one takes over
# 10 % more. --record writes the file anew. Counts are of one compiler and one set of libraries:
# Debian 12's. See docs/performance.md.
set -eu
cd "$(dirname "$0")/.."
case "${1:-}" in
  "" | --record) ;;
  *) echo "usage: scripts/instructions.sh [--record]" >&2; exit 2 ;;
esac
command -v valgrind >/dev/null || scripts/packages.sh bench
log=$(mktemp)
trap 'rm -f "$log" "$log.new"' EXIT
scripts/build_release.sh shoal_instructions
program=build/release/perf/shoal_instructions
recorded=perf/bench/instructions.txt
operations=200
worse=0
printf '%-20s %12s %12s %8s\n' operation instructions recorded change
: >"$log.new"
for name in $($program); do
  valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
    --toggle-collect='shoal::perf::counted_operations*' $program "$name" $operations \
    >"$log" 2>&1 || {
    [ $? -ne 77 ] || { grep '^shoal_instructions' "$log"; continue; }
    cat "$log" >&2
    exit 1
  }
  each=$(awk -v n=$operations '/Collected/ { printf "%d", $NF / n }' "$log")
  before=$(awk -v name="$name" '$1 == name { print $2 }' $recorded)
  echo "$name $each" >>"$log.new"
  awk -v name="$name" -v now="$each" -v then="${before:-0}" 'BEGIN {
    change = then > 0 ? sprintf("%+.1f %%", (now / then - 1) * 100) : "new"
    printf "%-20s %12d %12d %8s\n", name, now, then, change
    exit then > 0 && now > 1.1 * then
  }' || worse=1
done
if [ "${1:-}" = --record ]; then
  cp "$log.new" $recorded
elif [ $worse -ne 0 ]; then
  echo "instructions.sh: more than 10 % beyond the record; if it has to be, --record says so" >&2
  exit 1
fi
