#!/bin/sh
# For a machine with an NVIDIA GPU: builds from nothing, runs all tests and benchmark rows that need
# one, and writes a report. No network, no root; what is missing there besides compilers, CMake and
# CUDA comes from shoal-bundle.tar.xz beside the sources (scripts/make_bundle.sh).
#   scripts/gpu_check.sh [--json FILE] [--smoke]
#     --json FILE   the report (perf/results/GPU-DATE.json)
#     --smoke       rows once and briefly, no report: does it run at all?
set -eu
cd "$(dirname "$0")/.."
usage() { sed -n 's/^#   //p' "$0" >&2; exit 2; }
json="" smoke=""
while [ $# -gt 0 ]; do
  case "$1" in
    --json) [ $# -ge 2 ] || usage; json=$2; shift 2 ;;
    --smoke) smoke=--smoke; shift ;;
    *) usage ;;
  esac
done

command -v nvidia-smi >/dev/null && gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1) &&
  [ -n "$gpu" ] || {
  echo "gpu_check.sh: no GPU here: nvidia-smi finds none. What needs no GPU, scripts/test.sh tests." >&2
  exit 1
}
start=$(date +%s)
rm -rf build/gpu
mkdir -p build
if [ -e shoal-bundle.tar.xz ]; then
  mkdir -p build/gpu
  tar -C build/gpu -xf shoal-bundle.tar.xz
  bundle=$PWD/build/gpu/shoal-bundle/usr
  export LD_LIBRARY_PATH="$bundle/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  set -- "-DCMAKE_PREFIX_PATH=$bundle"
fi
generator=""
command -v ninja >/dev/null && generator=-GNinja
cmake -S . -B build/gpu $generator -DCMAKE_BUILD_TYPE=Release -DSHOAL_BUILD_TESTS=ON \
  -DSHOAL_BUILD_EXAMPLES=ON -DSHOAL_WITH_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=native "$@" >build/gpu.log ||
  { tail -n 30 build/gpu.log; exit 1; }
cmake --build build/gpu --parallel "$(nproc)" --target cuda_test group_test shoal_bench mlp_cuda >>build/gpu.log ||
  { tail -n 60 build/gpu.log; exit 1; }
echo "built in $(($(date +%s) - start)) s; $gpu"
build/gpu/tests/cuda_test --gtest_brief=1
build/gpu/tests/group_test --gtest_brief=1
commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
if [ -n "$smoke" ]; then
  build/gpu/perf/shoal_bench --only '^cuda/' --smoke
else
  [ -n "$json" ] || json=perf/results/$(echo "$gpu" | tr 'A-Z ' 'a-z-')-$(date +%F).json
  mkdir -p "$(dirname "$json")"
  build/gpu/perf/shoal_bench --commit "$commit" --only '^cuda/' --json "$json"
  echo "$json"
fi
echo "gpu_check.sh: $(($(date +%s) - start)) s in all"
