#!/bin/sh
# A worker that is killed while others go on: who is left writes the results, and says what they
# lack.
#   lost_worker_test.sh SHOAL SPARSE_LR VICTIM    (0 or 1)
set -eu
shoal=$1 sparse_lr=$2 victim=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
for i in 1 2 3 4 5 6 7 8; do printf '1 1:1 3:%d\n-1 2:1 4:%d\n' $i $i; done >train.svm
mkfifo progress began gone
# Worker 0 tells of each pass through a pipe that holds only some of them, so it cannot end before
# worker 1 is killed. Worker 1 is killed after a pass of worker 0.
cat >worker.sh <<'END'
train() { exec "$1" --train train.svm --epochs 1000 --evaluate-every 1 --model model --csv csv; }
case $SHOAL_NAME in
  "worker 0")
    train "$1" 2>progress &
    worker=$!
    {
      read -r line
      echo "$line" >first
      if [ "$2" = 0 ]; then
        kill -9 $worker
      else
        echo now >began
        read -r word <gone
      fi
      cat >rest
    } <progress
    wait $worker
    ;;
  *)
    [ "$2" = 1 ] || train "$1"
    train "$1" &
    worker=$!
    read -r word <began
    kill -9 $worker
    code=0
    wait $worker || code=$?
    echo now >gone
    exit $code
    ;;
esac
END
code=0
"$shoal" run --servers 2 --workers 2 --keep-going --log-level warn -- \
  sh worker.sh "$sparse_lr" "$victim" >out 2>err || code=$?

fail() { echo "lost_worker_test: $*" >&2; cat out err >&2; exit 1; }
other=$((1 - victim))
[ $code -eq 137 ] || fail "exit code $code"
grep -q '^epoch 1.0/1000 ' first || fail "the first line: $(cat first)"
grep -q "^\[worker $other\]   workers  *1 of 2 finished$" out || fail "who finished is not told"
grep -q "^\[worker $other\]   one was lost: the examples of its share were not all seen$" out ||
  fail "what was lost is not told"
grep -q "^\[worker $other\]   model  *model$" out || fail "the model is not in the table"
[ -s model ] && [ -s csv ] || fail "the results were not written"
if [ "$victim" -eq 0 ]; then
  grep -q "worker 0 was lost, so worker 1 writes the results" err || fail "no word of the lost looks"
fi
