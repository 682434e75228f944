#!/bin/bash
# Many devices at once, and many one after the other: each has its own content, a killed worker of one disturbs no other, and nothing is
# left: no process, node, loop device, directory, descriptor or memory.
#
#   many_devices.sh [DEVICES [ROUNDS]]     DEVICES attached at once, then ROUNDS times attached and detached one after the other
source "$(dirname "$0")/lib.sh"
devices=${1:-$(sized 8 4)}
rounds=${2:-$(sized 12 4)}
begin
requires program mkfs.ext4
requires space $((300 + devices * 4))

# What the machine has: processes of ours, loop devices in use, FUSE connections and mounts.
inventory() {
  echo "processes $(daemon_pids | wc -l) nodes $(ls -A "$PLOOP_DEVDIR" | wc -l) directories $(ls -d "$PLOOP_RUNDIR"/ploop*/ 2>/dev/null | wc -l)" \
    "mounts $(grep -c "$scratch" /proc/self/mountinfo)"
}
free_kib() { awk '/^MemAvailable/ { print $2 }' /proc/meminfo; }

for ((i = 0; i < devices; i++)); do
  mkdir "$scratch/disk.$i"
  must ploop init -s 32M -t none "$scratch/disk.$i/root.hdd"
done
before=$(inventory)
backing=()

step "$devices devices at once, attached side by side"
begun=$(date +%s%N)
for ((i = 0; i < devices; i++)); do
  ploop mount "$scratch/disk.$i/DiskDescriptor.xml" >"$scratch/out.$i" 2>&1 &
  [ $((i % 8)) -ne 7 ] || wait
done
wait
[ "$(ploop list | wc -l)" -eq "$devices" ] || fail "$(ploop list | wc -l) devices: $(grep -hv '^Adding\|^Opening' "$scratch"/out.*)"
echo "   $((($(date +%s%N) - begun) / 1000000 / devices)) ms each"
declare -A device_of
for ((i = 0; i < devices; i++)); do
  device_of[$i]=$(sed -n 's/^.*Adding delta dev=\([^ ]*\) .*/\1/p' "$scratch/out.$i")
  defer detach_quietly "${device_of[$i]}"
  device=${device_of[$i]}
  name=$(basename "$(state_of backing_device)")
  backing+=("$name $(use_of "$name")")
done
for ((i = 0; i < devices; i++)); do
  head -c 300000 /dev/urandom >"$scratch/content.$i"
  must dd if="$scratch/content.$i" of="${device_of[$i]}" bs=64k conv=fsync,notrunc status=none &
  [ $((i % 8)) -ne 7 ] || wait
done
wait

step "all workers killed at once"
device=${device_of[0]}
if hands_over; then
  workers=()
  for ((i = 0; i < devices; i++)); do
    device=${device_of[$i]}
    workers+=("$(pid_of worker)")
  done
  kill -9 "${workers[@]}"
  for ((i = 0; i < devices; i++)); do
    device=${device_of[$i]}
    other() { [ "$(pid_of worker)" != "${workers[$i]}" ]; }
    until_true 30 other || fail "$device has no other worker"
  done
fi
for ((i = 0; i < devices; i++)); do
  must timeout 60 cmp -n 300000 "${device_of[$i]}" "$scratch/content.$i"
done

step "detached side by side"
for ((i = 0; i < devices; i++)); do
  ploop umount -d "${device_of[$i]}" >"$scratch/out.$i" 2>&1 &
  [ $((i % 8)) -ne 7 ] || wait
done
wait
[ -z "$(ploop list 2>&1)" ] || fail "devices remain: $(ploop list 2>&1) $(cat "$scratch"/out.*)"
[ "$(inventory)" = "$before" ] || fail "not as before: $before, now $(inventory)"
cleared() { local name use; for name in "${backing[@]}"; do read -r name use <<<"$name"; came_free "$name" "$use" || return 1; done; }
until_true 10 cleared || fail "loop devices are still attached: $(for name in "${backing[@]}"; do read -r name use <<<"$name"; came_free "$name" "$use" || echo "$name"; done)"

step "$rounds times one after the other"
numbers=$(ls /sys/block | grep -c '^loop')
memory=$(free_kib)
begun=$(date +%s%N)
for ((i = 0; i < rounds; i++)); do
  attach "$scratch/disk.$((i % devices))/DiskDescriptor.xml"
  [ "$device" = "$PLOOP_DEVDIR/ploop0" ] || fail "round $i has $device: the number of the round before was not given back"
  must timeout 60 cmp -n 300000 "$device" "$scratch/content.$((i % devices))"
  must ploop umount -d "$device"
  deferred=("${deferred[@]:0:$((${#deferred[@]} - 1))}")
done
[ "$rounds" -eq 0 ] || echo "   $((($(date +%s%N) - begun) / 1000000 / rounds)) ms each; available memory $memory -> $(free_kib) KiB; loop devices $numbers -> $(ls /sys/block | grep -c '^loop')"
[ "$(inventory)" = "$before" ] || fail "not as before: $before, now $(inventory)"
[ "$(free_kib)" -ge $((memory - 300000)) ] || echo "   (other programs of the machine count as well)"
for ((i = 0; i < devices; i++)); do must ploop check "$scratch/disk.$i/root.hdd"; done
