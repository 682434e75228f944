#!/bin/bash
# Zero copy over ublk. Where the kernel has it: the data of mapped clusters does not pass through the worker, that of all other requests does,
# and every byte is right either way. Where it has not: a refusal that says so and changes nothing.
source "$(dirname "$0")/lib.sh"
begin
requires program cmp qemu-img
requires space 300
mib=$(sized 64 16)
mkdir "$scratch/disk"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml
must ploop init -s "${mib}M" -t none "$image"
export PLOOP_TRANSPORT=ublk:zero-copy

if ! ploop mount "$dd" >/dev/null 2>&1; then
  step "a kernel without it"
  before=$(sha256sum "$scratch"/disk/*)
  must_fail 2 "This (kernel's ublk has no zero copy|system has no ublk)" ploop mount "$dd"
  must_fail 2 "This (kernel's ublk has no zero copy|system has no ublk)" ploop mount --transport ublk:zero-copy "$dd"
  [ "$(sha256sum "$scratch"/disk/*)" = "$before" ] || fail "a refused mount changed something"
  exit 0
fi
must ploop umount "$dd"

# Bytes that the worker has moved by system calls of its own: to and from the server's file, mostly. What its ring moves does not count.
moved() { awk '/^[rw]char/ { n += $2 } END { printf "%d\n", n }' "/proc/$(pid_of worker)/io"; }
# moves LEAST MOST COMMAND...: what the worker moves meanwhile, in MiB.
moves() {
  local least=$1 most=$2 start bytes
  shift 2
  start=$(moved)
  must "$@"
  bytes=$(($(moved) - start))
  echo "   the worker moved $((bytes >> 10)) KiB"
  [ $bytes -ge $((least << 20)) ] || fail "'$*' moved only $bytes bytes through the worker"
  [ $bytes -le $((most << 20)) ] || fail "'$*' moved $bytes bytes through the worker"
}
read_all() { must dd if="$device" bs=1M iflag=direct status=none of="$scratch/read"; }
write_data() { must dd if="$scratch/data" of="$device" bs=1M conv=notrunc status=none "$@"; }
same() { must cmp "$scratch/data" "$scratch/read"; }

head -c "${mib}M" /dev/urandom >"$scratch/data"
attach "$dd"

step "what is not there is filled with zeros by the worker"
moves "$mib" $((mib + 6)) read_all
must cmp -n $((mib << 20)) "$scratch/read" /dev/zero

step "first writes, then overwrites and reads that nobody copies"
write_data oflag=direct
write_data oflag=direct
moves 0 2 write_data oflag=direct
moves 0 2 read_all
same

step "the page cache's pages, too"
head -c "${mib}M" /dev/urandom >"$scratch/data"
moves 0 2 write_data conv=notrunc,fsync
moves 0 2 read_all
same

step "durable writes are a write and a flush"
moves "$mib" $((mib + 6)) write_data oflag=direct,dsync

step "a snapshot: reads from two levels, and clusters that have to be filled"
must ploop snapshot "$dd"
moves 0 2 read_all
same
head -c 4M /dev/urandom >"$scratch/piece"
must dd if="$scratch/piece" of="$device" bs=4k seek=3 count=40 oflag=direct conv=notrunc status=none
must dd if="$scratch/piece" of="$scratch/data" bs=4k seek=3 count=40 conv=notrunc status=none
must dd if="$scratch/piece" of="$device" bs=512 seek=20001 count=7 oflag=direct conv=notrunc status=none
must dd if="$scratch/piece" of="$scratch/data" bs=512 seek=20001 count=7 conv=notrunc status=none
read_all
same
must blockdev --flushbufs "$device"
read_all
same

step "the worker's successor"
worker=$(pid_of worker)
kill -9 "$worker"
write_data oflag=direct
read_all
same
[ "$(pid_of worker)" != "$worker" ] || fail "the worker was not replaced"
moves 0 2 read_all
detach "$device"
check_image "$image"

step "the same bytes without it"
unset PLOOP_TRANSPORT
attach -r "$dd"
read_all
same
detach "$device"
