#!/bin/bash
# merge -d, grow -d and replace on a running device under verified load: fio finds no mismatch, the quiet part of the disk keeps
# its hash, and every image is sound afterwards.
. "$(dirname "$0")/lib.sh"
begin
requires program fio qemu-img cmp

# The first 64 MiB of the disk are written at the start of every level and then left alone; fio works behind them.
quiet=64

# fill LEVEL: a third of the quiet part, so that every level has something of its own.
fill() {
  local i
  for ((i = $1; i < quiet; i += 3)); do
    head -c 1M /dev/urandom | dd of="$device" bs=1M seek="$i" oflag=direct iflag=fullblock conv=notrunc status=none || fail "dd"
  done
}
quiet_hash() { dd if="$device" bs=1M count=$quiet iflag=direct status=none | hash_of /dev/stdin; }

load() {
  fio --name=load --filename="$device" --offset=${quiet}m --size=128m --rw=randwrite --bs=4k --direct=1 --ioengine=libaio \
    --iodepth=8 --verify=crc32c --verify_backlog=512 --rate_iops=1500 --time_based --runtime="$1" \
    --aux-path="$scratch" --output="$scratch/fio.log" &
  fio_pid=$!
  sleep 1
}
load_ends() {
  wait "$fio_pid" || fail "fio: $(tail -n 20 "$scratch/fio.log")"
  ! grep -qiE 'verify: bad|verify failed' "$scratch/fio.log" || fail "fio found a mismatch: $(cat "$scratch/fio.log")"
}

