#!/bin/sh
# What scripts/soft_roce_vm.sh promises: status and output passed on, devices that carry bytes, an end
# to a command that hangs.
#   soft_roce_test.sh
set -u
. "$(dirname "$0")/guest.sh"

fail() {  # fail MESSAGE: prints what the guest said, too
  cat out err 2>/dev/null
  echo "FAILED: $1"
  exit 1
}

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
[ ! -t 0 ] && ! read -r line || { echo "standard input is not empty"; exit 1; }
printf 'no line end\000' >&2
seq 200000
exit 7
END
UCX_SECOND="\$HOME" "$guest" --hosts 2 --env "SHOAL_FIRST=it's" sh "$work/pair" >out 2>err
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
