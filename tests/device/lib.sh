# Common ground of the device tests: requirements, a private scratch area, cleanup, small helpers.
#
# Sourced by every script. Each test gets its own runtime directory (PLOOP_RUNDIR) and its own directory for device
# nodes (PLOOP_DEVDIR) on a private tmpfs, so that tests can run side by side and beside real devices of the machine.
# Exit status: 0 proved, 1 disproved, 77 can't be run here (after a line "SKIP: reason").
# Whatever happens, the EXIT trap detaches devices, unmounts and removes what the test made; something that has to
# be forced at the end of a test that passed is itself a failure.
set -uo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ploop_bin=${PLOOP_BIN:-ploop}

# sized FULL SMALL: a size, count or time of a test. Software emulation of a machine is 10 to 20 times slower: PLOOP_TEST_EFFORT=small
# makes a test smaller, never another one.
sized() { if [ "${PLOOP_TEST_EFFORT:-full}" = small ]; then echo "$2"; else echo "$1"; fi; }

# How many times as long something may take there. A machine that is busy as well is slower than that again.
patience=$(sized 1 6)

step() { printf '%s\n' "-- $*"; }
fail() {
  printf 'FAILED: %s\n' "$*" >&2
  local i
  for ((i = 1; i < ${#FUNCNAME[@]}; i++)); do
    printf '  at %s:%s\n' "$(basename "${BASH_SOURCE[i]}")" "${BASH_LINENO[i - 1]}" >&2
  done
  exit 1
}
skip() {
  echo "SKIP: $*"
  exit 77
}

# requires root | program NAME... | file PATH... | filesystem TYPE... | space MiB
requires() {
  local kind=$1 item
  shift
  case $kind in
    root) [ "$(id -u)" -eq 0 ] || skip "needs root" ;;
    program) for item; do command -v "$item" >/dev/null || skip "needs the program $item"; done ;;
    file) for item; do [ -e "$item" ] || skip "needs $item"; done ;;
    filesystem)
      for item; do
        grep -qw "$item" /proc/filesystems || modprobe -q "$item" 2>/dev/null || skip "the kernel has no $item"
      done ;;
    space)
      item=$(df -Pm "${TMPDIR:-/tmp}" | awk 'NR == 2 { print $4 }')
      [ "$item" -ge "$1" ] || skip "needs $1 MiB in ${TMPDIR:-/tmp}, has $item" ;;
    *) fail "requires: unknown kind $kind" ;;
  esac
}

# What every device test needs; then the scratch area.
begin() {
  requires root
  requires file /dev/fuse /dev/loop-control
  requires program losetup mount umount findmnt mountpoint timeout python3 socat
  command -v "$ploop_bin" >/dev/null || skip "no ploop program (PLOOP_BIN=$ploop_bin)"
  case $ploop_bin in */*) ploop_bin=$(realpath -s "$ploop_bin") ;; esac
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/ploop-test.XXXXXX") || exit 1
  trap finish EXIT
  trap 'exit 130' INT TERM
  cd "$scratch" || exit 1  # programs like fio leave files where they run
  mkdir "$scratch/mem"
  mount -t tmpfs -o size=8g,mode=700 ploop-test "$scratch/mem" || skip "cannot mount a tmpfs"
  export PLOOP_RUNDIR=$scratch/mem/run PLOOP_DEVDIR=$scratch/mem/dev
  mkdir "$PLOOP_DEVDIR"
}

deferred=()
# defer COMMAND...: run at the end, last one first; failures do not matter.
defer() { deferred+=("$(printf '%q ' "$@")"); }

finish() {
  local status=$? i
  trap - EXIT INT TERM
  set +e
  cd /
  for ((i = ${#deferred[@]} - 1; i >= 0; i--)); do eval "${deferred[i]}" >/dev/null 2>&1; done
  local left crashes
  # A worker that crashes is replaced, and nobody notices. A test does, unless it makes them crash.
  crashes=$(grep -hE 'the worker ended: killed by signal (4|6|7|8|11|31)|the sandbox stopped the worker' "$PLOOP_RUNDIR"/*.{failed,crashed}.log 2>/dev/null)
  if [ -n "$crashes" ] && [ -z "${workers_crash:-}" ]; then
    printf 'workers crashed:\n%s\n' "$crashes" >&2
    [ $status -ne 0 ] || status=1
  fi
  left=$(leftovers)
  if [ -n "$left" ]; then
    printf 'left behind by the test:\n%s\n' "$left" >&2
    [ $status -ne 0 ] || status=1
    if [ $status -ne 0 ]; then tail -n 20 "$PLOOP_RUNDIR"/ploop*/log >&2 2>/dev/null; fi
    force_cleanup
  fi
  umount -l "$scratch/mem" 2>/dev/null
  rm -rf --one-file-system "$scratch"
  exit "$status"
}

