#!/bin/sh
# What mlp_cuda says to what it cannot take, and short trainings on Fashion-MNIST in the ways in which
# it can be started.
#   mlp_cuda_test.sh MLP_CUDA SHOAL
set -eu
mlp_cuda=$1 shoal=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fail() {
  echo "mlp_cuda_test: $*" >&2
  for file in *; do [ ! -f "$file" ] || { echo "--- $file" >&2; cat "$file" >&2; }; done
  exit 1
}
# The exit code, and what the complaint begins with.
refused() {
  wanted=$1 complaint=$2
  shift 2
  code=0
  "$mlp_cuda" "$@" >out 2>err </dev/null || code=$?
  [ "$code" -eq "$wanted" ] || fail "$*: exit code $code"
  case "$(cat err)" in "mlp_cuda: $complaint"*) ;; *) fail "$*: another complaint" ;; esac
}
refused 2 "there is no option --epochz (did you mean '--epochs'?); see --help" --epochz 3
refused 2 "'more' is not expected here; see --help" more
refused 2 "--epochs needs a value; see --help" --epochs
refused 2 "--json takes no value; see --help" --json=1
for value in 0 -1 1.5 many 99999999999; do
  refused 2 "--epochs: expected a whole number from 1 to 100000, found '$value'; see --help" \
    --epochs=$value
done
for value in 0 -1 nan inf x; do
  refused 2 "--learning-rate: expected a number above 0, below 1e6, found '$value'" \
    --learning-rate $value
done
refused 2 "--momentum: expected a number from 0, below 1, found '1'" --momentum 1
refused 2 "--hidden: expected up to 16 whole numbers from 1 to 65536, as in 256,128, found '3,'" \
  --hidden 3,
refused 2 "--update: expected sgd, momentum or adam, found 'ftrl'" --update ftrl
refused 2 "--local trains alone; leave out --workers" --local --workers 2
refused 1 "there is no $dir/train-images-idx3-ubyte.gz: install Debian's package" --data "$dir"
"$mlp_cuda" --help >out && grep -q '^  --device NAME' out || fail "no help"

[ -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] ||
  { echo "dataset-fashion-mnist is not installed"; exit 77; }
refused 1 "--device 'gpu': expected cpu, or a GPU as in cuda:0" --device gpu
# A GPU that is not there: why, whatever is missing.
refused 1 "" --device cuda:999 --local
grep -q '(unavailable)$' err || fail "no reason why there is no GPU"

accuracy() { sed -n 's/^.*"test_accuracy": \([0-9.]*\).*$/\1/p' "$1"; }
learnt() { awk -v a="$(accuracy "$1")" 'BEGIN { exit !(a > 0.7 && a < 1) }' || fail "$1: learnt nothing"; }
short="--images 6400 --epochs 2 --batch 64 --hidden 64,32 --evaluate-every 0 --json"
"$mlp_cuda" $short --local >local 2>err || fail "--local"
learnt local
if grep -q communication local; then fail "communication without a server"; fi
"$mlp_cuda" $short --staleness 0 >lockstep 2>err || fail "in lockstep"
learnt lockstep
[ "$(accuracy local)" = "$(accuracy lockstep)" ] || fail "in lockstep it is another training"
"$mlp_cuda" $short --workers 2 --servers 2 >stale 2>err || fail "two workers"
learnt stale
grep -q '"workers": 2,.*"communication_hidden": [01]\.' stale || fail "figures are missing"
"$shoal" run --servers 1 --workers 2 --log-level warn -- "$mlp_cuda" $short >run 2>err ||
  fail "in a cluster"
learnt run
[ "$(grep -c test_accuracy run)" -eq 1 ] || fail "not one result"
