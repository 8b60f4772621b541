#!/bin/sh
# Installs what is missing, builds everything, runs every test. Arguments go to ctest:
#   scripts/test.sh -R session
set -eu
cd "$(dirname "$0")/.."
scripts/packages.sh build test
cmake --preset dev -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
cmake --build --preset dev
exec ctest --preset dev --parallel 2 "$@"
