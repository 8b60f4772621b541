#!/bin/sh
# Shoal over UCX on RDMA devices, in a guest: the contract suite, processes that are killed and stopped,
# every operation of the transport, and a training, in which a worker is killed, too.
#   ucx_test.sh UCX_TEST SHOAL SPARSE_LR
set -u
. "$(dirname "$0")/guest.sh"

examples >train
cat >in_guest <<'END_OF_GUEST'
ucx_test=$1 shoal=$2 sparse_lr=$3
cd "$4"
# See docs/design/soft_roce.md.
export UCX_NET_DEVICES=rxe0:1 UCX_UD_VERBS_ETH_DGID_CHECK=n UCX_UD_TIMEOUT=60s
step() { echo "--- $* ($(cut -d. -f1 /proc/uptime) s)"; }
packets() { cat /sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts; }
went_over_rxe() {  # went_over_rxe PACKETS: at least so many since `before`
  [ $(($(packets) - before)) -ge "$1" ] || { echo "only $(($(packets) - before)) packets"; exit 1; }
}

step contract suite, killed and stopped processes
before=$(packets)
"$ucx_test" --gtest_brief=1 --gtest_filter='RealUcx/*' || exit 1
went_over_rxe 100000

# From here on nothing but the device is left to UCX, and nothing but UCX to Shoal.
export UCX_TLS=rc,ud SHOAL_TRANSPORTS=ucx SHOAL_CONNECT_TIMEOUT=60s
step every operation
# Without a PATH no other tools are run to compare.
# A table of 64 KiB operations has 64 MiB, which are stored before and pulled for the check: 231,000
# packets for pushes and pulls, of which what has found another way would take a half.
for what in '180000 block --op push,pull' '3000 spin --op send,read,write'; do
  before=$(packets)
  env PATH=/nowhere "$shoal" perf --local --transport ucx --iterations 20 --inflight 4 \
    --check --size 8,65536 --wait ${what#* } >perf || { cat perf; exit 1; }
  cat perf
  grep -q 'over rc_verbs/rxe0:1' perf || { echo "that is not the device"; exit 1; }
  went_over_rxe "${what%% *}"
done

train() {  # train EPOCHS MODEL
  timeout 300 "$shoal" run --servers 2 --workers 2 --log-level warn -- \
    "$sparse_lr" --batch 20 --epochs "$1" --staleness 1 --train train --model "$2"
}

step training
before=$(packets)
train 3 ucx || exit 1
went_over_rxe 500
"$sparse_lr" --train train --evaluate ucx | grep objective || exit 1

step a port that goes down in mid-training
before=$(packets)
SHOAL_TRANSPORTS=ucx,tcp train 3 down >down.log 2>&1 &
training=$!
until [ $(($(packets) - before)) -gt 300 ] || ! kill -0 $training; do sleep 0.1; done
ip link set net0 down
wait $training || { cat down.log; exit 1; }
ip link set net0 up
cat down.log
grep -q 'tcp is used' down.log || { echo "the port went down too late"; exit 1; }
"$sparse_lr" --train train --evaluate down | grep objective || exit 1

step a worker that is killed in mid-training
before=$(packets)
train 100 killed >killed.log 2>&1 &
training=$!
until [ $(($(packets) - before)) -gt 150 ] || ! kill -0 $training; do sleep 0.1; done
pkill -9 -o sparse_lr || { cat killed.log; echo "it was over before"; exit 1; }
wait $training
status=$?
cat killed.log
[ $status -ne 0 ] && [ $status -ne 124 ] || { echo "the training ended with $status"; exit 1; }
grep -q 'killed by signal 9' killed.log && ! grep -q trained killed.log
END_OF_GUEST
"$guest" --timeout 1200 --memory 3072 sh "$work/in_guest" "$1" "$2" "$3" "$work" >out 2>&1
status=$?
cat out
exit $status
