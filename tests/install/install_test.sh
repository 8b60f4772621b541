#!/bin/sh
# Installs a build tree into an empty folder, and builds and runs user.cc against that alone.
#   install_test.sh BUILD_DIR COMPILER SANITIZERS
set -eu
build=$1 compiler=$2 sanitize=${3:+-fsanitize=$3}
here=$(cd "$(dirname "$0")" && pwd)
examples=$here/../../examples
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/root" >"$work/log" || { cat "$work/log"; exit 1; }
"$work/root/bin/shoal" info

# By the CMake package.
mkdir "$work/package"
cp "$here/user.cc" "$work/package"
cat >"$work/package/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES CXX)
find_package(shoal REQUIRED)
add_executable(user user.cc)
target_link_libraries(user PRIVATE shoal::worker shoal::local)
add_library(lion MODULE examples/custom_update/plugin.cc)
set_target_properties(lion PROPERTIES PREFIX "")
target_include_directories(lion PRIVATE .)
target_link_libraries(lion PRIVATE shoal::rules)
END
mkdir -p "$work/package/examples"
cp -R "$examples/custom_update" "$work/package/examples"
cmake -S "$work/package" -B "$work/package/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/root" \
  -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_CXX_FLAGS="$sanitize" >"$work/log" 2>&1 &&
  cmake --build "$work/package/build" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$work/package/build/user"
"$work/root/bin/shoal" info --plugin "$work/package/build/lion.so" >"$work/log"
grep -q lion "$work/log" || { echo "the plugin's rule is not known:"; cat "$work/log"; exit 1; }
for option in -ffp-contract=off -fno-math-errno -fno-trapping-math; do
  grep -q -e "FLAGS.*$option" "$work/package/build/build.ninja" ||
    { echo "shoal::rules lacks $option"; exit 1; }
done

# By pkg-config, which has to be told of the folder and finds the rest by itself.
PKG_CONFIG_PATH=$(dirname "$(find "$work/root" -name shoal.pc)")
export PKG_CONFIG_PATH
# shellcheck disable=SC2046,SC2086
"$compiler" -std=c++20 $sanitize $(pkg-config --cflags shoal) -o "$work/user" "$here/user.cc" \
  $(pkg-config --libs shoal)
"$work/user"
