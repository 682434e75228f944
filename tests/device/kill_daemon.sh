#!/bin/bash
# A daemon that dies by kill -9 under load. A killed worker is replaced and nobody above notices. When the guardian dies, or workers
# keep dying, nobody hangs for good, nothing is left behind, the image stays good and has all that was flushed.
#
#   kill_daemon.sh [KILLS]
source "$(dirname "$0")/lib.sh"
kills=${1:-15}
begin
requires program qemu-img mkfs.ext4 fio
requires space 1500

mkdir "$scratch/disk" "$scratch/mnt"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml
must ploop init -s 512M "$image"

# The pid of the worker or guardian from the device's state file.
pid_of() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' \
  "$PLOOP_RUNDIR/ploop${device##*ploop}/state" "$1"; }

# gone SECONDS PID: the process ends in time.
gone() {
  local i
  for ((i = 0; i < $1 * 20; i++)); do
    kill -0 "$2" 2>/dev/null || return 0
    sleep 0.05
  done
  return 1
}

load=()
stop_load() {
  local pid
  for pid in "${load[@]}"; do kill -9 "$pid"; done 2>/dev/null
}

one_round() {
  local victim=$1 round=$2 pid
  attach -m "$scratch/mnt" "$dd"
  must dd if=/dev/urandom of="$scratch/mnt/kept.$round" bs=64k count=40 conv=fsync status=none
  must sync -f "$scratch/mnt"
  local kept
  kept=$(hash_of "$scratch/mnt/kept.$round")
  # Writers with and without fsync, and a reader of the raw device.
  load=()
  (while dd if=/dev/urandom of="$scratch/mnt/a" bs=16k count=200 conv=fsync,notrunc; do :; done) >/dev/null 2>&1 &
  load+=($!)
  (while dd if=/dev/urandom of="$scratch/mnt/b" bs=1M count=20 conv=notrunc && sync "$scratch/mnt/b"; do :; done) >/dev/null 2>&1 &
  load+=($!)
  (while dd if="$device" of=/dev/null bs=1M iflag=direct; do :; done) >/dev/null 2>&1 &
  load+=($!)
  sleep 0.$((RANDOM % 8 + 1))
  pid=$(pid_of "$victim")
  kill -9 "$pid" || fail "there is no $victim ($pid)"
  if [ "$victim" = worker_pid ]; then
    # One after the other as soon as it is there, until the guardian gives up.
    local guardian state i
    guardian=$(pid_of guardian_pid)
    state=$PLOOP_RUNDIR/ploop${device##*ploop}/state
    for ((i = 0; i < 1500; i++)); do
      kill -0 "$guardian" 2>/dev/null || break
      pid=$(sed -n 's/.*"worker_pid":\([0-9]*\).*/\1/p' "$state" 2>/dev/null)
      [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null
      sleep 0.01
    done
  fi
  for pid in "${load[@]}"; do
    gone 60 "$pid" || fail "a process hangs 60 s after the $victim died: $(cat "/proc/$pid/wchan" 2>/dev/null)"
  done
  # Now the wreck has to go away by ordinary means.
  timeout 60 umount "$scratch/mnt" || timeout 60 umount -l "$scratch/mnt" || fail "cannot unmount"
  ploop_timeout=90 ploop umount "$dd" >/dev/null 2>&1
  ploop_timeout=60 ploop list >"$scratch/list" 2>&1
  [ $? -ne 124 ] || fail "ploop list hangs"
  [ ! -s "$scratch/list" ] || fail "list still shows a device: $(cat "$scratch/list")"
  [ -z "$(daemon_pids)" ] || fail "a daemon lives on: $(daemon_pids)"
  attach -m "$scratch/mnt" "$dd"
  [ "$(hash_of "$scratch/mnt/kept.$round")" = "$kept" ] || fail "a file that was flushed is not the same"
  must ploop umount "$dd"
  check_image "$image"
  attach "$dd"
  must e2fsck -fn "$device"p1
  detach "$device"
}

defer stop_load
survive() {
  attach -m "$scratch/mnt" "$dd"
  if [ "$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["can_resend"])' \
    "$PLOOP_RUNDIR/ploop${device##*ploop}/state")" != True ]; then
    echo "   not possible with this kernel: it can't hand requests to a successor"
    must ploop umount "$dd"
    return
  fi
  fio --name=survive --directory="$scratch/mnt" --size=48M --rw=randrw --bsrange=4k-64k --ioengine=libaio --iodepth=8 --direct=1 \
    --verify=crc32c --verify_state_save=0 --fsync=32 --time_based --runtime=$((kills / 2 + 3)) >"$scratch/fio.log" 2>&1 &
  local fio=$! i before
  (while sleep 0.05; do date >>"$scratch/mnt/log" && sync "$scratch/mnt/log" || touch "$scratch/failed"; done) &
  load=("$fio" "$!")
  for ((i = 0; i < kills; i++)); do
    sleep 0.$((RANDOM % 4 + 3))
    before=$(pid_of worker_pid)
    kill -9 "$before" || fail "there is no worker ($before)"
  done
  wait "$fio" || fail "fio failed: $(cat "$scratch/fio.log")"
  kill -9 "${load[1]}"
  wait "${load[1]}" 2>/dev/null
  [ ! -e "$scratch/failed" ] || fail "a write failed"
  [ "$(pid_of worker_pid)" != "$before" ] || fail "no worker was replaced"
  ! grep -q " ro," <(grep " $scratch/mnt " /proc/mounts) || fail "the file system became read-only"
  must ploop umount "$dd"
  check_image "$image"
  attach "$dd"
  must e2fsck -fn "$device"p1
  detach "$device"
}
step "worker killed $kills times under fio and a mounted ext4: nobody notices"
survive

for round in 1 2 3; do
  step "workers killed under load until the guardian gives up, round $round"
  one_round worker_pid $round
done
for round in 4 5 6; do
  step "guardian killed under load, round $round"
  one_round guardian_pid $round
done

step "a stopped worker: the forced way out"
attach "$dd"
pid=$(pid_of worker_pid)
kill -STOP "$pid"
(dd if="$device" of=/dev/null bs=1M count=1 iflag=direct) >/dev/null 2>&1 &
reader=$!
load=("$reader")
sleep 0.3
kill -9 "$(pid_of guardian_pid)"
gone 60 "$reader" || fail "a reader hangs after the guardian of a stopped worker died"
sleep 1
[ -z "$(daemon_pids)" ] || fail "a daemon lives on"
ploop list >/dev/null 2>&1
attach -r "$dd"
detach "$device"
