#!/bin/sh
# What scripts/soft_roce_vm.sh promises: status and output passed on, devices that carry bytes, an end
# to a command that hangs. And with a SHOAL, what docs/cluster.md promises, between two devices.
#   soft_roce_test.sh [SHOAL]
set -u
. "$(dirname "$0")/guest.sh"

fail() {  # fail MESSAGE: prints what the guest said, too
  cat out err 2>/dev/null
  echo "FAILED: $1"
  exit 1
}

# The commands of docs/cluster.md, with a device for each machine.
cat >cluster <<'END'
shoal=$1
unset SHOAL_FIRST  # what other tests look for is no option
says() {  # says FILE PATTERN...: each pattern fits a line of it
  file=$1
  shift
  for pattern in "$@"; do
    grep -q -e "$pattern" "$file" || { cat "$file" listener; echo "no '$pattern'"; exit 1; }
  done
}
sent() { cat "/sys/class/infiniband/$1/ports/1/hw_counters/sent_pkts"; }
crossed() {  # crossed DEVICE BEFORE PACKETS: it has sent at least so many
  [ $(($(sent "$1") - $2)) -ge "$3" ] || { echo "$1 sent $(($(sent "$1") - $2)) packets"; exit 1; }
}
listen() {  # listen PORT DEVICES
  "$shoal" perf --listen "10.77.0.1:$1" --token-file T --devices "$2" --log-level info \
    >listener 2>&1 &
  until grep -q 'listening at' listener; do
    kill -0 $! || { cat listener; exit 1; }
    sleep 0.1
  done
}

"$shoal" info >info
says info 'verbs *yes: rxe0 port 1 (RoCE v2 10.77.0.1' 'yes: rxe1 port 1 (RoCE v2 10.77.0.2' 'registered with RDMA'
[ "$(ulimit -l)" = unlimited ] || exit 1
(umask 077; head -c 32 /dev/urandom | base64 >T)
listen 7100 =rxe0
for what in '--transport verbs --op send,write,read --size 8,64KiB,1MiB --iterations 3' \
  '--require rdma --op push,pull --check --size 8,64KiB --iterations 10'; do
  before0=$(sent rxe0) before1=$(sent rxe1)
  "$shoal" perf 10.77.0.1:7100 --token-file T --devices =rxe1 --inflight 4 --wait block $what \
    >perf 2>&1 || { cat perf listener; exit 1; }
  cat perf
  says perf '^# verbs rxe1 port 1 (RoCE v2 10.77.0.2, .*) to 10.77.0.1, packets of 4096 B'
  # Pushes of 64 KiB are 20 of 16 packets, and so are pulls; of what is larger there are more.
  crossed rxe0 "$before0" 320
  crossed rxe1 "$before1" 320
done
says listener '10.77.0.2:.* is reached over verbs rxe0 port 1 (RoCE v2 10.77.0.1, .*) to 10.77.0.2'

# What is required and not there: the side that lacks it says so, and the side that is let down.
for side in '--listen 10.77.0.2:7101' 10.77.0.1:7100; do
  ! timeout 60 "$shoal" perf $side --token-file T --require rdma --devices =rxe7 >lacks 2>&1 ||
    { cat lacks; echo "'$side' goes without RDMA"; exit 1; }
  says lacks 'require = rdma, .* rxe0: devices = .=rxe7. has no name' 'rxe1: devices = .=rxe7. has'
done
listen 7102 =rxe7
! "$shoal" perf 10.77.0.1:7102 --token-file T --require rdma --op push --size 8 >lacks 2>&1 ||
  { cat lacks; echo "a push went over TCP"; exit 1; }
says lacks 'another transport is required (transports, require): .*the peer has none' 'only tcp leads to 10.77.0.1:7102'
END

# Two devices, a WRITE of one to the memory of the other, and all that is passed on.
cat >pair <<'END'
for device in rxe0 rxe1; do
  ibv_devinfo -d $device | grep -q PORT_ACTIVE || { echo "$device is not active"; exit 1; }
done
sent() { cat /sys/class/net/net0/statistics/tx_bytes; }
before=$(sent)
ib_write_bw -d rxe1 -x 1 -F -n 20 -s 65536 >server 2>&1 &
for second in 1 2 3 4 5 6 7 8 9 10; do
  ib_write_bw -d rxe0 -x 1 -F -n 20 -s 65536 10.77.0.2 >client 2>&1 && break
  sleep 1
done
grep '^ 65536 ' client || { cat server client; exit 1; }
[ $(($(sent) - before)) -gt 1310720 ] || { echo "the bytes did not go over the wire"; exit 1; }
[ "$SHOAL_FIRST:$UCX_SECOND" = "it's:\$HOME" ] || { echo "$SHOAL_FIRST:$UCX_SECOND"; exit 1; }
if [ -n "$1" ]; then sh "$2" "$1" >cluster.log 2>&1 || { cat cluster.log; exit 1; }; fi
[ ! -t 0 ] && ! read -r line || { echo "standard input is not empty"; exit 1; }
printf 'no line end\000' >&2
seq 200000
exit 7
END
UCX_SECOND="\$HOME" "$guest" --hosts 2 --env "SHOAL_FIRST=it's" sh "$work/pair" \
  "${1:-}" "$work/cluster" >out 2>err
status=$?
[ $status -eq 7 ] || fail "exit status $status, not 7"
grep '^ 65536 ' out || fail "ib_write_bw between the devices printed no result"
sed 1d out >rest
seq 200000 | cmp -s - rest || fail "standard output came out changed"
printf 'no line end\000' | cmp -s - err || fail "standard error came out changed"

# One device has no other beside it.
"$guest" ls /sys/class/infiniband >out 2>err
status=$?
[ $status -eq 0 ] || fail "exit status $status, not 0"
echo rxe0 | cmp -s - out || fail "that is not the one device that there should be"
[ ! -s err ] || fail "something was added to standard error"

# On a busy machine this may be over before the guest is up, which ends alike.
"$guest" --timeout 12 sleep 1000 >out 2>err
status=$?
[ $status -eq 124 ] || fail "exit status $status, not 124, of a command that hangs"
grep -q 'after 12 s' err || fail "the reason is not said"
echo "status, output, devices and time limit: as promised"