# Live daemons, nodes, mounts and loop devices that belong to this test's scratch area.
leftovers() {
  local pid
  for pid in $(daemon_pids); do echo "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"; done
  ls -d "$PLOOP_DEVDIR"/* 2>/dev/null | sed 's/^/node /'
  awk -v mine="$scratch/" -v keep="$scratch/mem" \
    'index($5, mine) == 1 && $5 != keep { print "mount " $5 }' /proc/self/mountinfo
  losetup -ln -O NAME,BACK-FILE 2>/dev/null | awk -v mine="$scratch/" 'index($2, mine) { print "loop device " $1 }'
}

# ploopd processes that work for this test: told apart by their environment, never by name alone.
daemon_pids() {
  local dir name
  for dir in /proc/[0-9]*; do
    # The name of the running program differs between the daemon's processes; their argv[0] is the same.
    { IFS= read -r -d '' name <"$dir/cmdline"; } 2>/dev/null
    [ "${name##*/}" = ploopd ] || continue
    # A dead one that nobody reaped has no environment. -c: reads to the end, so that nobody gets SIGPIPE.
    { tr '\0' '\n' <"$dir/environ" | grep -cxF "PLOOP_RUNDIR=$PLOOP_RUNDIR"; } >/dev/null 2>&1 && echo "${dir#/proc/}"
  done
}

no_daemons() { [ -z "$(daemon_pids)" ]; }

force_cleanup() {
  local round mounted device
  for round in 1 2 3; do  # what lies on what is not known here, so more than once
    : "$round"
    awk -v mine="$scratch/" -v keep="$scratch/mem" 'index($5, mine) == 1 && $5 != keep { print $5 }' \
      /proc/self/mountinfo | sort -r | while read -r mounted; do umount -l "$mounted"; done
    losetup -ln -O NAME,BACK-FILE | awk -v mine="$scratch/" 'index($2, mine) { print $1 }' |
      while read -r device; do losetup -d "$device"; done
  done >/dev/null 2>&1
  local pids
  pids=$(daemon_pids)
  [ -z "$pids" ] || kill -9 $pids 2>/dev/null
}

# ploop ARGS...: the program under test, never longer than two minutes or $ploop_timeout seconds, times $patience.
ploop() { timeout -k 10 $((${ploop_timeout:-120} * patience)) "$ploop_bin" "$@"; }

# measure ARGS...: the command has to succeed, and takes $took milliseconds when nobody disturbs it.
measure() {
  local start
  start=$(date +%s%3N)
  must ploop "$@"
  took=$(($(date +%s%3N) - start))
}
# sleep_ms MILLISECONDS
sleep_ms() { sleep "$(($1 / 1000)).$(printf '%03d' $(($1 % 1000)))"; }

# Runs a command that has to succeed; shows what it said when it does not.
must() {
  local output status
  output=$("$@" 2>&1)
  status=$?
  [ $status -eq 0 ] || fail "'$*' gave exit status $status: $output"
}

# must_fail CODE PATTERN COMMAND...: has to fail with this status (a number or "(a|b)"), say a line that matches, and
# not hang.
must_fail() {
  local code=$1 pattern=$2 output status
  shift 2
  output=$("$@" 2>&1 >/dev/null)
  status=$?
  [[ $status =~ ^$code$ ]] || fail "'$*' gave exit status $status instead of $code: $output"
  grep -qE -- "$pattern" <<<"$output" || fail "'$*' does not say /$pattern/ but: $output"
  [ "$(grep -c . <<<"$output")" -le 2 ] || fail "'$*' says more than a line or two: $output"
}

