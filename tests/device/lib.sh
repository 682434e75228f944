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
  requires program losetup mount umount findmnt mountpoint timeout python3
  command -v "$ploop_bin" >/dev/null || skip "no ploop program (PLOOP_BIN=$ploop_bin)"
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/ploop-test.XXXXXX") || exit 1
  trap finish EXIT
  trap 'exit 130' INT TERM
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
  local left
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

# ploop ARGS...: the program under test, never longer than two minutes.
ploop() { timeout -k 10 "${ploop_timeout:-120}" "$ploop_bin" "$@"; }

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

# stat_of DEVICE COUNTER: a number from the device's control socket.
stat_of() {
  local number=${1##*ploop}
  python3 "$here/stats.py" "$PLOOP_RUNDIR/ploop$number/control" "$2"
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
