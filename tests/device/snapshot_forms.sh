#!/bin/bash
# The less common forms: snapshot -d, branches that the running device does not use, levels of different size, a device that shows a
# snapshot, a pause that does not depend on the size of the disk.
source "$(dirname "$0")/lib.sh"
begin
requires program qemu-img
requires space 1500
a='{aaaaaaaa-0000-4000-8000-000000000000}'
b='{bbbbbbbb-0000-4000-8000-000000000000}'
c='{cccccccc-0000-4000-8000-000000000000}'
put() { must dd if=/dev/urandom of="$device" bs=64k seek=$(($1 * 16)) count="$2" conv=notrunc,fsync status=none; }
# new_disk SIZE [CLUSTER_SECTORS]: an attached disk without a file system.
new_disk() {
  rm -rf "$scratch/disk"
  mkdir "$scratch/disk"
  dd=$scratch/disk/DiskDescriptor.xml
  must ploop init -s "$1" -b "${2:-2048}" -t none "$scratch/disk/root.hdd"
  attach "$dd"
}
good_images() { for image in "$scratch/disk"/*.hdd*; do check_image "$image"; done; }

step "snapshot -d: a device of a list gets a new top; the former one is frozen"
mkdir "$scratch/list"
must ploop init -s 32M -t none "$scratch/list/base.hdd"
attach "$scratch/list/base.hdd"
put 0 40
before=$(hash_of "$device")
must ploop snapshot -d "$device" -F "$scratch/list/second.hdd"
frozen=$(hash_of "$scratch/list/base.hdd")
put 1 40
put 20 16
after=$(hash_of "$device")
must_fail 4 'second.hdd.*exist' ploop snapshot -d "$device" "$scratch/list/second.hdd"
must_fail 9 "Can't find device" ploop snapshot -d "$PLOOP_DEVDIR/ploop77" "$scratch/list/third.hdd"
[ ! -e "$scratch/list/third.hdd" ] || fail "a file was left"
detach "$device"
[ "$(hash_of "$scratch/list/base.hdd")" = "$frozen" ] || fail "the frozen image was written"
attach -r "$scratch/list/base.hdd"
[ "$(hash_of "$device")" = "$before" ] || fail "the base is not what it was"
detach "$device"
attach -r "$scratch/list/base.hdd" "$scratch/list/second.hdd"
[ "$(hash_of "$device")" = "$after" ] || fail "the stack is not what the device was"
detach "$device"

step "a device of a descriptor is not given images behind its back"
new_disk 32M
must_fail 38 'ploop snapshot' ploop snapshot -d "$device" "$scratch/disk/second.hdd"

step "a branch beside the running one is merged and deleted as on a stopped disk"
put 0 32
must ploop snapshot -u $a "$dd"
put 2 32
must ploop snapshot -u $b "$dd"
put 4 32
must ploop snapshot -u $c "$dd"
detach "$device"
must ploop snapshot-switch -u $a "$dd"
attach "$dd"
put 6 32
now=$(hash_of "$device")
must ploop snapshot-merge -u $c "$dd"
attached=$device
attach -r -u $c -c look "$dd"
branch=$(hash_of "$device")
must_fail 17 'busy by device' ploop snapshot-delete -u $c "$dd"
must ploop umount -c look "$dd"
device=$attached
must_fail 38 '2 children' ploop snapshot-merge "$dd"
must ploop snapshot-delete -u $a "$dd"
must ploop snapshot-list -H "$dd"
[ "$(hash_of "$device")" = "$now" ] || fail "the current state has changed"
attach -r -u $c -c look "$dd"
[ "$(hash_of "$device")" = "$branch" ] || fail "the branch has changed"
must ploop umount -c look "$dd"
device=$attached
must ploop snapshot-delete -u $c "$dd"
[ "$(ploop snapshot-list -H "$dd" | wc -l)" -eq 1 ] || fail "the marked snapshot stayed: $(ploop snapshot-list "$dd")"
[ "$(hash_of "$device")" = "$now" ] || fail "the current state has changed"
detach "$device"
good_images

step "levels of different size, the lower one with too short a table, are merged while the disk runs"
new_disk 16M 64
put 0 100
must ploop snapshot -u $a "$dd"
detach "$device"
must ploop grow -s 600M "$dd"
attach "$dd"
put 500 40
put 3 40
must ploop snapshot -u $b "$dd"
put 400 40
now=$(hash_of "$device")
must ploop snapshot-merge -u $b "$dd"
[ "$(hash_of "$device")" = "$now" ] || fail "the current state has changed"
must ploop snapshot-merge "$dd"
[ "$(hash_of "$device")" = "$now" ] || fail "the current state has changed"
detach "$device"
good_images
new_disk 16M 64
put 0 100
must ploop snapshot -u $a "$dd"
detach "$device"
must ploop grow -s 600M "$dd"
attach "$dd"
put 500 40
now=$(hash_of "$device")
must ploop snapshot-merge "$dd"
[ "$(hash_of "$device")" = "$now" ] || fail "the current state has changed"
detach "$device"
good_images

step "merging the running disk into a new image"
new_disk 32M
put 0 64
must ploop snapshot -u $a "$dd"
put 2 64
must ploop snapshot -u $b "$dd"
put 4 64
now=$(hash_of "$device")
must ploop snapshot-merge -A -n "$scratch/disk/new.hdd" "$dd"
[ "$(hash_of "$device")" = "$now" ] || fail "the current state has changed"
[ "$(ls "$scratch/disk" | grep -c hdd)" -eq 1 ] || fail "an image was left: $(ls "$scratch/disk")"
detach "$device"
attach -r "$dd"
[ "$(hash_of "$device")" = "$now" ] || fail "the new image is not what the disk was"
detach "$device"
good_images

step "the pause of a snapshot does not depend on the size"
pause_of() {
  new_disk "$1"
  python3 "$here/longest_write.py" "$device" "$scratch/stop" >"$scratch/pause" &
  local writer=$!
  sleep 0.5
  must ploop snapshot "$dd"
  must ploop snapshot "$dd"
  sleep 0.2
  touch "$scratch/stop"
  wait "$writer"
  rm "$scratch/stop"
  detach "$device"
  cat "$scratch/pause"
}
small=$(pause_of 256M)
large=$(pause_of 1T)
echo "   longest write: $small ms on 256 MiB, $large ms on 1 TiB"
[ "$large" -lt $((small * 4 + 250)) ] || fail "the pause grows with the disk"

step "a lower image that a crash left marked in use is put right by mount, whatever is below"
mkdir "$scratch/marked"
must ploop init -s 64M -t none "$scratch/marked/root.hdd"
must ploop snapshot "$scratch/marked/DiskDescriptor.xml"
printf 'Ynot' | dd of="$scratch/marked/root.hdd" bs=1 seek=44 conv=notrunc status=none
attach "$scratch/marked/DiskDescriptor.xml"
detach "$device"
[ "$(dd if="$scratch/marked/root.hdd" bs=1 skip=44 count=4 status=none | tr -d '\0')" = '' ] || fail "the mark is still there"
