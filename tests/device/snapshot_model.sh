#!/bin/bash
# Random sequences of snapshot, delete, switch, merge, grow and discard on one device; a model knows what every snapshot contains.
#
#   snapshot_model.sh [SEQUENCES] [STEPS]        SEED=N repeats a run
source "$(dirname "$0")/lib.sh"
sequences=${1:-$(sized 8 2)}
steps=${2:-8}
begin
requires program blkdiscard qemu-img
requires space 2500
mkdir "$scratch/disk"
must ploop init -s 48M -t none "$scratch/disk/root.hdd"
step "$sequences sequences of $steps operations"
python3 -B "$here/snapshot_model.py" "$ploop_bin" "$scratch/disk" "$sequences" "$steps" "${SEED:-$RANDOM}" || fail "see above"
step "every image is good"
for image in "$scratch/disk"/root.hdd*; do check_image "$image"; done
