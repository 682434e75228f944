#!/bin/bash
# Flushes, FUA writes, discards and write-zeroes of the kernel reach the engine: its counters rise, the image gives blocks
# back, and the range reads as zeros, also over a lower delta that has data there.
source "$(dirname "$0")/lib.sh"
begin
requires program qemu-img blkdiscard fallocate fstrim mkfs.ext4
requires space 1500

zeros() { # DEVICE OFFSET LENGTH
  cmp -n "$3" -i "$2:0" "$1" /dev/zero >/dev/null
}
# counts COUNTER COMMAND...: the command must raise the device's counter.
counts() {
  local counter=$1 before after
  shift
  before=$(stat_of "$device" "$counter")
  must "$@"
  after=$(stat_of "$device" "$counter")
  [ "$after" -gt "$before" ] || fail "'$*' did not raise $counter (it stays $before)"
}
# at_most IMAGE BYTES: the image shrinks to this within ten seconds. Blocks go back some time after the flush that makes the
# discard durable.
at_most() {
  local i now
  for ((i = 0; i < 100; i++)); do
    now=$(allocated "$1")
    [ "$now" -gt "$2" ] || return 0
    sleep 0.1
  done
  fail "$1 has $now bytes allocated, not $2"
}
fill() { must dd if=/dev/urandom of="$device" bs=1M count=64 oflag=direct conv=notrunc status=none; }

mkdir "$scratch/base" "$scratch/top"
size=$(sized 256M 80M)
must ploop init -s "$size" -t none "$scratch/base/delta"
must ploop init -s "$size" -t none "$scratch/top/delta"
image=$scratch/base/delta
attach "$scratch/base/DiskDescriptor.xml"

step "flush: fsync and sync of the block device"
must dd if=/dev/urandom of="$device" bs=4k count=1 conv=notrunc status=none
counts flushes dd if=/dev/urandom of="$device" bs=4k count=1 conv=notrunc,fsync status=none
counts flushes sync "$device"
step "flush: direct writes with O_DSYNC"
counts flushes dd if=/dev/urandom of="$device" bs=4k count=4 oflag=direct,dsync conv=notrunc status=none
step "a flush of data in new clusters writes the table"
counts table_pages dd if=/dev/urandom of="$device" bs=1M seek=$(sized 200 78) count=1 conv=notrunc,fsync status=none

step "discard gives the blocks of whole clusters back and reads as zeros"
fill
must sync "$device"
full=$(allocated "$image")
counts discards blkdiscard -o $((16 << 20)) -l $((32 << 20)) "$device"
zeros "$device" $((16 << 20)) $((32 << 20)) || fail "discarded range is not zero"
must sync "$device"
at_most "$image" $((full - (31 << 20)))

step "write-zeroes reads as zeros"
fill
counts discards blkdiscard -z -o $((8 << 20)) -l $((16 << 20)) "$device"
zeros "$device" $((8 << 20)) $((16 << 20)) || fail "zeroed range is not zero"

step "fallocate, punch and zero, in the middle of clusters"
fill
must cp "$device" "$scratch/expected"
counts discards fallocate -p -o $((4 << 20 | 12288)) -l $((2 << 20)) "$device"
counts discards fallocate -z -o $((10 << 20 | 4096)) -l 8192 "$device"
for range in "$((4 << 20 | 12288)) $((2 << 20))" "$((10 << 20 | 4096)) 8192"; do
  read -r offset length <<<"$range"
  dd if=/dev/zero of="$scratch/expected" bs=4096 seek=$((offset / 4096)) count=$((length / 4096)) conv=notrunc status=none
done
must cmp "$device" "$scratch/expected"
before=$(hash_of "$device")
detach "$device"
check_image "$image"

step "all of it over a lower delta: zeros, not the data below"
lower=$(hash_of "$image")
attach "$image" "$scratch/top/delta"
[ "$(hash_of "$device")" = "$before" ] || fail "the empty top changed the bytes"
counts discards blkdiscard -o $((1 << 20)) -l $((3 << 20)) "$device"
counts discards blkdiscard -z -o $((7 << 20 | 512)) -l 1536 "$device"
counts discards fallocate -p -o $((9 << 20 | 4096)) -l $((1 << 20)) "$device"
must dd if=/dev/urandom of="$scratch/piece" bs=4k count=3 status=none
must dd if="$scratch/piece" of="$device" bs=4k seek=$((20 << 8 | 5)) oflag=direct conv=notrunc status=none
counts discards blkdiscard -o $((30 << 20)) -l $((1 << 20)) "$device"
must dd if="$scratch/piece" of="$device" bs=4k seek=$((30 << 8 | 1)) oflag=direct conv=notrunc status=none
zero_at() { dd if=/dev/zero of="$scratch/expected" bs=512 seek=$(($1 / 512)) count=$(($2 / 512)) conv=notrunc status=none; }
zero_at $((1 << 20)) $((3 << 20))
zero_at $((7 << 20 | 512)) 1536
zero_at $((9 << 20 | 4096)) $((1 << 20))
zero_at $((30 << 20)) $((1 << 20))
dd if="$scratch/piece" of="$scratch/expected" bs=4k seek=$((20 << 8 | 5)) conv=notrunc status=none
dd if="$scratch/piece" of="$scratch/expected" bs=4k seek=$((30 << 8 | 1)) conv=notrunc status=none
must cmp "$device" "$scratch/expected"
detach "$device"
attach -r "$image" "$scratch/top/delta"
must cmp "$device" "$scratch/expected"
detach "$device"
[ "$(hash_of "$image")" = "$lower" ] || fail "the lower delta changed"
check_image "$scratch/top/delta"

step "fstrim of a mounted ext4 shrinks the image by what was deleted"
mkdir "$scratch/fs" "$scratch/mnt"
must ploop init -s "$(sized 512M 128M)" "$scratch/fs/root.hdd"
attach -m "$scratch/mnt" "$scratch/fs/DiskDescriptor.xml"
must dd if=/dev/urandom of="$scratch/mnt/big" bs=1M count="$(sized 100 30)" conv=fsync status=none
full=$(allocated "$scratch/fs/root.hdd")
rm "$scratch/mnt/big"
must sync -f "$scratch/mnt"
counts discards fstrim "$scratch/mnt"
must sync "$device"
at_most "$scratch/fs/root.hdd" $((full - ($(sized 90 27) << 20)))
must ploop umount "$scratch/fs/DiskDescriptor.xml"
check_image "$scratch/fs/root.hdd"
