#!/bin/sh
# What sparse_lr leaves when its outputs cannot be written, and when they would destroy something.
#   outputs_test.sh SPARSE_LR
set -eu
sparse_lr=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir refuge
TMPDIR=$dir/refuge
export TMPDIR
printf '1 1:1\n-1 2:1\n1 1:2\n-1 2:2 3:1\n' >ok.svm
cp ok.svm copy.svm
ln -s /dev/full full

fail() { echo "outputs_test: $*" >&2; cat out err >&2; exit 1; }
# Six lines above three weights.
is_model() { grep -q '^nr_feature 3$' "$1" && [ "$(wc -l <"$1")" -eq 9 ]; }
run() {
  code=0
  "$sparse_lr" --train ok.svm --epochs 2 "$@" >out 2>err </dev/null || code=$?
}

run --model model --csv csv
[ $code -eq 0 ] && is_model model && [ -s csv ] || fail "a plain run: $code"
# A pass pulls and pushes three weights at least, and looking at it is traffic too.
awk -F, 'NR > 1 { if ($7 < 24 * $1 || $7 <= last) exit 1; last = $7 }' csv ||
  fail "traffic that was not: $(cat csv)"
[ "$(grep -c '^epoch ' err)" -eq 2 ] || fail "not a line a pass"
if grep -q ' 0 examples/s\| moved 0 B' err; then fail "figures from before the pass"; fi
grep -q '^  model  *model$' out || fail "the model is not in the table"

run --model ok.svm
[ $code -ne 0 ] && cmp -s ok.svm copy.svm || fail "the training data was overwritten: $code"
grep -q -e '--model ok.svm and --train ok.svm' err || fail "the options are not named"

# A device that takes nothing: the model goes elsewhere, over nothing that is there.
echo precious >refuge/full
run --model full
[ $code -eq 1 ] || fail "a model that cannot be written: $code"
[ -L full ] && [ -c full ] || fail "the link was replaced"
is_model refuge/full.1 || fail "the model was not saved"
[ "$(cat refuge/full)" = precious ] || fail "a file was overwritten by the saved model"
grep -q "cannot write full; the model is in $dir/refuge/full.1 instead" err || fail "no error"
if grep -q '^  model  *full$' out; then fail "the table names a file that is not there"; fi

run --csv full --model model2
[ $code -eq 1 ] && is_model model2 || fail "a table that cannot be written: $code"
grep -q 'cannot write full' err || fail "no error"
if grep -q '^  CSV' out; then fail "the table names a file that is not there"; fi

if command -v gnuplot >/dev/null; then
  run --curve full
  [ $code -eq 1 ] && grep -q 'cannot write full' err || fail "a curve without room: $code"
  run --curve "it's a curve.png"
  [ $code -eq 0 ] && [ -s "it's a curve.png" ] || fail "a curve: $code"
fi
[ -z "$(find . -name '.sparse_lr-*')" ] || fail "temporary files are left"
