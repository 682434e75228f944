#!/bin/bash
# A worker that a signal stops (SIGSTOP) is noticed and replaced within seconds; nobody above sees more than a pause. A keeper that is
# stopped goes on by itself. Nothing of that costs an idle device anything.
#
#   stopped.sh [ROUNDS]
source "$(dirname "$0")/lib.sh"
rounds=${1:-$(sized 2 1)}
begin
requires program mkfs.ext4 e2fsck fio
requires space 800
mkdir "$scratch/disk" "$scratch/mnt"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml
must ploop init -s 256M "$image"

attach -m "$scratch/mnt" "$dd"
log=$PLOOP_RUNDIR/ploop${device##*ploop}/log

if [ "$(state_of can_resend)" != True ]; then
  step "no takeover with this kernel: the worker goes on"
  kill -STOP "$(pid_of worker)"
  must timeout 30 dd if="$device" of=/dev/null bs=1M count=1 iflag=direct status=none
  grep -q "has to go on" "$log" || fail "the log does not say so"
  must ploop umount "$dd"
  exit 0
fi

step "worker stopped under verified load, $rounds times"
fio --name=stopped --directory="$scratch/mnt" --size=32M --rw=randrw --bsrange=4k-64k --ioengine=libaio --iodepth=8 --direct=1 \
  --verify=crc32c --verify_state_save=0 --fsync=32 --time_based --runtime=$((rounds * 5 + 3)) >"$scratch/fio.log" 2>&1 &
fio=$!
defer kill -9 "$fio"
for ((i = 0; i < rounds; i++)); do
  sleep 1
  before=$(pid_of worker)
  kill -STOP "$before" || fail "there is no worker"
  gone 6 "$before" || fail "the stopped worker is still there after 6 s"
  replaced() { [ "$(pid_of worker)" != "$before" ]; }
  until_true 3 replaced || fail "no other worker came"
done
wait "$fio" || fail "fio failed: $(cat "$scratch/fio.log")"
grep -q "is killed and replaced" "$log" || fail "the log does not say so"

step "one that is let go on in time is not replaced"
before=$(pid_of worker)
kill -STOP "$before"
sleep 0.5
kill -CONT "$before"
sleep 4
[ "$(pid_of worker)" = "$before" ] || fail "it was replaced"
must timeout 20 dd if="$device" of=/dev/null bs=1M count=1 iflag=direct status=none

step "stopped again and again"
for _ in 1 2 3 4 5; do
  kill -STOP "$(pid_of worker)"
  sleep 0.4
  kill -CONT "$(pid_of worker)"
  sleep 0.1
done
[ "$(pid_of worker)" = "$before" ] || fail "it was replaced"

step "a stopped keeper: I/O goes on, and a detach waits for some seconds at most"
kill -STOP "$(pid_of keeper)"
must timeout $((2 * patience)) dd if=/dev/urandom of="$scratch/mnt/more" bs=1M count=4 conv=fsync status=none
ploop_timeout=20 must ploop umount "$dd"

step "worker and keeper stopped: one is replaced, the other goes on; also when the worker goes on by itself"
for let_go in no yes; do
  attach -m "$scratch/mnt" "$dd"
  both=("$(pid_of worker)" "$(pid_of keeper)")
  [ $let_go = no ] || both=("${both[1]}" "${both[0]}")
  kill -STOP "${both[0]}"
  sleep 0.2
  kill -STOP "${both[1]}"
  sleep 0.5
  [ $let_go = no ] || kill -CONT "$(pid_of worker)"
  must timeout $((20 * patience)) dd if="$device" of=/dev/null bs=1M count=1 iflag=direct status=none
  ploop_timeout=20 must ploop umount "$dd"
done

step "an idle device costs no processor time"
attach "$dd"
ticks() { awk '{ sum += $14 + $15 } END { print sum }' $(for pid in $(daemon_pids); do echo "/proc/$pid/stat"; done); }
sleep 1
before=$(ticks)
sleep 3
[ $(($(ticks) - before)) -le "$patience" ] || fail "$(($(ticks) - before)) ticks in 3 s"
must ploop umount "$dd"
check_image "$image"
attach "$dd"
must e2fsck -fn "$device"p1
detach "$device"
