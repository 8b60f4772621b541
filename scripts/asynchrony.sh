#!/bin/sh
# What computing while bytes move, and keeping key lists, are worth: trains the demonstration's model in turn
# as it is and without either. See docs/performance.md.
#   scripts/asynchrony.sh [--runs N]
set -eu
cd "$(dirname "$0")/.."
. scripts/demo_data.sh
# As where a network lies between; in shared memory there is little to wait for.
export SHOAL_TRANSPORTS="${SHOAL_TRANSPORTS:-tcp}"
"$python3" examples/sparse_lr/asynchrony.py build/release/server/cli/shoal \
  build/release/examples/sparse_lr/sparse_lr demo-output/train.svm "$@"
