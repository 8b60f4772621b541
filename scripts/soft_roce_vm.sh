#!/usr/bin/env bash
# Runs COMMAND on a kernel that has RDMA devices: Debian's, in QEMU's software emulation, with this
# machine's files. Its output and exit status are passed on. See docs/design/soft_roce.md.
#   scripts/soft_roce_vm.sh [OPTION...] COMMAND [ARGUMENT...]
#     --hosts 1|2        devices: rxe0 at 10.77.0.1, and with 2 rxe1 at 10.77.0.2 (default 1)
#     --timeout SECONDS  the guest is ended after so long, boot included (default 300)
#     --memory MIB       of the guest (default 2048)
#     --env NAME=VALUE   besides HOME, PATH, SHOAL_* and UCX_*, which are passed as they are
#   scripts/soft_roce_vm.sh --prepare    fetches what a guest needs, and starts none
# Exit status: COMMAND's; 124 if the time is over; 125 if there is no guest, or it broke, with the
# reason on standard error.
set -Eeuo pipefail
path=$PATH
PATH=$PATH:/usr/sbin:/sbin

fail() {  # fail STATUS MESSAGE
  echo "soft_roce_vm.sh: $2" >&2
  exit "$1"
}

quoted() {  # for the guest's shell, which may be no bash
  printf "'%s'" "${1//\'/\'\\\'\'}"
}

# ---- The kernel and its initramfs, kept in the cache ----

# No crc32_pclmul: QEMU emulates its instruction bit by bit, and crc32_generic does without.
modules="virtio_pci 9pnet_virtio 9p overlay crc32_generic veth rdma_rxe rdma_ucm"

# The guest's first process. /job is a folder of the host, where it finds what to do and leaves the
# status; all else that it writes is lost.
read -r -d '' init <<'END' || true
#!/bin/busybox sh
export PATH=/bin
mkdir -p /proc /job /host /changes /root
mount -t devtmpfs dev /dev
exec </dev/null >/dev/console 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /modules/*; do insmod "$module" || echo "no $module"; done
share=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o $share,cache=none job /job || poweroff -f
mount -t 9p -o $share,ro,cache=loose host /host &&
  mount -t tmpfs changes /changes && mkdir /changes/upper /changes/work &&
  mount -t overlay -o lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work root /root ||
  poweroff -f
for mounted in proc sys dev; do mount -o move /$mounted /root/$mounted; done
chroot /root /bin/sh /proc/self/fd/3 3</job/run 4>/job/started >>/job/out 2>>/job/err
echo $? >/job/status
poweroff -f
END

build_kernel() {  # build_kernel FOLDER: downloads, and leaves vmlinux, initramfs and sums
  local package image version header offset length number=100 module
  mkdir -p "$1/package" "$1/root"/{bin,dev,modules,sys}
  fetch_kernel "$1/package" >"$1/log" 2>&1 || {
    if [ "$(id -u)" -eq 0 ]; then apt-get update >>"$1/log" 2>&1; fi
    fetch_kernel "$1/package" >>"$1/log" 2>&1
  } || {
    tail -n 5 "$1/log" >&2
    fail 125 "Debian's kernel package (70 MB) could not be fetched; is there a network, and was
apt-get update run?"
  }
  dpkg -x "$1"/package/*.deb "$1/package"
  image=$(echo "$1"/package/boot/vmlinuz-*)
  version=${image#*/vmlinuz-}
  # QEMU can start the uncompressed kernel, and need not emulate how it unpacks itself, which saves
  # 3 s a start. Where it lies in the image: Linux, Documentation/x86/boot.rst, payload_offset.
  header=$(od -A n -t u1 -j 497 -N 1 "$image")
  offset=$(od -A n -t u4 -j 584 -N 4 "$image")
  length=$(od -A n -t u4 -j 588 -N 4 "$image")
  # Four bytes behind the compressed stream are its size, which xz takes for garbage.
  head -c $(((header + 1) * 512 + offset + length - 4)) "$image" | tail -c $((length - 4)) |
    xz -dc >"$1/vmlinux"
  depmod -b "$1/package" "$version"
  for module in $modules; do
    modprobe -d "$1/package" -S "$version" --show-depends "$module"
  done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$1/order"
  while read -r module; do
    number=$((number + 1))
    cp "$module" "$1/root/modules/$number-${module##*/}"
  done <"$1/order"
  cp "$(command -v busybox)" "$1/root/bin/busybox"
  for module in sh mkdir mount insmod chroot poweroff; do
    ln -s busybox "$1/root/bin/$module"
  done
  printf '%s\n' "$init" >"$1/root/init"
  chmod 755 "$1/root/init"
  (cd "$1/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$1/initramfs"
  rm -rf "$1/package" "$1/root" "$1/order" "$1/log"
  (cd "$1" && sha256sum vmlinux initramfs >sums)
}