# attach ARGS...: ploop mount; leaves the device in $device and remembers to detach it.
attach() {
  local output status
  output=$(ploop mount "$@" 2>&1)
  status=$?
  [ $status -eq 0 ] || fail "ploop mount $* gave exit status $status: $output"
  device=$(sed -n 's/^.*Adding delta dev=\([^ ]*\) .*/\1/p' <<<"$output" | head -n 1)
  [ -b "$device" ] || fail "ploop mount $* names no device: $output"
  [ "${PLOOP_TRANSPORT:-$(state_of transport)}" = "$(state_of transport)" ] ||
    fail "$device came through $(state_of transport) instead of $PLOOP_TRANSPORT"
  defer detach_quietly "$device"
}
# Only at the end of a test: what is still there of the device.
detach_quietly() {
  [ -b "$1" ] || return 0
  local part
  for part in "$1" "$1"p1; do
    findmnt -rno TARGET -S "$part" | sort -r | while read -r mounted; do umount -l "$mounted"; done
  done
  ploop umount -d "$1"
}
detach() {
  must ploop umount -d "$1"
  [ ! -e "$1" ] || fail "$1 is still there after umount"
}

# ask DEVICE METHOD: what its control socket answers to a request without parameters.
ask() {
  local answer talk talk_PID
  coproc talk { exec socat - "UNIX-CONNECT:$PLOOP_RUNDIR/ploop${1##*ploop}/control" 2>/dev/null; }
  local pid=$talk_PID
  printf '{"id":1,"method":"%s","params":{}}\n' "$2" >&"${talk[1]}"
  read -r -t 30 answer <&"${talk[0]}" || answer=
  kill "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  echo "$answer"
}
# stat_of DEVICE COUNTER: a number from the device's control socket.
stat_of() {
  local answer
  answer=$(ask "$1" stats)
  grep -oE "\"$2\":[0-9]+" <<<"$answer" | head -n 1 | grep -oE '[0-9]+$' || fail "$1 tells no $2: $answer"
}

# state_file, state_of MEMBER: the state file of $device and what it says.
state_file() { echo "$PLOOP_RUNDIR/ploop${device##*ploop}/state"; }
state_of() {
  local value
  value=$(sed -n "s/.*\"$1\":\(\"[^\"]*\"\|[^,}]*\).*/\1/p" "$(state_file)")
  case $value in
    true) echo True ;;
    false) echo False ;;
    *) tr -d '"' <<<"$value" ;;
  esac
}
# Whether $device can grow while it runs; with ublk of older kernels it can't.
grows_online() { [ "$(state_of can_resize)" = True ] || { echo "   this kernel's ublk can't grow a device that runs" && false; }; }
# Whether a worker of $device that dies gets a successor; a test that leaves something out for want of one says so.
hands_over() { [ "$(state_of can_resend)" = True ] || { echo "   left out: this kernel can't hand requests to another worker" && false; }; }
# pid_of guardian | worker | keeper: a process of $device. The keeper is the guardian's other child.
pid_of() {
  case $1 in
    keeper)
      local child worker
      worker=$(state_of worker_pid)
      for child in $(cat "/proc/$(state_of guardian_pid)/task/$(state_of guardian_pid)/children"); do
        [ "$child" = "$worker" ] || echo "$child"
      done ;;
    *) state_of "$1_pid" ;;
  esac
}

# resizable: a device that runs can get another size here. A ublk device of a kernel without UPDATE_SIZE can't, and its refusal says so
# and changes nothing.
resizable() {
  [ "${PLOOP_TRANSPORT:-auto}" != fuse ] || return 0
  local before=${device:-} status output
  mkdir "$scratch/resizable"
  must ploop init -s 16M -t none "$scratch/resizable/root.hdd"
  attach "$scratch/resizable/DiskDescriptor.xml"
  local size
  size=$(blockdev --getsize64 "$device")
  output=$(ploop grow -s 32M "$scratch/resizable/DiskDescriptor.xml" 2>&1)
  status=$?
  if [ $status -ne 0 ]; then
    [ $status -eq 3 ] && grep -q "This kernel can't resize .* while it runs" <<<"$output" || fail "grow gave $status: $output"
    [ "$(blockdev --getsize64 "$device")" = "$size" ] || fail "a refused growth changed the device"
  fi
  detach "$device"
  check_image "$scratch/resizable/root.hdd"
  device=$before
  rm -r "$scratch/resizable"
  return $status
}

