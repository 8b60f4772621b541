#!/bin/sh
# The rows of scripts/bench.sh that need an RDMA device, on a machine that has none: in a guest with a
# soft-RoCE device (see docs/design/soft_roce.md), whose speed says something only beside that of the
# raw tools there. Arguments go to the suite.
set -eu
cd "$(dirname "$0")/.."
scripts/packages.sh rdma
scripts/build_release.sh shoal_bench
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
exec scripts/soft_roce_vm.sh --timeout 1800 --memory 3072 \
  build/release/perf/shoal_bench --commit "$commit" --only '^verbs/' "$@"