fetch_kernel() (  # fetch_kernel FOLDER
  cd "$1" &&
    package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" && !n++ { print $2 }') &&
    [ -n "$package" ] && apt-get download "$package"
)

prepare() {  # sets $kernel, the folder that holds vmlinux and initramfs
  local program cache
  [ "$(uname -m)" = x86_64 ] || fail 125 "needs an x86-64 machine, not $(uname -m)"
  for program in qemu-system-x86_64 busybox cpio modprobe depmod ip rdma xz; do
    command -v $program >/dev/null ||
      fail 125 "$program is missing; scripts/packages.sh rdma installs it"
  done
  ! ldd "$(command -v busybox)" >/dev/null 2>&1 ||
    fail 125 "busybox is not the static one; scripts/packages.sh rdma installs it"
  cache=$(realpath -m "${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/shoal")
  if ! mkdir -p "$cache" 2>/dev/null || ! [ -w "$cache" ]; then
    fail 125 "$cache cannot be written; XDG_CACHE_HOME names another place"
  fi
  # What this script would build otherwise has another name.
  kernel=$cache/soft_roce-$(printf '%s' "$modules$init" | sha256sum | head -c 12)
  (
    trap 'fail 125 "the guest could not be made in $cache"' ERR
    flock 9
    if (cd "$kernel" && sha256sum --status -c sums) 2>/dev/null; then exit; fi
    rm -rf "$kernel" "$kernel.new"
    build_kernel "$kernel.new" 9>&-
    mv "$kernel.new" "$kernel"
  ) 9>"$cache/soft_roce.lock"
}

# ---- What the guest runs ----

hosts=1 timeout=300 memory=2048 only_prepare=""
environment=("PATH=$path")
for name in HOME $(compgen -e | grep -E '^(SHOAL|UCX)_' || true); do
  if [ -n "${!name+set}" ]; then environment+=("$name=${!name}"); fi
done
number='^[1-9][0-9]*$'
while [ $# -gt 0 ]; do
  case "$1" in
    --prepare) only_prepare=1; shift; continue ;;
    --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --) shift; break ;;
    --hosts | --timeout | --memory | --env) [ $# -gt 1 ] || fail 125 "$1 needs a value" ;;
    -*) fail 125 "'$1' is not an option; --help lists them" ;;
    *) break ;;
  esac
  case "$1" in
    --hosts)
      hosts=$2
      [[ $hosts =~ ^[12]$ ]] || fail 125 "--hosts takes 1 or 2, not '$2'" ;;
    --timeout)
      timeout=$2
      [[ $timeout =~ $number ]] || fail 125 "--timeout takes whole seconds, not '$2'" ;;
    --memory)
      memory=$2
      [[ $memory =~ $number ]] || fail 125 "--memory takes whole MiB, not '$2'" ;;
    --env)
      environment+=("$2")
      [[ $2 =~ ^[A-Za-z_][A-Za-z_0-9]*= ]] || fail 125 "--env takes NAME=VALUE, not '$2'" ;;
  esac
  shift 2
