#!/bin/bash
# A command that dies by kill -9 at any moment leaves the old or the new state, and the next command works.
#
#   kill_command.sh [ROUNDS]
source "$(dirname "$0")/lib.sh"
rounds=${1:-$(sized 12 2)}
begin
requires program qemu-img mkfs.ext4 fsfreeze
requires space 1500
seed=${SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed

# killed COMMAND...: starts it, kills it after a random part of $took.
killed() {
  local pid wait_ms
  wait_ms=$((RANDOM % (took + 5)))
  "$ploop_bin" "$@" >/dev/null 2>&1 &
  pid=$!
  sleep_ms $wait_ms
  kill -9 "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
}
# A device that a dead command did not come to keep ends by itself; one that it kept is visible and can be detached. Either way that
# must leave a good image.
settle() {
  local name
  mounted=$(awk -v mine="$scratch/" -v keep="$scratch/mem" 'index($5, mine) == 1 && $5 != keep { print $5 }' /proc/self/mountinfo)
  for name in $mounted; do must umount "$name"; done
  sleep 0.2
  for name in $(ploop list | cut -d' ' -f1); do
    ploop umount -d "$PLOOP_DEVDIR/$name" >"$scratch/settle" 2>&1 || ! ploop list | grep -q "^$name " || fail "$(cat "$scratch/settle")"
  done
  for _ in {1..50}; do
    [ -n "$(daemon_pids)" ] || break
    sleep 0.1
  done
  [ -z "$(daemon_pids)" ] || fail "a daemon lives on after a killed command: $(leftovers)"
}

for kind in "-t none" "-t ext4"; do
  step "init $kind, killed $rounds times: no disk, or a whole one"
  done_before=0
  mkdir -p "$scratch/timing"
  # shellcheck disable=SC2086
  measure init -s 300M $kind "$scratch/timing/root.hdd"
  rm -r "$scratch/timing"
  for ((i = 0; i < rounds; i++)); do
    dir=$scratch/init
    rm -rf "$dir"
    mkdir "$dir"
    # shellcheck disable=SC2086
    killed init -s 300M $kind "$dir/root.hdd"
    settle
    if [ -e "$dir/DiskDescriptor.xml" ]; then
      done_before=$((done_before + 1))
      attach "$dir/DiskDescriptor.xml"
      [ "$kind" = "-t none" ] || must e2fsck -fn "$device"p1
      detach "$device"
      check_image "$dir/root.hdd"
    else
      # The same command must work now, whatever the dead one left.
      # shellcheck disable=SC2086
      must ploop init -s 300M $kind "$dir/root.hdd"
    fi
  done
  echo "   $done_before of $rounds were done before the kill"
done

dd=$scratch/init/DiskDescriptor.xml
image=$scratch/init/root.hdd
mkdir "$scratch/mnt"
attach -m "$scratch/mnt" "$dd"
must cp -r /etc/. "$scratch/mnt/"
manifest "$scratch/mnt" >"$scratch/before"
must ploop umount "$dd"

step "mount and umount, killed $rounds times each: attached or not, never half, nothing lost"
measure mount -m "$scratch/mnt" "$dd"
mount_took=$took
measure umount "$dd"
umount_took=$took
for ((i = 0; i < rounds; i++)); do
  took=$mount_took
  killed mount -m "$scratch/mnt" "$dd"
  settle
  attach -m "$scratch/mnt" "$dd"
  took=$umount_took
  killed umount "$dd"
  settle
  check_image "$image"
done
attach -r -m "$scratch/mnt" "$dd"
manifest "$scratch/mnt" >"$scratch/after"
must cmp "$scratch/before" "$scratch/after"
must ploop umount "$dd"

step "restore-descriptor, killed $rounds times: no descriptor, or a good one; the image untouched"
hash=$(hash_of "$image")
rm -f "$dd"
measure restore-descriptor "$scratch/init" "$image"
for ((i = 0; i < rounds; i++)); do
  rm -f "$dd"
  killed restore-descriptor "$scratch/init" "$image"
  [ -e "$dd" ] || must ploop restore-descriptor "$scratch/init" "$image"
  must ploop info -s "$dd"
  [ "$(hash_of "$image")" = "$hash" ] || fail "the image changed"
done

step "check, killed $rounds times: the image stays good"
measure check "$dd"
for ((i = 0; i < rounds; i++)); do
  killed check "$dd"
  check_image "$image"
done

step "a device that is late with the snapshot of a killed command does not take the next one's for it"
late=$scratch/late
mkdir "$late"
host_filesystem ext4 "$scratch/slow" 200
must ploop init -s 100M -t none "$late/root.hdd"
must cp "$late/root.hdd" "$scratch/slow/"
must mount --bind "$scratch/slow/root.hdd" "$late/root.hdd"
defer umount -l "$late/root.hdd"
attach "$late/DiskDescriptor.xml"
must dd if=/dev/urandom of="$device" bs=1M count=1 iflag=fullblock oflag=direct status=none
must fsfreeze -f "$scratch/slow"
defer fsfreeze -u "$scratch/slow"
"$ploop_bin" snapshot "$late/DiskDescriptor.xml" >/dev/null 2>&1 &
killed=$!
sleep 0.7
kill -9 $killed
wait $killed
"$ploop_bin" snapshot "$late/DiskDescriptor.xml" >"$scratch/out" 2>&1 &
next=$!
sleep 0.7
must fsfreeze -u "$scratch/slow"
wait $next || fail "$(cat "$scratch/out")"
top=$(sed -n 's/.*<File>\(.*\)<\/File>.*/\1/p' "$late/DiskDescriptor.xml" | tail -n 1)
grep -qF "\"path\":\"$late/$top\"" "$(state_file)" || fail "the descriptor names $top, the device: $(cat "$(state_file)")"
must dd if=/dev/urandom of="$scratch/written" bs=1M count=2 iflag=fullblock status=none
must dd if="$scratch/written" of="$device" bs=1M oflag=direct status=none
detach "$device"
attach "$late/DiskDescriptor.xml"
must cmp -n 2M "$scratch/written" "$device"
detach "$device"
[ -z "$(find "$late" -name '*.tmp*' -o -name '.ploop-intent')" ] || fail "left behind: $(ls -A "$late")"
