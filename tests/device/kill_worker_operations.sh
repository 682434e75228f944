#!/bin/bash
# A worker that is killed while an operation runs on a mounted disk under load: the file system above notices nothing, the command
# says whether it was done, doing it again works, and in the end everything is what it should be.
#
#   kill_worker_operations.sh [ROUNDS]       per operation; SEED=N repeats a run
source "$(dirname "$0")/lib.sh"
rounds=${1:-$(sized 3 1)}
begin
requires program e2fsck mkfs.ext4 fio qemu-img
requires space 3000
seed=${SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed

disk=$scratch/disk
dd=$disk/DiskDescriptor.xml
mkdir "$disk" "$scratch/mnt"
grows=yes
resizable || { grows=no && echo "   growing a running device: refused by this kernel"; }
must ploop init -s 500M -t ext4 "$disk/root.hdd"
attach -m "$scratch/mnt" "$dd"
[ "$(state_of can_resend)" = True ] || skip "the kernel can't hand requests to another worker"

must cp -r /etc/. "$scratch/mnt/"
must sync -f "$scratch/mnt"
manifest "$scratch/mnt" >"$scratch/before"
mkdir "$scratch/mnt/fio"
fio --name=load --directory="$scratch/mnt/fio" --size=64M --rw=randrw --bsrange=4k-64k --ioengine=libaio --iodepth=4 --direct=1 \
  --verify=crc32c --verify_state_save=0 --fsync=64 --rate=20m --time_based --runtime=600 >"$scratch/fio.log" 2>&1 &
fio=$!
defer kill -9 "$fio"

# killed_worker COMMAND...: a worker dies at some moment of it, within the first $soon milliseconds; then it is given again until it works, at most three times.
soon=250
other_worker() { [ "$(pid_of worker)" != "$1" ]; }
killed_worker() {
  local command before status
  "$ploop_bin" "$@" >"$scratch/out" 2>&1 &
  command=$!
  sleep "0.$(printf '%03d' $((RANDOM % soon)))"
  before=$(pid_of worker)
  kill -9 "$before" || fail "there is no worker"
  wait "$command"
  status=$?
  until_true 10 other_worker "$before" || fail "no other worker came"
  [ $status -ne 0 ] || return 0
  [ -s "$scratch/out" ] || fail "'ploop $*' failed with $status and said nothing"
  return 1
}

levels() { ploop snapshot-list -H -o uuid "$dd" | wc -l; }
# However far a killed grow came: what ploop says and the kernel's size are the same, a moment later.
said_size() { ploop info -s "$dd" | sed -n 's/^size:[[:space:]]*//p'; }
one_size() { [ "$(said_size)" = "$(blockdev --getsz "$device")" ]; }
size=600
grow_it() {
  size=$((size + 100))
  if ! killed_worker grow -s "${size}M" "$dd"; then
    until_true 10 one_size || fail "ploop says $(said_size) sectors, the kernel $(blockdev --getsz "$device")"
    must ploop grow -s "${size}M" "$dd"
  fi
  [ "$(blockdev --getsize64 "$device")" -eq $((size << 20)) ] || fail "the device has $(blockdev --getsize64 "$device") bytes"
  ploop info -s "$dd" | grep -q "size:.*$((size * 2048))" || fail "the disk has another size: $(ploop info -s "$dd")"
}
if [ $grows = yes ]; then
  step "grow, killed between its steps"
  soon=$(sized 20 60)
  for ((i = 0; i < rounds * 3; i++)); do
    grow_it
    sleep 1.1  # a worker that dies at once, again and again, would be given up
  done
  soon=250
fi
for ((i = 0; i < rounds; i++)); do
  step "round $((i + 1)) of $rounds: snapshot, merge, grow, discard, copy"
  had=$(levels)
  if ! killed_worker snapshot "$dd" && [ "$(levels)" -eq "$had" ]; then must ploop snapshot "$dd"; fi
  [ "$(levels)" -eq $((had + 1)) ] || fail "not one snapshot more: $had, $(levels)"
  had=$(levels)
  if ! killed_worker snapshot-merge "$dd" && [ "$(levels)" -eq "$had" ]; then must ploop snapshot-merge "$dd"; fi
  [ "$(levels)" -eq $((had - 1)) ] || fail "not one snapshot less: $had, $(levels)"
  if [ $grows = yes ]; then grow_it; fi
  must cp -r /etc "$scratch/mnt/more"
  must rm -r "$scratch/mnt/more"
  killed_worker balloon discard "$dd" || must ploop balloon discard "$dd"
  killed_worker copy -s "$device" -d "$scratch/copy" || must ploop copy -s "$device" -d "$scratch/copy"
  must ploop check "$scratch/copy"
  rm "$scratch/copy"
  kill -0 "$fio" 2>/dev/null || fail "fio ended: $(cat "$scratch/fio.log")"
done

kill -INT "$fio"
wait "$fio"
! grep -qiE 'verify: bad|error=|Input/output' "$scratch/fio.log" || fail "fio saw errors: $(cat "$scratch/fio.log")"
rm -r "$scratch/mnt/fio"
manifest "$scratch/mnt" >"$scratch/after"
must cmp "$scratch/before" "$scratch/after"
must ploop umount "$dd"
attach "$dd"
must e2fsck -fn "$device"p1
detach "$device"
for image in "$disk"/root.hdd*; do check_image "$image"; done
