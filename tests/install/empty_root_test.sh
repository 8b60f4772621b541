#!/bin/sh
# Runs the program where nothing is but the libraries that it is linked with: no library of a backend,
# no /proc, no /sys, no /dev. It starts, says what is missing, and moves rows over TCP.
#   empty_root_test.sh SHOAL [BACKEND...]: those that it was built with
# Exits with 77 where this user cannot have a root of its own.
set -eu
program=$1
shift
built=$*
root=$(mktemp -d)
listener=
trap 'test -z "$listener" || kill "$listener" || true; rm -rf "$root"' EXIT

enter() {
  # In the place of a shell's child, so that a signal reaches the program.
  if [ "$(id -u)" = 0 ]; then exec chroot "$root" "$@"; else exec unshare -r chroot "$root" "$@"; fi
}

cp "$program" "$root/shoal"
for library in $(ldd "$program" | grep -o '/[^ ]*'); do
  case $library in
    *ibverbs* | *rdmacm* | *libucp*) echo "linked with $library"; exit 1 ;;
  esac
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done

if ! (enter /shoal --help) >"$root/log" 2>&1; then
  cat "$root/log"
  if grep -q 'not permitted' "$root/log"; then exit 77; fi
  exit 1
fi
(enter /shoal info) >"$root/log"
cat "$root/log"
grep -q '^  tcp    yes$' "$root/log"
misses() {  # misses BACKEND LIBRARY PACKAGE: it is said which, or that the build was without it
  case " $built " in
    *" $1 "*) why="$2: cannot open shared object file: " ;;
    *) why="built without $3" ;;
  esac
  grep -q "^  $1 *no: $why" "$root/log" || { echo "$1: not 'no: $why'"; exit 1; }
}
misses ucx libucp.so.0 libucx-dev
misses verbs libibverbs.so.1 libibverbs-dev

(umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$root/token")
enter /shoal perf --listen 127.0.0.1:0 --token-file /token >"$root/listening" 2>&1 &
listener=$!
until grep -qs 'listening at' "$root/listening"; do
  kill -0 "$listener" || { cat "$root/listening"; exit 1; }
  sleep 0.1
done
address=$(sed -n 's/.*listening at \([0-9.:]*\);.*/\1/p' "$root/listening")
(enter /shoal perf "$address" --token-file /token --op push,pull --size 8,64KiB --iterations 100 --check)
