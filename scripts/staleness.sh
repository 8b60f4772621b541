#!/bin/sh
# What staleness is worth where workers are slowed: trains the demonstration's model at staleness 0 to 16
# while one of its two workers is slowed at any moment, and shows how long a worker waits. Leaves the table
# and a picture in demo-output/. See docs/performance.md.
#   scripts/staleness.sh [--runs N]
set -eu
cd "$(dirname "$0")/.."
. scripts/demo_data.sh
# As where a network lies between; in shared memory there is little to wait for.
export SHOAL_TRANSPORTS="${SHOAL_TRANSPORTS:-tcp}"
"$python3" examples/sparse_lr/staleness.py build/release/server/cli/shoal \
  build/release/examples/sparse_lr/sparse_lr demo-output/train.svm \
  --csv demo-output/staleness.csv --png demo-output/staleness.png "$@"
