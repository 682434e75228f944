#!/bin/bash
# A request that fells every worker: it fails within bounded time, and so does the device, in order; what was acknowledged before is in the image.
# When the program is exchanged for a better one in time, or by the way back of an upgrade, nobody notices. Workers that can't take over any
# more end the device in the same way.
source "$(dirname "$0")/lib.sh"
begin
workers_crash=yes
programs=${PLOOP_TEST_PROGRAMS:-$(dirname "$(command -v "$ploop_bin")")/../tests/device}
requires file "$programs/ploopd-poisoned" "$programs/ploopd-dying"
requires space 300
mkdir "$scratch/disk" "$scratch/poisoned" "$scratch/dying"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml
poison=100  # MiB, where ploopd-poisoned crashes
cp "$programs/ploopd-poisoned" "$scratch/poisoned/ploopd"
cp "$programs/ploopd-dying" "$scratch/dying/ploopd"
head -c 4M /dev/urandom >"$scratch/data"
must ploop init -s 256M -t none "$image"

# write_at MiB: 4 KiB of the data, directly.
write_at() { dd if="$scratch/data" of="$device" bs=4k count=1 seek=$(($1 * 256)) oflag=direct conv=notrunc status=none 2>&1; }

step "it fails, and the device ends"
PLOOP_LIBEXEC=$scratch/poisoned attach "$dd"
resends=$(state_of can_resend)
guardian=$(pid_of guardian)
# Who asks is told whether this device gets over the death of a worker.
told=$(ploop list --json | grep -oE '"survives_crash": *[a-z]+')
warned=$(ploop info -d "$dd" 2>&1 >/dev/null | grep -c "can't hand requests to another daemon")
case $resends in
  True) [[ $told = *true && $warned = 0 ]] || fail "list and info say that it would not survive: $told, $warned" ;;
  *) [[ $told = *false && $warned = 1 ]] || fail "list and info do not say that it would not survive: $told, $warned" ;;
esac
log=$PLOOP_RUNDIR/ploop${device##*ploop}.failed.log
rm -f "$log"
# Acknowledged, and not flushed.
must dd if="$scratch/data" of="$device" bs=1M seek=20 oflag=direct conv=notrunc status=none
dd if="$device" of=/dev/null bs=64k iflag=direct skip=$((120 * 16)) >/dev/null 2>&1 &
begun=$(date +%s%N)
output=$(write_at $poison) && fail "the poisoned write succeeded"
echo "   EIO after $((($(date +%s%N) - begun) / 1000000)) ms"
grep -q "Input/output error" <<<"$output" || fail "no I/O error: $output"
gone 20 "$guardian" || fail "the guardian goes on"
wait
[ -z "$(daemon_pids)" ] || fail "a daemon lives on: $(daemon_pids)"
[ ! -e "$device" ] || fail "the node is still there"
workers=$(grep -c "the worker ended: killed by signal" "$log")
if [ "$resends" = True ]; then
  grep -q "workers keep dying; the device ends" "$log" || fail "the log does not say why: $(cat "$log")"
  # One that served, and ten in a row that could not.
  [ "$workers" -ge 5 ] && [ "$workers" -le 12 ] || fail "$workers workers died: $(cat "$log")"
fi
output=$(ploop list 2>&1)
[ -z "$output" ] || fail "list has something to say: $output"
must ploop check "$image"
attach "$dd"
[ "$(dd if="$device" bs=1M skip=20 count=4 iflag=direct status=none | hash_of /dev/stdin)" = "$(hash_of "$scratch/data")" ] ||
  fail "what was acknowledged is not there"
output=$(write_at $poison) || fail "the place stays bad: $output"

step "the way back of an upgrade cures it"
if [ "$resends" = True ]; then
  version=$(state_of program)
  must ploop upgrade --program "$programs/ploopd-poisoned" "$device"
  output=$(write_at $poison) || fail "the write failed: $output"
  [ "$(state_of program)" = "$version" ] || fail "the bad program stays"
else
  echo "   not possible with this kernel: it can't hand requests to a successor"
fi
detach "$device"
check_image "$image"

# last_worker MiB COMMAND...: no worker can take over any more when the command ends the one that serves. The device ends, and what was
# acknowledged without a flush is in the image, though the last processes ended by themselves.
last_worker() {
  local at=$1
  shift
  rm -f "$scratch/die"
  PLOOP_TEST_DIES_WITH=$scratch/die PLOOP_LIBEXEC=$scratch/dying attach "$dd"
  guardian=$(pid_of guardian)
  must dd if="$scratch/data" of="$device" bs=1M seek="$at" oflag=direct conv=notrunc status=none
  : >"$scratch/die"
  "$@" || fail "$*"
  gone 20 "$guardian" || fail "the guardian goes on"
  must ploop check "$image"
  attach "$dd"
  [ "$(dd if="$device" bs=1M skip="$at" count=4 iflag=direct status=none | hash_of /dev/stdin)" = "$(hash_of "$scratch/data")" ] ||
    fail "what was acknowledged is not there: $(cat "$PLOOP_RUNDIR/ploop${device##*ploop}.failed.log")"
  detach "$device"
}
step "workers that can't take over: after a kill, and after an upgrade"
last_worker 40 eval 'kill -9 "$(pid_of worker)"'
# As a merge does that is at work on a lower level: it has been lent the level, and has it locked.
borrowed_and_killed() {
  python3 - "$PLOOP_RUNDIR/ploop${device##*ploop}/control" "$image" "$(pid_of worker)" "$guardian" <<'END'
import fcntl, os, signal, socket, struct, sys, time
control, image, worker, guardian = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
client.connect(control)
client.sendall(b'{"id":1,"method":"lend","params":{"deltas":[],"known":[],"size_sectors":0,"level":0,"commit":{"from":"","to":""}}}\n')
answer = client.recv(1000)
assert b'"result"' in answer, answer
file = open(image, "r+b")
fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hh4xqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
os.kill(worker, signal.SIGKILL)
for _ in range(45):  # one that waits for the lock does so for a minute
    if not os.path.exists(f"/proc/{guardian}"):
        sys.exit(0)
    time.sleep(1)
sys.exit("the device waits for a level that it has lent")
END
}
last_worker 60 eval '! ploop upgrade --program "$programs/ploopd-dying" "$device" 2>"$scratch/said" || fail "the upgrade worked"'
check_image "$image"

step "and while a lower level is lent to a command"
must ploop snapshot "$dd"
last_worker 80 borrowed_and_killed
must ploop snapshot-merge "$dd"
check_image "$image"
