#!/bin/bash
# The worker of a live device is confined: read back from /proc after attach, snapshot, merge and takeover. What happens where a part
# can't be had, and that a worker stopped by the filter is replaced and the log says so.
#
#   sandbox.sh
source "$(dirname "$0")/lib.sh"
begin
workers_crash=yes  # one that the filter stops
requires program mkfs.ext4
mkdir "$scratch/disk" "$scratch/mnt"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml
must ploop init -s 128M "$image"

# field TEXT NAME: of a status file.
field() { awk -v name="$2:" '$1 == name { print $2 }' <<<"$1"; }

# The worker's descriptors that are not in the list of docs/security.md. An image is open once or twice: with and without O_DIRECT.
unexpected() {
  local worker=$1 fd target
  for fd in "/proc/$worker/fd"/*; do
    target=$(readlink "$fd") || continue
    case ${fd##*/}:$target in
      0:/dev/null | [12]:"$PLOOP_RUNDIR"/ploop*/log) ;;
      [0-9]*:socket:* | [0-9]*:anon_inode:"[io_uring]" | [0-9]*:anon_inode:"[eventfd]") ;;
      4:/dev/fuse | 4:/dev/null | [0-9]*:/dev/ublkc*) ;;
      5:*/map | 5:/memfd:ploop-map*) ;;
      *:"$scratch"/disk/root.hdd*) ;;
      *) echo "${fd##*/} -> $target" ;;
    esac
  done
}

audit() {
  local worker task status name surprise audited=0
  worker=$(pid_of worker)
  for task in "/proc/$worker/task"/*; do
    # Threads that the kernel makes for the ring come and go.
    status=$(cat "$task/status" 2>/dev/null) || continue
    for name in CapInh CapPrm CapEff CapBnd CapAmb; do
      [ "$(field "$status" $name)" = 0000000000000000 ] || fail "$1: $name of thread ${task##*/} is $(field "$status" $name)"
    done
    [ "$(field "$status" NoNewPrivs)" = 1 ] || fail "$1: thread ${task##*/} may gain privileges"
    [ "$filtered" = no ] || [ "$(field "$status" Seccomp)" = 2 ] || fail "$1: thread ${task##*/} has no filter"
    audited=$((audited + 1))
  done
  [ "$audited" -ge 2 ] || fail "$1: only $audited threads to look at"
  grep -q '^Max core file size  *0  *0 ' "/proc/$worker/limits" || fail "$1: it would dump core"
  surprise=$(unexpected "$worker")
  [ -z "$surprise" ] || fail "$1: unexpected descriptors: $surprise"
  # Sockets: log and channels apart, the listening one and the connections of commands, of which there is none now.
  local sockets
  sockets=$(find "/proc/$worker/fd" -lname 'socket:*' | wc -l)
  [ "$sockets" -le 3 ] || fail "$1: $sockets sockets"
  # The guardian keeps references to the images (O_PATH) and nothing that could read one.
  local fd
  for fd in $(find "/proc/$(pid_of guardian)/fd" -lname "$scratch/disk/*" -printf '%f\n'); do
    (($(sed -n 's/^flags:[[:space:]]*/0/p' "/proc/$(pid_of guardian)/fdinfo/$fd") & 010000000)) || fail "$1: the guardian keeps an image file open"
  done
}

step "a device, its parts"
attach -m "$scratch/mnt" "$dd"
log=$PLOOP_RUNDIR/ploop${device##*ploop}/log
parts=$(ploop list --json | python3 -c 'import json,sys; print(*json.load(sys.stdin)["devices"][0]["sandbox"])')
echo "   in force: $parts"
filtered=yes
grep -qw seccomp <<<"$parts" || filtered=no
for part in capabilities ring; do grep -qw $part <<<"$parts" || fail "no $part"; done
audit "attached"

step "snapshot, merge, grow, copy"
must ploop snapshot "$dd"
audit "after a snapshot"
must dd if=/dev/urandom of="$scratch/mnt/file" bs=1M count=8 conv=fsync status=none
must ploop snapshot "$dd"
uuid=$(ploop snapshot-list -H -o uuid "$dd" | head -n 1)
must ploop snapshot-delete -u "$uuid" "$dd"
audit "after a merge"
must ploop snapshot-merge "$dd"
audit "after a merge of the top"
# Some kernels can't resize a ublk device that runs.
output=$(ploop grow -s 160M "$dd" 2>&1) || grep -q "This kernel can't resize" <<<"$output" || fail "grow: $output"
audit "after growing"

if hands_over; then
  replaced() { [ "$(pid_of worker)" != "$1" ]; }
  step "takeover"
  before=$(pid_of worker)
  kill -9 "$before"
  until_true 10 replaced "$before" || fail "no other worker came"
  must timeout 20 dd if="$device" of=/dev/null bs=1M count=1 iflag=direct status=none
  audit "after a takeover"
  must ploop snapshot "$dd"
  audit "after a takeover and a snapshot"

  step "a worker that the filter stops"
  before=$(pid_of worker)
  kill -SYS "$before"
  until_true 10 replaced "$before" || fail "no other worker came"
  grep -q "the sandbox stopped the worker (system call" "$log" || fail "the log does not say so: $(cat "$log")"
  must timeout 20 dd if="$device" of=/dev/null bs=1M count=1 iflag=direct status=none
fi
must ploop umount "$dd"

step "a part is missing"
# ploop and all its children see a kernel without Landlock: a filter answers ENOSYS to landlock_create_ruleset.
cat >"$scratch/without_landlock.py" <<'PYTHON'
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7fff0000)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *c) for c in code))
header = struct.pack("HxxxxxxP", len(code), ctypes.addressof(program))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
if libc.prctl(22, 2, header, 0, 0) != 0:
    sys.exit("no filter: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
PYTHON
without_landlock() { timeout 60 python3 "$scratch/without_landlock.py" "$@"; }
must_fail 12 "sandbox can't be had on this system; landlock: .*require-sandbox" without_landlock "$ploop_bin" mount --require-sandbox "$dd"
[ -z "$(daemon_pids)" ] || fail "a daemon lives on"
[ -z "$(ls "$PLOOP_DEVDIR")" ] || fail "a node is left"
output=$(without_landlock "$ploop_bin" mount "$dd" 2>&1) || fail "without the option it does not run: $output"
device=$(sed -n 's/^.*Adding delta dev=\([^ ]*\) .*/\1/p' <<<"$output" | head -n 1)
defer detach_quietly "$device"
grep -q "the sandbox lacks a part, landlock" "$PLOOP_RUNDIR/ploop${device##*ploop}/log" || fail "the log does not say what is missing"
ploop list --json | grep -q landlock && fail "the list says landlock"
audit "without Landlock"
detach "$device"

if grep -qw landlock <<<"$parts" && [ "$filtered" = yes ]; then
  step "required and had"
  attach --require-sandbox "$dd"
  audit "required"
  detach "$device"
fi
check_image "$image"
