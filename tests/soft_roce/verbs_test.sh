#!/bin/sh
# Shoal over real verbs, in a guest: the contract suite, processes that are killed and stopped, checked
# pushes and pulls (one-sided ones under pushes and while the server is stopped, too), the benchmark's
# rows once, and a short training.
#   verbs_test.sh VERBS_TEST E2E_TEST SHOAL SPARSE_LR SHOAL_BENCH
set -u
. "$(dirname "$0")/guest.sh"

examples >train
cat >in_guest <<'END'
verbs_test=$1 e2e_test=$2 shoal=$3 sparse_lr=$4 shoal_bench=$5
cd "$6"
step() { echo "--- $* ($(cut -d. -f1 /proc/uptime) s)"; }
packets() { cat /sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts; }
went_over_verbs() {  # went_over_verbs PACKETS: at least so many since `before`
  [ $(($(packets) - before)) -ge "$1" ] || { echo "only $(($(packets) - before)) packets"; exit 1; }
}

step contract suite
before=$(packets)
"$verbs_test" --gtest_brief=1 --gtest_filter='RealVerbs/*' || exit 1
went_over_verbs 100000

step what there is
"$shoal" info | grep 'verbs *yes: rxe0 port 1 (RoCE v2 10.77.0.1' || { "$shoal" info; exit 1; }

step processes
for filter in '*Faults.KilledMid*' 'WorkerFaults.Stopped*' 'ServerFaults.StoppedLonger*' \
  'Registration.*' 'OneSidedPulls.*'; do
  before=$(packets)
  SHOAL_TRANSPORTS=verbs "$e2e_test" --gtest_brief=1 --gtest_filter="$filter" || exit 1
  went_over_verbs 100
done

step pushes and pulls, checked
export SHOAL_REQUIRE=rdma
# Without a PATH no other tools are run to compare.
env PATH=/nowhere "$shoal" perf --local --check --iterations 20 --inflight 16 --size 8,65536 \
  --op push,pull,push_pull,send,read,write || exit 1

step two rails
ip link add rail0 mtu 9000 type veth peer name rail1 mtu 9000 && ip link set rail1 up &&
  ip addr add 10.77.0.3/24 dev rail0 && ip link set rail0 up &&
  rdma link add rxe2 type rxe netdev rail0 || exit 1
rail_packets() { cat /sys/class/infiniband/rxe2/ports/1/hw_counters/sent_pkts; }
"$verbs_test" --gtest_brief=1 --gtest_filter="\
RealVerbs/BulkContract.*ArriveInEvery*:RealVerbs/BulkContract.ABulkMessage*:\
RealVerbs/BulkContract.Close*:RealVerbs/BulkContract.Random*" || exit 1
[ "$(rail_packets)" -gt 500 ] || { echo "the second rail sent $(rail_packets) packets"; exit 1; }
rdma link delete rxe2

step one-sided pulls
env PATH=/nowhere "$shoal" perf --local --check --iterations 20 --inflight 4 --size 1048576 --op onesided || exit 1
# With the raw tool's figure below.
"$shoal" perf --local --iterations 5 --size 4096 --op onesided >raw
cat raw
grep -q 'ib_read_lat .* usec' raw && grep -q 'ib_read_bw .*MiB/sec' raw || exit 1

step rows of the suite
"$shoal_bench" --smoke --only '^verbs/' >rows 2>&1
cat rows
# Ours beside the raw tool's, in each.
[ "$(grep -cE '^verbs/[^ ]+ +[0-9.,]+ [^ ]+ +[0-9.,]+ +[0-9.,]+' rows)" -eq 6 ] || exit 1

step training
for transports in verbs tcp,verbs; do
  [ $transports = verbs ] || SHOAL_REQUIRE=nothing
  SHOAL_TRANSPORTS=$transports "$shoal" run --servers 2 --workers 2 --log-level warn -- \
    "$sparse_lr" --batch 20 --epochs 3 --staleness 1 --train train --model $transports || exit 1
  "$sparse_lr" --train train --evaluate $transports | awk '$1 == "objective" { print $2 }'
done >objectives || { cat objectives; exit 1; }

step training where little memory may be locked
# Neither verbs nor a device of UCX's can be used, and UCX, let alone, would try for minutes.
setpriv --bounding-set -ipc_lock sh -c 'ulimit -l 64; exec timeout 100 "$@"' - \
  "$shoal" run --servers 1 --workers 1 --log-level warn -- \
  "$sparse_lr" --batch 20 --epochs 1 --staleness 1 --train train --model little >little.log 2>&1 ||
  { cat little.log; exit 1; }
grep -q 'verbs: .*this process may lock 64 KiB' little.log || { cat little.log; exit 1; }

step a port that goes down in mid-training
before=$(packets)
SHOAL_TRANSPORTS=verbs,tcp "$shoal" run --servers 2 --workers 2 --log-level info -- \
  "$sparse_lr" --batch 20 --epochs 3 --staleness 1 --train train --model down >down.log 2>&1 &
training=$!
until [ $(($(packets) - before)) -gt 150 ] || ! kill -0 $training; do sleep 0.1; done
ip link set net0 down
wait $training || { cat down.log; exit 1; }
ip link set net0 up
grep -q 'tcp is used' down.log || { cat down.log; echo "the port went down too late"; exit 1; }
"$sparse_lr" --train train --evaluate down | awk '$1 == "objective" { print $2 }' >>objectives

cat objectives
awk 'NF == 1 { if (first && ($1 - first) ^ 2 > (first / 100) ^ 2) exit 1; first = $1 }' objectives ||
  { echo "the objectives differ"; exit 1; }
END
"$guest" --timeout 1400 --memory 3072 sh "$work/in_guest" "$@" "$work" >out 2>&1
status=$?
cat out
exit $status
