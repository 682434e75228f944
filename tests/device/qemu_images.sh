#!/bin/bash
# Images made by qemu-img become disks here, take writes, and stay good for both.
source "$(dirname "$0")/lib.sh"
begin
requires program qemu-img mkfs.ext4
requires space 2000
mkdir "$scratch/mnt"

step "qemu-img create: an empty image gets a file system and files"
mkdir "$scratch/created"
image=$scratch/created/root.hds
dd=$scratch/created/DiskDescriptor.xml
must qemu-img create -q -f parallels "$image" 300M
must ploop restore-descriptor "$scratch/created" "$image"
attach "$dd"
cmp -n $((300 << 20)) "$device" /dev/zero || fail "the new image is not all zeros"
must mkfs.ext4 -q "$device"
detach "$device"
attach -m "$scratch/mnt" "$dd"
must cp -r /etc "$scratch/mnt/"
manifest "$scratch/mnt" >"$scratch/before"
must ploop umount "$dd"
check_image "$image"
attach -m "$scratch/mnt" "$dd"
manifest "$scratch/mnt" >"$scratch/after"
must cmp "$scratch/before" "$scratch/after"
must ploop umount "$dd"

step "qemu-img convert: a full image reads the same, takes writes, and qemu-img reads them"
truncate -s 200M "$scratch/raw"
must mkfs.ext4 -q -d /etc "$scratch/raw"
mkdir "$scratch/converted"
image=$scratch/converted/root.hds
must qemu-img convert -f raw -O parallels "$scratch/raw" "$image"
attach "$image"
must cmp -n $((200 << 20)) "$scratch/raw" "$device"
must dd if=/dev/urandom of="$scratch/piece" bs=1M count=5 status=none
must dd if="$scratch/piece" of="$device" bs=1M seek=33 oflag=direct conv=notrunc status=none
must dd if="$scratch/piece" of="$scratch/raw" bs=1M seek=33 conv=notrunc status=none
must cmp -n $((200 << 20)) "$scratch/raw" "$device"
detach "$device"
check_image "$image"
must qemu-img convert -f parallels -O raw "$image" "$scratch/back"
must cmp -n $((200 << 20)) "$scratch/raw" "$scratch/back"

step "other cluster sizes of qemu-img"
for cluster in 64k 256k 4M; do
  rm -f "$scratch/other"
  must qemu-img create -q -f parallels -o cluster_size=$cluster "$scratch/other" 100M
  attach "$scratch/other"
  must dd if="$scratch/piece" of="$device" bs=1M seek=11 oflag=direct conv=notrunc status=none
  must cmp -n $((5 << 20)) -i 0:$((11 << 20)) "$scratch/piece" "$device"
  detach "$device"
  check_image "$scratch/other"
done