# use_of NAME: which use of this block device of the kernel it is. A loop device that comes free is taken by the next user, another test maybe.
use_of() { cat "/sys/block/$1/diskseq" 2>/dev/null; }
# came_free NAME USE: the loop device is free, or somebody else's.
came_free() { [ ! -e "/sys/block/$1/loop/backing_file" ] || [ "$(use_of "$1")" != "$2" ]; }

# gone SECONDS PID: the process ends in time ($patience times as long); one that nobody reaps counts as ended.
gone() {
  local i
  for ((i = 0; i < $1 * 20 * patience; i++)); do
    case $(sed 's/.*) //' "/proc/$2/stat" 2>/dev/null) in '' | Z* | X*) return 0 ;; esac
    sleep 0.05
  done
  return 1
}
# until_true SECONDS COMMAND...: the command succeeds in time ($patience times as long).
until_true() {
  local i limit=$(($1 * patience))
  shift
  for ((i = 0; i < limit * 20; i++)); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.05
  done
  return 1
}

# Allocated bytes of a file.
allocated() { echo $(($(stat -c '%b * %B' "$1"))); }
hash_of() { sha256sum <"$1" | cut -d' ' -f1; }
# The image is good by our own check and, when it is a ploop1 image, by qemu-img.
check_image() {
  must ploop check "$1"
  must qemu-img check -f parallels "$1"
}
# qemu_reads IMAGE: what qemu-img reads from the image is in $scratch/qemu.raw; not while a device has the image.
qemu_reads() { must qemu-img convert -f parallels -O raw "$1" "$scratch/qemu.raw"; }

# host_filesystem TYPE DIR MiB: a scratch file system (or tmpfs) mounted at DIR.
host_filesystem() {
  local type=$1 dir=$2 size=$3
  mkdir -p "$dir"
  if [ "$type" = tmpfs ]; then
    must mount -t tmpfs -o "size=${size}m" ploop-test "$dir"
  else
    truncate -s "${size}M" "$scratch/host.$type"
    case $type in
      ext4) must mkfs.ext4 -q -E lazy_itable_init=1 "$scratch/host.$type" ;;
      xfs) must mkfs.xfs -q "$scratch/host.$type" ;;
      btrfs) must mkfs.btrfs -q "$scratch/host.$type" ;;
      *) fail "no host file system $type" ;;
    esac
    must mount -o loop "$scratch/host.$type" "$dir"
  fi
  defer umount -l "$dir"
}

# real_tree DIR COUNT: about COUNT real files of this system, with directories, links and odd sizes.
real_tree() {
  local dir=$1 count=$2
  mkdir -p "$dir"
  # A file may change or vanish while the system lives; that does not matter here.
  { find /usr/share /usr/include /usr/lib /etc -xdev \( -type f -size -256k -o -type l \) -print0 || true; } 2>/dev/null |
    head -z -n "$count" |
    { tar -C / --null --no-recursion --ignore-failed-read -cf - -T - 2>/dev/null || true; } |
    tar -C "$dir" -xf - || fail "cannot copy a real tree"
  : >"$dir/empty file"
  head -c 3000001 /dev/urandom >"$dir/odd size"
  truncate -s 70M "$dir/sparse"
  printf 'end' | dd of="$dir/sparse" bs=1 seek=50000000 conv=notrunc status=none
  local found
  found=$(find "$dir" -type f -o -type l | wc -l)
  [ "$found" -ge "$count" ] || skip "this system has only $found files of the kind that the test copies"
}

# manifest DIR: one line per file, link and directory: name, type, mode, size, target, content.
manifest() {
  (cd "$1" && find . -name lost+found -prune -o -name '.balloon-*' -prune -o \
     \( -type d -printf 'd %m %P\n' -o -type l -printf 'l %P %l\n' -o -type f -printf 'f %m %s %P\n' \) | sort &&
     find . -name lost+found -prune -o -name '.balloon-*' -prune -o -type f -print0 | sort -z | xargs -0r sha256sum)
}
