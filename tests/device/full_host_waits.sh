#!/bin/bash
# The host's file system is full while the disk is written: writes that need room wait, everything else goes on, whoever waits is told why,
# and with room they go on as if nothing had been. Or they fail, when that was asked for.
#
#   full_host_waits.sh [TYPE...]     host file systems; tmpfs, ext4, xfs and btrfs otherwise
source "$(dirname "$0")/lib.sh"
begin
requires program mkfs.ext4
requires space 1500
[ $# -gt 0 ] || set -- $(sized "tmpfs ext4 xfs btrfs" "tmpfs ext4")

waits() { ploop list 2>&1 >/dev/null | grep -q "^$device waits for space: the file system that .*root.hdd lies on is full"; }
# Takes what is free on the host, to the last block.
fill_host() {
  defer rm -f "$host/filler" "$host/rest" "$host/rest2"  # whatever fails, nobody is left waiting
  dd if=/dev/zero of="$host/filler" bs=1M conv=fsync status=none 2>/dev/null
  dd if=/dev/zero of="$host/rest" bs=64k conv=fsync status=none 2>/dev/null
  dd if=/dev/zero of="$host/rest2" bs=4k conv=fsync status=none 2>/dev/null
  sync -f "$host"
}
make_room() { rm -f "$host/filler" "$host/rest" "$host/rest2"; }

# A new disk on the host, in place of the one before.
new_disk() {
  rm -rf "$host/disk"
  mkdir "$host/disk"
  dd=$host/disk/DiskDescriptor.xml
  must ploop init -s 300M -t ext4 "$host/disk/root.hdd"
}

mkdir "$scratch/other" "$scratch/mnt" "$scratch/mnt2"
head -c 4000000 /dev/urandom >"$scratch/known"
# More than the image file has in reserve, and less than the kernel lets a writer have dirty before he has to wait.
mebibytes=$(sized 57 20)
head -c "$((mebibytes << 20))" /dev/urandom >"$scratch/large"

# Writes wait, other disks do not, and with room everything goes on.
writes_wait() {
  local type=$1 writer
  step "$type: writes wait while the host is full"
  new_disk
  attach -m "$scratch/mnt" "$dd"
  must cp "$scratch/known" "$scratch/mnt/known"
  sync -f "$scratch/mnt"
  waits && fail "$device is said to wait while there is room"
  must grep -q '"waits_for_space": *false' <(ploop list --json)
  fill_host
  dd if="$scratch/large" of="$scratch/mnt/large" bs=1M conv=fsync status=none &
  writer=$!
  until_true 30 waits || fail "nobody says that $device waits: $(ploop list 2>&1)"
  must grep -q '"waits_for_space": *true' <(ploop list --json 2>/dev/null)
  kill -0 "$writer" 2>/dev/null || fail "the writer did not wait"
  # Other disks have nothing to do with it.
  must timeout 30 "$ploop_bin" init -s 64M -t ext4 "$scratch/other/root.hdd"
  local first=$device
  attach -m "$scratch/mnt2" "$scratch/other/DiskDescriptor.xml"
  must cp "$scratch/known" "$scratch/mnt2/known"
  must timeout 30 "$ploop_bin" umount "$scratch/other/DiskDescriptor.xml"
  rm "$scratch/other"/*
  device=$first

  # Refused before the file system is asked to stand still, which would take until there is room.
  [ "$type" = btrfs ] || must_fail '(1|7|20)' "No space" timeout 60 "$ploop_bin" snapshot "$dd"

  step "$type: with room they go on"
  make_room
  wait "$writer" || fail "the writer failed with $?"
  still_waits() { ! waits; }
  until_true 30 still_waits || fail "$device waits on: $(ploop list 2>&1)"
  must cmp "$scratch/large" "$scratch/mnt/large"

  step "$type: umount waits as well, says why, and ends when there is room"
  fill_host
  # Dirty pages that nobody has written yet.
  timeout 60 dd if="$scratch/large" of="$scratch/mnt/second" bs=1M status=none
  ploop umount "$dd" >"$scratch/said" 2>&1 &
  writer=$!
  told() { grep -q "waits for space: .* is full" "$scratch/said"; }
  until_true 40 told || fail "umount does not say why it waits: $(cat "$scratch/said")"
  kill -0 "$writer" 2>/dev/null || fail "umount ended on a full host: $(cat "$scratch/said")"
  make_room
  wait "$writer" || fail "umount failed with $?: $(cat "$scratch/said")"
  [ "$(grep -c "waits for space" "$scratch/said")" -eq 1 ] || fail "umount says it more than once: $(cat "$scratch/said")"
  check_image "$host/disk/root.hdd"
  attach -r -m "$scratch/mnt" "$dd"
  must cmp "$scratch/large" "$scratch/mnt/large"
  must cmp "$scratch/large" "$scratch/mnt/second"
  must e2fsck -fn "${device}p1"
  must ploop umount "$dd"

  step "$type: a detach that is refused, because somebody has the device open, changes nothing of that"
  new_disk
  attach "$dd"
  sleep 300 <"$device" &
  local opener=$!
  must_fail 3 "is open|busy" ploop umount -d "$device"
  kill $opener
  wait $opener 2>/dev/null
  must mount "${device}p1" "$scratch/mnt"
  fill_host
  dd if="$scratch/large" of="$scratch/mnt/third" bs=1M conv=fsync status=none &
  writer=$!
  until_true 30 waits || fail "nobody says that $device waits: $(ploop list 2>&1)"
  make_room
  wait "$writer" || fail "the writer failed with $?"
  rm "$scratch/mnt/third"
  must ploop umount "$dd"
}

# A few waiting writes leave room in the device's queue: what needs no space on the host goes on.
goes_on() {
  local type=$1 writer
  step "$type: reads and overwrites go on meanwhile"
  new_disk
  attach "$dd"
  must dd if="$scratch/known" of="$device" bs=64k seek=2000 conv=fsync,notrunc status=none
  fill_host
  dd if="$scratch/large" of="$device" bs=1M seek=140 oflag=direct conv=notrunc status=none &
  writer=$!
  until_true 30 waits || fail "nobody says that $device waits: $(ploop list 2>&1)"
  must timeout 20 cmp -n 4000000 "$scratch/known" <(dd if="$device" bs=64k skip=2000 count=70 iflag=direct status=none)
  if [ "$type" != btrfs ]; then  # which needs room for overwriting, too
    must timeout 20 dd if="$scratch/large" of="$device" bs=64k seek=2000 count=10 oflag=direct conv=notrunc,fdatasync status=none
    must timeout 20 cmp -n 655360 "$scratch/large" <(dd if="$device" bs=64k skip=2000 count=10 iflag=direct status=none)
  fi
  if hands_over; then
    step "$type: and so they do after the death of the worker"
    local worker
    worker=$(pid_of worker)
    kill -9 "$worker"
    other() { [ "$(pid_of worker)" != "$worker" ]; }
    until_true 20 other || fail "no other worker came: $(cat "$PLOOP_RUNDIR/ploop${device##*ploop}/log")"
    must timeout 20 cmp -n 3000000 <(tail -c +1000001 "$scratch/known") <(tail -c +$((131072000 + 1000001)) "$device")
    ploop_timeout=20 must ploop upgrade "$device"
    until_true 30 waits || fail "nobody says that $device waits: $(ploop list 2>&1)"
  fi
  kill -0 "$writer" 2>/dev/null || fail "the writer did not wait"
  make_room
  wait "$writer" || fail "the writer failed with $?"
  must cmp "$scratch/large" <(dd if="$device" bs=1M skip=140 count="$mebibytes" iflag=direct status=none)
  must ploop umount "$dd"
  check_image "$host/disk/root.hdd"
}

# With --on-enospc=fail the writer hears of it, the disk goes on.
fails() {
  local type=$1
  step "$type: or they fail, when that was asked for"
  new_disk
  attach --on-enospc=fail "$dd"
  must grep -q '"on_enospc": *"fail"' <(ploop list --json)
  must dd if="$scratch/known" of="$device" bs=64k seek=2000 conv=fsync,notrunc status=none
  fill_host
  must_fail 1 "No space left" timeout 60 dd if=/dev/urandom of="$device" bs=1M seek=140 count=100 oflag=direct conv=notrunc status=none
  must timeout 20 cmp -n 4000000 "$scratch/known" <(dd if="$device" bs=64k skip=2000 count=70 iflag=direct status=none)
  make_room
  must dd if="$scratch/known" of="$device" bs=64k seek=2400 conv=fsync,notrunc status=none
  must ploop umount "$dd"
  check_image "$host/disk/root.hdd"
}

for type in "$@"; do
  requires filesystem "$type"
  host=$scratch/$type
  host_filesystem "$type" "$host" 400
  writes_wait "$type"
  goes_on "$type"
  fails "$type"
done
