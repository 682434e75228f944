#!/bin/bash
# A daemon that dies by kill -9 under load. A killed worker is replaced and nobody above notices. When the guardian dies, or workers
# keep dying, nobody hangs for good, nothing is left behind, the image stays good and has all that was flushed.
#
#   kill_daemon.sh [KILLS]
source "$(dirname "$0")/lib.sh"
kills=${1:-$(sized 15 4)}
begin
requires program qemu-img mkfs.ext4 fio
requires space 1500

mkdir "$scratch/disk" "$scratch/mnt"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml
must ploop init -s "$(sized 512M 200M)" "$image"

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
  local keeper
  keeper=$(pid_of keeper)
  pid=$(pid_of "$victim")
  kill -9 "$pid" || fail "there is no $victim ($pid)"
  if [ "$victim" = worker ]; then
    # One after the other as soon as it is there, until the guardian gives up.
    # Without a single other program, and before they serve, or the workers would live long enough to count as good ones.
    local guardian children child never ends=$((SECONDS + 60 * patience))
    guardian=$(pid_of guardian)
    exec {never}<> <(:)
    while [ $SECONDS -lt $ends ] && kill -0 "$guardian" 2>/dev/null; do
      children=
      { read -r children <"/proc/$guardian/task/$guardian/children"; } 2>/dev/null
      for child in $children; do
        [ "$child" = "$keeper" ] || kill -9 "$child" 2>/dev/null
      done
      read -r -t 0.01 -u "$never"
    done
    exec {never}<&-
    ! kill -0 "$guardian" 2>/dev/null || fail "the guardian has not given up after $((60 * patience)) s"
  fi
  for pid in "${load[@]}"; do
    gone 60 "$pid" || fail "a process hangs 60 s after the $victim died: $(cat "/proc/$pid/wchan" 2>/dev/null)"
  done
  # Now the wreck has to go away by ordinary means.
  timeout $((60 * patience)) umount "$scratch/mnt" || timeout $((60 * patience)) umount -l "$scratch/mnt" || fail "cannot unmount"
  ploop_timeout=90 ploop umount "$dd" >/dev/null 2>&1
  ploop_timeout=60 ploop list >"$scratch/list" 2>"$scratch/warnings"
  [ $? -ne 124 ] || fail "ploop list hangs"
  [ ! -s "$scratch/list" ] || fail "list still shows a device: $(cat "$scratch/list")"
  until_true 20 no_daemons || fail "a daemon lives on: $(daemon_pids)"
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
  if [ "$(state_of can_resend)" != True ]; then
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
    before=$(pid_of worker)
    kill -9 "$before" || fail "there is no worker ($before)"
    replaced() { [ "$(pid_of worker)" != "$before" ]; }
    until_true 20 replaced || fail "no worker was replaced within 20 s"
  done
  wait "$fio" || fail "fio failed: $(cat "$scratch/fio.log")"
  kill -9 "${load[1]}"
  wait "${load[1]}" 2>/dev/null
  [ ! -e "$scratch/failed" ] || fail "a write failed"
  [ "$(pid_of worker)" != "$before" ] || fail "no worker was replaced"
  ! grep -q " ro," <(grep " $scratch/mnt " /proc/mounts) || fail "the file system became read-only"
  must ploop umount "$dd"
  check_image "$image"
  attach "$dd"
  must e2fsck -fn "$device"p1
  detach "$device"
}
step "worker killed $kills times under fio and a mounted ext4: nobody notices"
survive

for round in $(sized "1 2 3" 1); do
  step "workers killed under load until the guardian gives up, round $round"
  one_round worker $round
done
for round in $(sized "4 5 6" 4); do
  step "guardian killed under load, round $round"
  one_round guardian $round
done

step "a stopped worker: the forced way out"
attach "$dd"
pid=$(pid_of worker)
kill -STOP "$pid"
(dd if="$device" of=/dev/null bs=1M count=1 iflag=direct) >/dev/null 2>&1 &
reader=$!
load=("$reader")
sleep 0.3
kill -9 "$(pid_of guardian)"
gone 60 "$reader" || fail "a reader hangs after the guardian of a stopped worker died"
until_true 20 no_daemons || fail "a daemon lives on"
ploop list >/dev/null 2>&1
attach -r "$dd"
detach "$device"
