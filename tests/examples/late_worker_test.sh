#!/bin/sh
# A worker that joins a training under way: it is told why it cannot take part, and the others go on.
#   late_worker_test.sh SHOAL SPARSE_LR
set -eu
shoal=$1 sparse_lr=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
for i in 1 2 3 4 5 6 7 8; do printf '1 1:1 3:%d\n-1 2:1 4:%d\n' $i $i; done >train.svm
mkfifo progress
# Worker 0 tells of each pass through a pipe that holds only some of them, so it cannot end before
# the late worker has.
cat >worker.sh <<'END'
[ "$SHOAL_NAME" = "worker 0" ] || exec "$1" --train train.svm --epochs 1000
"$1" --train train.svm --epochs 1000 --evaluate-every 1 --model model 2>progress &
worker=$!
{
  read -r line
  code=0
  SHOAL_NAME=late "$1" --train train.svm --epochs 1000 >late 2>&1 || code=$?
  echo "exit code $code" >>late
  cat >rest
} <progress
wait $worker
END
code=0
"$shoal" run --servers 2 --workers 2 --log-level warn -- sh worker.sh "$sparse_lr" >out 2>err ||
  code=$?

fail() { echo "late_worker_test: $*" >&2; cat out err late >&2; exit 1; }
[ $code -eq 0 ] || fail "exit code $code"
grep -q "^sparse_lr: this worker joined a training that has begun" late || fail "no reason is given"
grep -q "^exit code 1$" late || fail "the late worker's exit code"
grep -q "^\[worker 0\]   model  *model$" out || fail "the others did not go on"
[ -s model ] || fail "the model was not written"