done
[ -n "$only_prepare" ] || [ $# -gt 0 ] || fail 125 "a command is missing; see --help"

guest_script() {  # guest_script COMMAND...: for the guest's /bin/sh, once the files are there
  local path folder
  cat <<'END'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec 3<&-
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
hostname localhost
echo 1 >/proc/sys/vm/panic_on_oom
END
  # /tmp is empty, but for what the command is likely to need of the host's.
  echo 'mount -o bind /tmp /mnt && mount -t tmpfs tmp /tmp && chmod 1777 /tmp'
  for path in "$PWD" "$@"; do
    [[ $path == /tmp/* ]] || continue
    folder=${path#/tmp/}
    folder=${folder%%/*}
    [ -n "$folder" ] || continue
    if [ -d "/tmp/$folder" ]; then
      echo "mkdir -p $(quoted "/tmp/$folder")"
    elif [ -e "/tmp/$folder" ]; then
      echo ": >>$(quoted "/tmp/$folder")"
    else
      continue
    fi
    echo "mountpoint -q $(quoted "/tmp/$folder") ||"
    echo "  mount -o bind $(quoted "/mnt/$folder") $(quoted "/tmp/$folder")"
  done
  cat <<END
umount /mnt
hosts=$hosts
END
  # Without IPv6 the address is each device's GID 1. Frames of 9000 bytes carry RoCE's 4096.
  cat <<'END'
set -e
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
ip -batch - <<COMMANDS
link set lo up
link add net0 address 02:00:0a:4d:00:01 mtu 9000 type veth peer name net1 address 02:00:0a:4d:00:02 mtu 9000
address add 10.77.0.1/24 dev net0
link set net0 up
link set net1 up
COMMANDS
rdma link add rxe0 type rxe netdev net0
if [ $hosts = 2 ]; then
  for interface in all net0 net1; do
    echo 1 >/proc/sys/net/ipv4/conf/$interface/accept_local
    echo 0 >/proc/sys/net/ipv4/conf/$interface/rp_filter
  done
  # What comes over the wire is for us, and so is what an address sends to itself. All else to one of
  # the two addresses leaves by the other's interface, though it is local.
  ip -batch - <<COMMANDS
address add 10.77.0.2/24 dev net1
route add 10.77.0.1 dev net1 src 10.77.0.2 table 101
route add 10.77.0.2 dev net0 src 10.77.0.1 table 102
rule add pref 10 iif net0 lookup local
rule add pref 10 iif net1 lookup local
rule add pref 20 from 10.77.0.1 to 10.77.0.1 lookup local
rule add pref 20 from 10.77.0.2 to 10.77.0.2 lookup local
rule add pref 30 to 10.77.0.1 lookup 101
rule add pref 30 to 10.77.0.2 lookup 102
rule add pref 100 lookup local
rule del pref 0
COMMANDS
  rdma link add rxe1 type rxe netdev net1
fi
ulimit -l unlimited
ulimit -n 65536
echo yes >&4
exec 4>&-
set +e
END
  echo "cd $(quoted "$PWD") || exit 125"
  printf 'exec env -i'
  for path in "${environment[@]}" "$@"; do printf ' %s' "$(quoted "$path")"; done
  echo
}

prepare
if [ -n "$only_prepare" ]; then exit 0; fi

job=$(mktemp -d)
guest="" printers=()
# shellcheck disable=SC2317  # the traps call it
clean_up() {
  trap - EXIT INT TERM HUP
  if [ -n "$guest" ]; then
    kill "$guest" "${printers[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
  fi
  rm -rf "$job"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

guest_script "$@" >"$job/run"
touch "$job/out" "$job/console"
# One file if both go to the same place, so that lines keep their order.
if [ /dev/fd/1 -ef /dev/fd/2 ]; then ln "$job/out" "$job/err"; else touch "$job/err"; fi

# Now and then a guest stands still while it boots, all of QEMU's threads asleep; one that only gets no
# CPU has threads that want to run. It has done nothing yet, so another one is started.
watch_start() {
  local still=0 qemu
  while [ $still -lt 10 ]; do
    sleep 1
    if [ -s "$job/started" ]; then return; fi
    qemu=$(cat "/proc/$guest/task/$guest/children") || return 0
    if grep -q '^State:[[:space:]]*[RD]' /proc/"${qemu%% *}"/task/*/status; then
      still=0
    else
      still=$((still + 1))
    fi
  done
  touch "$job/still"
  kill "$guest"
}

run_guest() {  # run_guest SECONDS: sets $ended
  # Should this script be killed, timeout goes, and QEMU with it.
  local share=security_model=none,multidevs=remap watcher
  # All that the emulation can do, but for what it is slow at: instructions of strings, which it takes
  # byte by byte (memcpy and cleared pages), and switches of SMAP at each copy from and to a user.
  local processor=max,-erms,-fsrm,-smap
  # Where this machine's processors count time alike, the guest's do, too, which Linux would not believe
  # of emulated ones: it would ask an emulated HPET, by a system call, each time that somebody asks.
  local clock= source=/sys/devices/system/clocksource/clocksource0/current_clocksource
  if [ "$(cat $source 2>/dev/null)" = tsc ]; then clock=" tsc=reliable"; fi
  setpriv --pdeathsig TERM timeout --kill-after=5 "$1" setpriv --pdeathsig KILL \
    qemu-system-x86_64 -accel tcg,thread=multi -cpu $processor -smp 2 -m "$memory" \
    -nodefaults -no-user-config -display none -no-reboot -serial "file:$job/console" \
    -kernel "$kernel/vmlinux" -initrd "$kernel/initramfs" \
    -append "console=ttyS0 quiet panic=-1 oops=panic mitigations=off no_timer_check$clock" \
    -virtfs "local,id=host,path=/,mount_tag=host,readonly=on,$share" \
    -virtfs "local,id=job,path=${job//,/,,},mount_tag=job,$share" \
    </dev/null >"$job/qemu" 2>&1 &
  guest=$!
  watch_start </dev/null >/dev/null 2>&1 &
  watcher=$!
  # They end with the guest, and look for that 20 times a second.
  tail -c +1 -s 0.05 -f --pid="$guest" "$job/out" &
  printers=($!)
  if ! [ /dev/fd/1 -ef /dev/fd/2 ]; then
    tail -c +1 -s 0.05 -f --pid="$guest" "$job/err" >&2 &
    printers+=($!)
  fi
  ended=0
  wait "$guest" || ended=$?
  kill "$watcher" 2>/dev/null || true
  wait "${printers[@]}" || true
}

for attempt in 1 2 3; do
  rm -f "$job/still"
  run_guest $((timeout > SECONDS ? timeout - SECONDS : 1))
  if ! [ -e "$job/still" ]; then break; fi
done

status=$(cat "$job/status" 2>/dev/null || true)
if [[ $status =~ ^[0-9]+$ ]] && [ -s "$job/started" ]; then exit "$status"; fi
if [ "$ended" -eq 124 ] || [ "$ended" -eq 137 ]; then
  if [ -s "$job/started" ]; then fail 124 "'$1' still ran after $timeout s"; fi
  tail -n 5 "$job/console" >&2
  fail 124 "the guest was not up after $timeout s; --timeout gives it more"
fi
if [ -e "$job/still" ]; then fail 125 "the guest stood still while it booted, $attempt times"; fi
if grep -aq 'panic.*Out of memory\|panic.*out of memory\|System is deadlocked on memory' \
  "$job/console"; then
  fail 125 "the guest ran out of memory; --memory gives it more than $memory MiB"
fi
tail -n 5 "$job/qemu" >&2
if grep -aq 'Kernel panic' "$job/console"; then
  grep -a -m 1 -B 10 'Kernel panic' "$job/console" >&2
  fail 125 "the guest's kernel panicked"
fi
tail -n 5 "$job/console" >&2
if [ -n "$status" ]; then fail 125 "the guest could not be set up"; fi
fail 125 "the guest ended before '$1' did"
