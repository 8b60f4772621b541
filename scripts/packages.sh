#!/bin/sh
# The one list of Debian 12 packages that Shoal needs, and a way to install what is missing.
#   scripts/packages.sh build|demo|test|bench|rdma|ci ...
set -eu

build="g++ cmake make ninja-build ccache pkg-config libfmt-dev libspdlog-dev libcli11-dev
       libtomlplusplus-dev nlohmann-json3-dev libxxhash-dev libssl-dev zlib1g-dev
       libibverbs-dev libucx-dev"
demo="bible-kjv dataset-fashion-mnist python3-minimal libpython3-stdlib gnuplot-nox"
test="libgtest-dev python3-minimal libpython3-stdlib liblinear-tools bible-kjv dataset-fashion-mnist procps"
bench="libbenchmark-dev valgrind ucx-utils perftest"
# Verbs and UCX to build against, and the guest that has a device: scripts/soft_roce_vm.sh.
rdma="libibverbs-dev libucx-dev ibverbs-providers ibverbs-utils perftest
      ucx-utils qemu-system-x86 busybox-static cpio kmod iproute2 xz-utils"
ci="clang-14 clang-format-14 clang-tidy-14 clang-tools-14 libclang-rt-14-dev llvm-14 git"

wanted=""
for group in "$@"; do
  case "$group" in
    build) wanted="$wanted $build" ;;
    demo) wanted="$wanted $demo" ;;
    test) wanted="$wanted $test" ;;
    bench) wanted="$wanted $bench" ;;
    rdma) wanted="$wanted $rdma" ;;
    ci) wanted="$wanted $ci" ;;
    *)
      echo "packages.sh: '$group' is not a group: expected build, demo, test, bench, rdma or ci" >&2
      exit 2
      ;;
  esac
done

missing=""
for package in $wanted; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || {
    echo "packages.sh: these Debian packages are missing, and there is neither root nor sudo to" >&2
    echo "install them:$missing" >&2
    exit 1
  }
  sudo="sudo"
fi
echo "Installing from Debian:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $missing; } \
  >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "packages.sh: apt-get failed; Shoal is built and tested on Debian 12 (bookworm)" >&2
  exit 1
fi
