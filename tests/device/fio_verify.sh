#!/bin/bash
# Random writes of mixed sizes from four jobs, with discards and flushes, read back as written: on a single image, on a
# stack of five, and again after the device was detached. For the stack an independent copy (a raw file that gets the same
# operations) says what every sector has to hold.
#
#   fio_verify.sh single|stack
source "$(dirname "$0")/lib.sh"
kind=${1:-single}
begin
requires program fio qemu-img blkdiscard
requires space 3000
size_mib=$(sized 512 160)

run_fio() {
  local seed=$1 out=$scratch/fio.out part=$((size_mib / 8))
  # Every job has its own part of the device; blocks are random in size and place. Four jobs write, with a flush after
  # every 32nd write, and read back while the others go on; two discard each block before they write it; one
  # discards only.
  timeout $((300 * patience)) fio --output="$out" --filename="$device" --direct=1 --ioengine=libaio --iodepth=16 --randseed="$seed" \
    --size=${part}M --bsrange=512-192k --blockalign=512 --group_reporting \
    --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_backlog=64 --verify_state_save=0 \
    --name=write --numjobs=4 --rw=randwrite --offset_increment=${part}M --fsync=32 \
    --name=trimwrite --numjobs=2 --rw=randtrimwrite --offset=$((part * 4))M --offset_increment=${part}M \
    --name=trim --numjobs=1 --rw=randtrim --offset=$((part * 6))M --offset_increment=0 --verify=0 ||
    fail "fio: $(tail -n 30 "$out")"
  ! grep -E 'err= *[1-9]' "$out" || fail "fio reports errors: $(cat "$out")"
  # Proof that the mix was what it should be.
  local kind
  for kind in READ WRITE TRIM; do grep -q "$kind: " "$out" || fail "fio did no $kind: $(cat "$out")"; done
}

if [ "$kind" = single ]; then
  mkdir "$scratch/disk"
  image=$scratch/disk/root.hdd
  must ploop init -s ${size_mib}M -t none "$image"
  for seed in $(sized "1 2" 1); do
    attach "$scratch/disk/DiskDescriptor.xml"
    step "fio, seed $seed, single image: written, discarded, flushed and verified"
    run_fio "$seed"
    [ "$(stat_of "$device" errors)" -eq 0 ] || fail "the device counted errors"
    flushes=$(stat_of "$device" flushes)
    [ "$flushes" -gt 20 ] || fail "only $flushes flushes reached the device: $(cat "$scratch/fio.out")"
    before=$(hash_of "$device")
    detach "$device"
    step "the same bytes after a new attach, and for qemu-img"
    qemu_reads "$image"
    attach -r "$scratch/disk/DiskDescriptor.xml"
    [ "$(hash_of "$device")" = "$before" ] || fail "the bytes changed over detach and attach"
    must cmp "$scratch/qemu.raw" "$device"
    detach "$device"
    check_image "$image"
  done
  exit 0
fi

stack=()
: >"$scratch/oracle"
truncate -s ${size_mib}M "$scratch/oracle"
for level in 0 1 2 3 4; do
  mkdir "$scratch/disk$level"
  must ploop init -s ${size_mib}M -t none "$scratch/disk$level/delta"
  stack+=("$scratch/disk$level/delta")
  attach "${stack[@]}"
  step "stack of $((level + 1)): random writes, zeroes and discards are what an independent copy has"
  must python3 "$here/scatter.py" "$device" "$scratch/oracle" $((100 + level)) "$(sized 400 80)"
  must cmp "$device" "$scratch/oracle"
  if [ $level -eq 4 ]; then
    lower=$(sha256sum "${stack[@]:0:4}")
    step "fio over the stack of five"
    run_fio 3
    [ "$(stat_of "$device" errors)" -eq 0 ] || fail "the device counted errors"
    must cp --sparse=always "$device" "$scratch/oracle"
    must python3 "$here/scatter.py" "$device" "$scratch/oracle" 999 "$(sized 400 80)"
  fi
  detach "$device"
done
step "the same bytes after a new attach; lower deltas untouched; every delta good"
attach -r "${stack[@]}"
must cmp "$device" "$scratch/oracle"
detach "$device"
[ "$lower" = "$(sha256sum "${stack[@]:0:4}")" ] || fail "a lower delta changed"
for delta in "${stack[@]}"; do check_image "$delta"; done
