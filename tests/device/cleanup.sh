#!/bin/bash
# After umount, and after every kind of failure of a mount, nothing is left: no process, no loop device, no mount, no
# node, no runtime directory, no file beside the image.
source "$(dirname "$0")/lib.sh"
begin
requires program mkfs.ext4
requires space 800
mkdir "$scratch/disk" "$scratch/mnt"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml

nothing_left() {
  local left
  left=$(leftovers)
  [ -z "$left" ] || fail "$1 left: $left"
  left=$(ls -d "$PLOOP_RUNDIR"/ploop*/ 2>/dev/null)
  [ -z "$left" ] || fail "$1 left $left"
  left=$(cd "$scratch/disk" && ls -A | grep -vxE 'root.hdd|DiskDescriptor.xml(\.lck)?|\.statfs')
  [ -z "$left" ] || fail "$1 left beside the image: $left"
}

step "init"
must ploop init -s 300M "$image"
nothing_left init

step "mount and umount in all forms"
attach "$dd"
detach "$device"
nothing_left "umount -d"
attach -m "$scratch/mnt" "$dd"
must ploop umount -m "$scratch/mnt"
nothing_left "umount -m"
attach -m "$scratch/mnt" "$dd"
must ploop umount "$dd"
nothing_left "umount DESCRIPTOR"
attach "$image"
must ploop umount "$image"
nothing_left "umount IMAGE"

step "without its nodes, as in another /dev, a live disk is not taken for a dead one"
attach -m "$scratch/mnt" "$dd"
rm "$device" "$device"p1
sleep 100 <"$scratch/mnt" &
user=$!
must_fail 46 "is used by" ploop umount -m "$scratch/mnt"
mountpoint -q "$scratch/mnt" || fail "unmounted under its user"
kill $user
wait $user 2>/dev/null
must ploop umount -m "$scratch/mnt"
nothing_left "umount -m without nodes"
attach -r -m "$scratch/mnt" "$dd"
must ploop umount "$dd"
nothing_left "umount of a read-only mount"

step "ten times, and four at once"
for _ in $(seq 10); do
  attach "$dd"
  must ploop umount "$dd"
done
for i in 1 2 3 4; do
  mkdir "$scratch/disk.$i"
  must ploop init -s 64M -t none "$scratch/disk.$i/root.hdd"
done
for i in 1 2 3 4; do ploop mount "$scratch/disk.$i/DiskDescriptor.xml" >"$scratch/out.$i" 2>&1 & done
wait
[ "$(ploop list | wc -l)" -eq 4 ] || fail "not four devices: $(cat "$scratch"/out.*)"
for i in 1 2 3 4; do ploop umount "$scratch/disk.$i/DiskDescriptor.xml" >"$scratch/out.$i" 2>&1 & done
wait
[ -z "$(ploop list)" ] || fail "devices remain: $(ploop list) $(cat "$scratch"/out.*)"
nothing_left "four at once"

step "mounts that fail"
must_fail 38 "Failed to stat mount point" ploop mount -m "$scratch/missing" "$dd"
must_fail 38 "not a directory" ploop mount -m /etc/passwd "$dd"
must_fail 21 "." ploop mount -m "$scratch/mnt" -t xfs "$dd"
must_fail 21 "." ploop mount -m "$scratch/mnt" -o no_such_option "$dd"
must_fail 43 "." ploop mount -u "{11111111-2222-3333-4444-555555555555}" "$dd"
nothing_left "failed mounts"

step "a busy device stays whole until it is free"
attach -m "$scratch/mnt" "$dd"
sleep 300 <"$scratch/mnt" &
user=$!
defer kill "$user"
must_fail 46 "sleep\\($user\\)|Failed to umount" ploop umount "$dd"
mountpoint -q "$scratch/mnt" || fail "the file system is gone"
kill "$user"
wait "$user" 2>/dev/null
must ploop umount "$dd"
nothing_left "umount after busy"
