#!/bin/bash
# A running device grows again and again while it is written to as fast as it goes: after each command the kernel has the new size.
#
#   grow_load.sh [TIMES]
source "$(dirname "$0")/lib.sh"
times=${1:-$(sized 30 8)}
begin
requires program fio qemu-img
requires space 800
resizable || skip "this kernel can't resize a ublk device that runs"
mkdir "$scratch/disk"
dd=$scratch/disk/DiskDescriptor.xml
must ploop init -s 64M -t none "$scratch/disk/root.hdd"
attach "$dd"
fio --name=load --filename="$device" --size=48M --rw=randwrite --bs=4k --ioengine=libaio --iodepth=32 --direct=1 --time_based \
  --runtime=600 --output="$scratch/fio.log" &
load=$!
defer kill -9 "$load"
until_true 20 test -s "$scratch/disk/root.hdd"
sleep 1

step "$times times larger under load"
size=64
for ((i = 0; i < times; i++)); do
  size=$((size + 1))
  must ploop grow -s ${size}M "$dd"
  [ "$(blockdev --getsize64 "$device")" -eq $((size << 20)) ] || fail "growth $((i + 1)): $(blockdev --getsize64 "$device") bytes instead of ${size} MiB"
done

step "a worker that took over grows it as well"
if hands_over; then
  before=$(pid_of worker)
  kill -9 "$before"
  replaced() { [ "$(pid_of worker)" != "$before" ]; }
  until_true 20 replaced || fail "no other worker came"
  size=$((size + 1))
  must ploop grow -s ${size}M "$dd"
  [ "$(blockdev --getsize64 "$device")" -eq $((size << 20)) ] || fail "$(blockdev --getsize64 "$device") bytes instead of ${size} MiB"
fi
kill -INT "$load"
wait "$load"
! grep -qE 'err= *[1-9]' "$scratch/fio.log" || fail "fio saw errors: $(cat "$scratch/fio.log")"
detach "$device"
check_image "$scratch/disk/root.hdd"
