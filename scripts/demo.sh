#!/bin/sh
# Trains a sparse model on real text in a local cluster. Arguments go to sparse_lr:
#   scripts/demo.sh --l1 0.5 --epochs 10
set -eu
cd "$(dirname "$0")/.."
scripts/packages.sh build demo
if [ ! -f build/release/build.ninja ]; then
  cmake --preset release -DCMAKE_CXX_COMPILER_LAUNCHER=ccache >build-release.log 2>&1 || {
    cat build-release.log >&2
    exit 1
  }
  rm -f build-release.log
fi
cmake --build --preset release --target shoal sparse_lr
exec examples/sparse_lr/demo.sh build/release "$@"
