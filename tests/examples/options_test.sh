#!/bin/sh
# What sparse_lr says to options and files that it cannot take.
#   options_test.sh SPARSE_LR
set -eu
sparse_lr=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
printf '1 1:1\n-1 2:1\n' >ok.svm
: >empty.svm
# The exit code, and all of the complaint.
refused() {
  wanted=$1 complaint=$2
  shift 2
  code=0
  said=$("$sparse_lr" --train ok.svm "$@" 2>&1 </dev/null) || code=$?
  [ "$code" -eq "$wanted" ] && [ "$said" = "sparse_lr: $complaint" ] && return
  echo "options_test: $*: exit code $code, said: $said" >&2
  exit 1
}
for value in nan -1 inf 1e999 abc 1x; do
  refused 2 "--l1: expected a finite number, 0 or more, found '$value'; see --help" "--l1=$value"
done
for value in abc 0 -1 1.5 99999999999999999999; do
  refused 2 "--epochs: expected a whole number from 1 to 16777216, found '$value'; see --help" \
    "--epochs=$value"
done
refused 2 "--alpha: expected a number above 0, at most 1e6, found '0'; see --help" --alpha 0
refused 2 "there is no option --epochz (did you mean '--epochs'?); see --help" --epochz 3
refused 2 "there is no option --epochz (did you mean '--epochs'?); see --help" --epochz=3 more
refused 2 "there is no option --quite-another; see --help" --quite-another
refused 2 "'more' is not expected here; see --help" --epochs 3 more --epochz
refused 2 "--epochs 2049 is too many for minibatches, which raise each penalty with every pass: at \
most 2048 of them" --epochs 2049 --l1 1 --l2 1
refused 2 "--epochs 4097 is too many for minibatches, which raise each penalty with every pass: at \
most 4096 of them" --epochs 4097 --l1 1 --l2 0
refused 1 "empty.svm: expected libsvm lines ('label index:value ...'), found no example \
(invalid_argument)" --test empty.svm
# Alone and in lockstep every pull sees all pushes, whenever it was made.
for i in 1 2 3 4 5 6 7 8; do printf '1 1:1 %d:.5\n-1 2:1 %d:.25\n' $((i + 2)) $((i + 3)); done >more.svm
for batch in 0 2; do
  for how in "" --synchronous; do
    "$sparse_lr" --train more.svm --batch $batch --staleness 0 --l1 .1 --epochs 3 $how \
      --model "model$how" >out 2>&1 && grep -q '^  waited  *[0-9.]* %$' out || { cat out; exit 1; }
  done
  cmp model model--synchronous
done
printf '1 1:1\n' >one_class.svm
"$sparse_lr" --train ok.svm --epochs 1 --test one_class.svm >out 2>&1 &&
  grep -q '^  held-out AUC  *- (one class only)$' out || { cat out; exit 1; }
"$sparse_lr" --train ok.svm --epochs 1 --l1 0 --l2 +1e-3 --alpha .5 >out 2>&1 ||
  { cat out; exit 1; }
