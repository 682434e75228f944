#!/bin/bash
# resize, killed at any moment: the old disk or the new one, never something between, and the same command works afterwards.
#
#   kill_resize.sh [ROUNDS]
source "$(dirname "$0")/lib.sh"
rounds=${1:-$(sized 12 2)}
begin
requires program qemu-img mkfs.ext4 resize2fs e2fsck
requires space 2500
seed=${SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed

dir=$scratch/disk
mnt=$scratch/mnt
mkdir "$dir" "$mnt"
dd=$dir/DiskDescriptor.xml
image=$dir/root.hdd
must ploop init -s 400M -t ext4 "$image"
attach -m "$mnt" "$dd"
must cp -r /etc/. "$mnt/"
# Something at the end, that has to move when the disk shrinks.
dd if=/dev/urandom of="$mnt/a" bs=1M count=120 status=none
dd if=/dev/urandom of="$mnt/b" bs=1M count=60 status=none
rm "$mnt/a"
manifest "$mnt" >"$scratch/files"
must ploop umount "$dd"

sectors() { sed -n 's:.*<Disk_size>\(.*\)</Disk_size>.*:\1:p' "$dd"; }
# settle: devices of a killed command are gone soon, by themselves.
settle() {
  local i
  for ((i = 0; i < 100; i++)); do
    [ -n "$(daemon_pids)" ] || return 0
    sleep 0.05
  done
  fail "a daemon lives on after a killed command: $(leftovers)"
}
# sound: whatever the kill left, the next command puts it right.
sound() {
  attach -m "$mnt" "$dd"
  manifest "$mnt" >"$scratch/now"
  must cmp "$scratch/files" "$scratch/now"
  must ploop umount "$dd"
  [ ! -e "$dir/.ploop-intent" ] || fail "a note is left: $(cat "$dir/.ploop-intent")"
  [ -z "$(find "$dir" -name 'root.hdd.*')" ] || fail "files are left: $(ls -A "$dir")"
  check_image "$image"
  attach -r "$dd"
  must e2fsck -fn "$device"p1
  detach "$device"
}

measure resize -s 500M "$dd"
up=$took
measure resize -s 400M "$dd"
down=$took
old=0
new=0
step "$rounds resizes, killed, up (about $up ms) and down (about $down ms) in turns"
for ((i = 0; i < rounds; i++)); do
  if [ $((i % 2)) -eq 0 ]; then size=500 took=$up; else size=400 took=$down; fi
  before=$(sectors)
  "$ploop_bin" resize -s ${size}M "$dd" >/dev/null 2>&1 &
  pid=$!
  wait_ms=$((RANDOM % (took + 20)))
  sleep_ms $wait_ms
  kill -9 "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  settle
  sound
  after=$(sectors)
  if [ "$after" = "$((size * 2048))" ]; then new=$((new + 1)); else old=$((old + 1)); fi
  [ "$after" = "$before" ] || [ "$after" = "$((size * 2048))" ] || fail "$before became $after sectors"
  must ploop resize -s ${size}M "$dd"
  [ "$(sectors)" = "$((size * 2048))" ] || fail "the repeated command gave $(sectors) sectors"
done
sound
echo "   $old times the old size, $new times the new one"
