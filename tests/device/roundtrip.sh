#!/bin/bash
# Files copied into a disk come back the same: after umount and mount, and the disk's bytes are what qemu-img reads.
#
#   roundtrip.sh HOST INNER FILES     HOST: ext4 xfs btrfs tmpfs; INNER: ext4 ext3 xfs
source "$(dirname "$0")/lib.sh"
host=${1:-ext4} inner=${2:-ext4} files=${3:-$(sized 2000 300)}
begin
requires program qemu-img mkfs.ext4 "mkfs.$inner"
requires filesystem "$host" "$inner"
[ "$host" = tmpfs ] || requires program "mkfs.$host"
requires space 3000

host_filesystem "$host" "$scratch/host" "$(sized 2500 1200)"
real_tree "$scratch/tree" "$files"
manifest "$scratch/tree" >"$scratch/before"
count=$(find "$scratch/tree" \( -type f -o -type l \) | wc -l)
mkdir "$scratch/host/disk" "$scratch/mnt"
image=$scratch/host/disk/root.hdd
dd=$scratch/host/disk/DiskDescriptor.xml

step "$inner on a disk on $host takes $count files"
must ploop init -s "$(sized 800M 400M)" -t "$inner" "$image"
attach -m "$scratch/mnt" "$dd"
must cp -a "$scratch/tree/." "$scratch/mnt/"
must ploop info "$dd"
must ploop umount "$dd"
[ ! -e "$device" ] || fail "$device is still there after umount"
check_image "$image"

step "they are the same after umount and mount"
attach -m "$scratch/mnt" "$dd"
manifest "$scratch/mnt" >"$scratch/after"
must cmp "$scratch/before" "$scratch/after"
must ploop umount -m "$scratch/mnt"

step "qemu-img reads the same bytes as the device"
qemu_reads "$image"
attach -r "$dd"
must cmp "$scratch/qemu.raw" "$device"
detach "$device"
check_image "$image"
