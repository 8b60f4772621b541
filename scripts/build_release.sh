#!/bin/sh
# Builds programs for speed in build/release, and says nothing unless that fails:
#   scripts/build_release.sh TARGET...
set -eu
cd "$(dirname "$0")/.."
scripts/packages.sh build
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ [ -f build/release/build.ninja ] || cmake --preset release -DCMAKE_CXX_COMPILER_LAUNCHER=ccache; } \
  >"$log" 2>&1 && cmake --build --preset release --target "$@" >"$log" 2>&1 || {
  cat "$log" >&2
  exit 1
}
