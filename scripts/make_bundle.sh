#!/bin/sh
# Packs what Shoal is built from, but for compilers and CMake, for a machine without network and root:
# a GPU node behind an air gap, say. Run it on a Debian 12 that reaches its mirror; carry the file
# over, put it beside the sources, and run scripts/gpu_check.sh there, or build with
#   tar -xf shoal-bundle.tar.xz && cmake -B build -DCMAKE_PREFIX_PATH=$PWD/shoal-bundle/usr
#   scripts/make_bundle.sh [FILE]        FILE: shoal-bundle.tar.xz
set -eu
case "${1:-}" in -*) echo "usage: scripts/make_bundle.sh [FILE]" >&2; exit 2 ;; esac
file=$(realpath -m "${1:-shoal-bundle.tar.xz}")
# Libraries to build with, and those that the programs then load.
packages="libfmt-dev libspdlog-dev libcli11-dev libtomlplusplus-dev nlohmann-json3-dev libxxhash-dev
          libssl-dev zlib1g-dev libgtest-dev libbenchmark-dev
          libfmt9 libspdlog1.10 libxxhash0 libssl3 zlib1g libbenchmark1debian"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/debs" "$work/shoal-bundle"
for package in $packages; do
  (cd "$work/debs" && apt-get download "$package" >"$work/log" 2>&1) || {
    tail -n 5 "$work/log" >&2
    echo "make_bundle.sh: '$package' could not be had: it takes Debian 12 (bookworm), its mirror, and" >&2
    echo "package lists ('apt-get update')" >&2
    exit 1
  }
done
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/shoal-bundle"; done
rm -rf "$work/shoal-bundle/usr/share/doc" "$work/shoal-bundle/usr/share/man"
tar -C "$work" -cJf "$file" shoal-bundle
echo "$file: $(du -k "$file" | cut -f1) KiB"
