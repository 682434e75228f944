#!/bin/bash
# Random sequences of everything that can be done to a disk with a file system on it: snapshot, delete, switch, merge, grow, shrink,
# discard, copy, mounted and not; a model knows which files every snapshot holds.
#
#   disk_model.sh [ext4|xfs] [SEQUENCES] [STEPS]        SEED=N repeats a run
source "$(dirname "$0")/lib.sh"
type=${1:-ext4}
sequences=${2:-$(sized 4 1)}
steps=${3:-8}
begin
requires program "mkfs.$type" qemu-img
requires filesystem "$type"
requires space 4000
mkdir "$scratch/disk"
must ploop init -s 400M -t "$type" "$scratch/disk/root.hdd"
step "$sequences sequences of $steps operations"
python3 -B "$here/disk_model.py" "$ploop_bin" "$scratch/disk" "$type" "$sequences" "$steps" "${SEED:-$RANDOM}" || fail "see above"
step "the file system and every image are good"
for image in "$scratch/disk"/root.hdd*; do check_image "$image"; done
attach "$scratch/disk/DiskDescriptor.xml"
case $type in
  ext4) must e2fsck -fn "${device}p1" ;;
  xfs) must xfs_repair -n "${device}p1" ;;
esac
detach "$device"