# make_stack DIR: a disk with three snapshots, with data in all levels; files in $stack, base first. The host file system decides whether
# clusters are shared or copied.
make_stack() {
  local level
  mkdir -p "$1"
  must ploop init -s 256m -t none "$1/root.hdd"
  for level in 0 1 2 3; do
    attach "$1/DiskDescriptor.xml"
    fill $((level % 3))
    detach "$device"
    [ $level = 3 ] || must ploop snapshot "$1/DiskDescriptor.xml"
  done
  mapfile -t stack < <(ploop snapshot-list -H -o fname "$1/DiskDescriptor.xml")
  [ ${#stack[@]} -eq 4 ] || fail "the disk has ${#stack[@]} images: ${stack[*]}"
}

levels() { grep -o '"deltas":\[.*\]' "$(state_file)" | grep -oE '"path":"[^"]*"' | cut -d'"' -f4; }

for type in $(sized "xfs ext4" xfs); do
  grep -qw $type /proc/filesystems || modprobe -q $type 2>/dev/null || { step "no $type here"; continue; }
  step "a running stack on $type"
  host_filesystem $type "$scratch/$type" 4096
  make_stack "$scratch/$type/disk"
  # From here on without the descriptor.
  attach "${stack[@]}"
  before=$(quiet_hash)

  step "merge -d: levels below the top, into one of them"
  load 12
  must ploop merge -d "$device" -l 0..2
  [ "$(levels | wc -l)" -eq 2 ] || fail "the device has the levels $(levels)"
  [ "$(quiet_hash)" = "$before" ] || fail "the quiet part changed"
  [ -e "${stack[1]}" ] || fail "merge removed a file"

  step "replace -d: a copy of the base, under load"
  cp "${stack[0]}" "$scratch/$type/disk/copy.hdd"
  must ploop replace -d "$device" -l 0 -i "$scratch/$type/disk/copy.hdd"
  [ "$(levels | sed -n 1p)" = "$scratch/$type/disk/copy.hdd" ] || fail "the device uses $(levels | sed -n 1p)"
  rm "${stack[0]}"
  [ "$(quiet_hash)" = "$before" ] || fail "the quiet part changed"
  cp "$scratch/$type/disk/copy.hdd" "$scratch/$type/disk/second"
  must ploop replace -d "$device" -o "$scratch/$type/disk/copy.hdd" -k -i "$scratch/$type/disk/second"
  [ ! -e "$scratch/$type/disk/second" ] || fail "the new file still has its own name"
  must_fail 38 'Invalid level 1' ploop replace -d "$device" -l 1 -i "$scratch/$type/disk/copy.hdd"

  step "grow -d, under load"
  if grows_online; then
    must ploop grow -s 512m -d "$device"
    [ "$(blockdev --getsz "$device")" -eq 1048576 ] || fail "the device has $(blockdev --getsz "$device") sectors"
    must ploop grow -s 512m -d "$device"
    must_fail 38 'Incorrect new size specified 524288 current size 1048576' ploop grow -s 256m -d "$device"
  else
    must_fail 3 "can't resize .* while it runs" ploop grow -s 512m -d "$device"
  fi
  must_fail 38 'aligned to the cluster' ploop grow -s 1048577 -d "$device"

  step "merge -d: the top as well, under load"
  must_fail 9 'Illegal top level' ploop merge -d "$device" -l 0..7
  must ploop merge -d "$device"
  [ "$(levels | wc -l)" -eq 1 ] || fail "the device has the levels $(levels)"
  must_fail 38 'Single delta' ploop merge -d "$device"
  load_ends
  [ "$(quiet_hash)" = "$before" ] || fail "the quiet part changed"
  detach "$device"
  check_image "$scratch/$type/disk/copy.hdd"
  attach -r "$scratch/$type/disk/copy.hdd"
  [ "$(quiet_hash)" = "$before" ] || fail "the quiet part changed after detaching"
  detach "$device"
done

step "merge -d into a base whose table has to grow: its clusters move while the device reads them"
mkdir "$scratch/k"
must ploop init -s 200m -b 64 -t none "$scratch/k/root.hdd"
attach "$scratch/k/DiskDescriptor.xml"
fill 0
detach "$device"
must ploop snapshot "$scratch/k/DiskDescriptor.xml"
must ploop grow -s 2000m "$scratch/k/DiskDescriptor.xml"
attach "$scratch/k/DiskDescriptor.xml"
fill 1
dd if=/dev/urandom of="$device" bs=1M count=8 seek=1900 oflag=direct status=none || fail "dd"
detach "$device"
must ploop snapshot "$scratch/k/DiskDescriptor.xml"
mapfile -t stack < <(ploop snapshot-list -H -o fname "$scratch/k/DiskDescriptor.xml")
attach "${stack[@]}"
before=$(quiet_hash)
end=$(dd if="$device" bs=1M skip=1900 count=8 iflag=direct status=none | hash_of /dev/stdin)
load 6
must ploop merge -d "$device" -l 0
[ "$(levels | wc -l)" -eq 2 ] || fail "the device has the levels $(levels)"
load_ends
[ "$(quiet_hash)" = "$before" ] || fail "the quiet part changed"
[ "$(dd if="$device" bs=1M skip=1900 count=8 iflag=direct status=none | hash_of /dev/stdin)" = "$end" ] || fail "the end changed"
detach "$device"
check_image "${stack[0]}"
attach -r "${stack[0]}" "${stack[2]}"
[ "$(quiet_hash)" = "$before" ] || fail "the quiet part changed after detaching"
detach "$device"

step "a disk with a descriptor: grow and replace follow in it"
mkdir "$scratch/d"
must ploop init -s 128m -t none "$scratch/d/root.hdd"
must ploop snapshot "$scratch/d/DiskDescriptor.xml"
attach "$scratch/d/DiskDescriptor.xml"
if grows_online; then
  must ploop grow -s 256m "$scratch/d/DiskDescriptor.xml"
  grep -q '<Disk_size>524288<' "$scratch/d/DiskDescriptor.xml" || fail "the descriptor does not say so"
  must ploop grow -s 300m -d "$device"
  grep -q '<Disk_size>614400<' "$scratch/d/DiskDescriptor.xml" || fail "the descriptor does not say so"
fi
cp "$scratch/d/root.hdd" "$scratch/d/new.hdd"
must ploop replace -l 0 -i "$scratch/d/new.hdd" "$scratch/d/DiskDescriptor.xml"
grep -q '<File>new.hdd<' "$scratch/d/DiskDescriptor.xml" || fail "the descriptor does not name the new file"
must ploop merge -d "$device" -l 0
[ "$(levels | wc -l)" -eq 1 ] || fail "the device has the levels $(levels)"
[ "$(ploop snapshot-list -H -o uuid "$scratch/d/DiskDescriptor.xml" | wc -l)" -eq 1 ] || fail "the descriptor has other levels"
must_fail 38 'Image is mounted' ploop convert -v 1 "$scratch/d/DiskDescriptor.xml"
detach "$device"
attach "$scratch/d/DiskDescriptor.xml"
detach "$device"

step "a conversion that the original tools did not finish is put back by mount"
must ploop init -s 64m -t none -v 1 "$(mkdir "$scratch/e" && echo "$scratch/e")/root.hdd"
cp "$scratch/e/root.hdd" "$scratch/e/good"
head -c 1048576 "$scratch/e/root.hdd" >"$scratch/e/root.hdd.idx"
printf 'WithouFreSpacExt' | dd of="$scratch/e/root.hdd" conv=notrunc status=none
printf 'Ynot' | dd of="$scratch/e/root.hdd" bs=1 seek=44 conv=notrunc status=none
printf '\2\0\0\0' | dd of="$scratch/e/root.hdd" bs=1 seek=52 conv=notrunc status=none
attach "$scratch/e/DiskDescriptor.xml"
detach "$device"
cmp "$scratch/e/root.hdd" "$scratch/e/good" || fail "the image is not as it was"
[ ! -e "$scratch/e/root.hdd.idx" ] || fail "the copy of the table is still there"
