#!/bin/bash
# kill -9 of merge, grow, convert and replace, and of the daemon under merge -d and grow: at random moments, again and again. The disk
# reads the same bytes afterwards, the next command needs nobody's help, and the images are sound.
. "$(dirname "$0")/lib.sh"
begin
requires program qemu-img cmp
rounds=${1:-$(sized 5 2)}

# killed_after MILLISECONDS COMMAND...: its exit status, or 137. Waits until the process has really gone, locks and all.
killed_after() {
  local ms=$1 pid
  shift
  "$ploop_bin" "$@" >"$scratch/said" 2>&1 &
  pid=$!
  sleep_ms "$ms"
  kill -9 "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
}
fill() {  # fill FROM COUNT: MiB of the device
  dd if=/dev/urandom of="$device" bs=1M seek="$1" count="$2" oflag=direct iflag=fullblock conv=notrunc status=none || fail "dd"
}
device_hash() { dd if="$device" bs=1M iflag=direct status=none | hash_of /dev/stdin; }
# Of a disk that is not attached, by its descriptor.
disk_hash() {
  attach "$1/DiskDescriptor.xml" >&2 || exit 1
  device_hash
  detach "$device" >&2
}

dir=$scratch/disk
mkdir "$dir"
must ploop init -s 48m -b 64 -t none "$dir/root.hdd"
attach "$dir/DiskDescriptor.xml"
fill 0 40
detach "$device"
must ploop snapshot "$dir/DiskDescriptor.xml"
attach "$dir/DiskDescriptor.xml"
fill 10 30
detach "$device"
mapfile -t stack < <(ploop snapshot-list -H -o fname "$dir/DiskDescriptor.xml")

step "merge of files: the stack reads the same whenever it is killed"
attach -r "${stack[@]}"
expected=$(device_hash)
detach "$device"
cp "${stack[0]}" "$scratch/base"
killed=0
for ((i = 0; i < rounds; i++)); do
  cp "$scratch/base" "$dir/work"
  killed_after $((1 + RANDOM % 60)) merge "${stack[1]}" "$dir/work"
  [ $? -ne 137 ] || killed=$((killed + 1))
  if ((i % 2 == 0)); then
    must ploop check -d "$dir/work"
    attach -r "$dir/work" "${stack[1]}"
    [ "$(device_hash)" = "$expected" ] || fail "round $i: the stack reads something else"
    detach "$device"
  fi
  must ploop merge "${stack[1]}" "$dir/work"
  attach -r "$dir/work"
  [ "$(device_hash)" = "$expected" ] || fail "round $i: the merged image reads something else"
  detach "$device"
  must ploop check -f -c -r "$dir/work"
done
step "killed $killed of $rounds"
[ -z "$(find "$dir" -name '*.ploop-merge*')" ] || fail "merge left $(find "$dir" -name '*.ploop-merge*')"
rm "$dir/work"

step "grow of a disk: old or new size, and the next command finishes it"
size=48
for ((i = 0; i < rounds; i++)); do
  size=$((size + 150))
  killed_after $((1 + RANDOM % 40)) grow -s ${size}m "$dir/DiskDescriptor.xml"
  must ploop check "$dir/DiskDescriptor.xml"
  must ploop grow -s ${size}m "$dir/DiskDescriptor.xml"
  attach -r "$dir/DiskDescriptor.xml"
  [ "$(dd if="$device" bs=1M count=48 iflag=direct status=none | hash_of /dev/stdin)" = "$expected" ] || fail "round $i: other bytes"
  detach "$device"
  for image in "${stack[@]}"; do must ploop check -f -c -r "$image"; done
done

step "replace and convert of a disk: the old or the new file, the same bytes, nothing half-done"
for ((i = 0; i < rounds; i++)); do
  xml=$dir/DiskDescriptor.xml
  mapfile -t stack < <(ploop snapshot-list -H -o fname "$xml")
  cp "${stack[0]}" "$dir/other$i"
  killed_after $((1 + RANDOM % 40)) replace -l 0 -i "$dir/other$i" "$xml"
  attach -r "$xml"
  [ "$(dd if="$device" bs=1M count=48 iflag=direct status=none | hash_of /dev/stdin)" = "$expected" ] || fail "round $i: other bytes after replace"
  detach "$device"
  mapfile -t stack < <(ploop snapshot-list -H -o fname "$xml")
  [ "${stack[0]}" = "$dir/other$i" ] || rm "$dir/other$i"
  killed_after $((1 + RANDOM % 40)) convert -v $((1 + i % 2)) "$xml"
  must ploop check "$xml"
  must ploop convert -v $((1 + i % 2)) "$xml"
  attach -r "$xml"
  [ "$(dd if="$device" bs=1M count=48 iflag=direct status=none | hash_of /dev/stdin)" = "$expected" ] || fail "round $i: other bytes after convert"
  detach "$device"
  for image in "${stack[@]}"; do must ploop check -f -c -r "$image"; done
done
must ploop convert -v 2 "$dir/DiskDescriptor.xml"
mapfile -t stack < <(ploop snapshot-list -H -o fname "$dir/DiskDescriptor.xml")
cp "${stack[0]}" "$scratch/base"

step "replace -k by a file whose clusters lie elsewhere: a worker dies while the files change names"
order=$scratch/order
mkdir "$order" "$order/new"
must ploop init -s 16m -b 64 -t none "$order/root.hdd"
attach "$order/DiskDescriptor.xml"
for ((n = 255; n >= 0; n--)); do head -c 32768 /dev/urandom; done >"$scratch/content"
for ((n = 255; n >= 0; n--)); do  # the last cluster first
  dd if="$scratch/content" of="$device" bs=32k skip=$n seek=$n count=1 oflag=direct conv=notrunc status=none || fail "dd"
done
detach "$device"
must ploop init -s 16m -b 64 -t none "$order/new/root.hdd"
attach "$order/new/DiskDescriptor.xml"
dd if="$scratch/content" of="$device" bs=32k oflag=direct conv=notrunc status=none || fail "dd"
detach "$device"
must ploop snapshot "$order/DiskDescriptor.xml"
attach "$order/DiskDescriptor.xml"
if hands_over; then
  now=$(device_hash)
  for ((i = 0; i < rounds; i++)); do
    new=$order/new/root.hdd
    inode=$(stat -c %i "$new")
    worker=$(pid_of worker)
    "$ploop_bin" replace -k -i "$new" -o root.hdd "$order/DiskDescriptor.xml" >"$scratch/said" 2>&1 &
    command=$!
    until [ "$(stat -c %i "$order/root.hdd")" = "$inode" ] || ! kill -0 $command 2>/dev/null; do :; done
    kill -9 "$worker"
    wait $command
    until_true 10 test "$(pid_of worker)" != "$worker"
    [ "$(device_hash)" = "$now" ] || fail "round $i: other bytes after $(cat "$scratch/said")"
    # One of the two lies there still, or the command has removed the old one.
    [ -e "$new" ] || cp "$order/root.hdd" "$new"
    sleep 0.5
  done
fi
detach "$device"

step "merge -d and grow -d: the command is killed, the device goes on"
for ((i = 0; i < rounds; i++)); do
  cp "$scratch/base" "$dir/a"
  cp "${stack[1]}" "$dir/b"
  must ploop init -s $((size))m -b 64 -t none "$(mkdir -p "$dir/c$i" && echo "$dir/c$i")/top"
  attach "$dir/a" "$dir/b" "$dir/c$i/top"
  fill 3 5
  now=$(dd if="$device" bs=1M count=48 iflag=direct status=none | hash_of /dev/stdin)
  killed_after $((1 + RANDOM % 80)) merge -d "$device" -l 0..$((1 + RANDOM % 2))
  [ "$(dd if="$device" bs=1M count=48 iflag=direct status=none | hash_of /dev/stdin)" = "$now" ] || fail "round $i: other bytes"
  if ((i % 2 == 0)); then
    resend=$(state_of can_resend)
    kill -9 "$(pid_of worker)" 2>/dev/null
    [ "$resend" = True ] || until_true 10 test ! -e "$device"  # without a successor the device goes away
    ploop umount -d "$device" >/dev/null 2>&1
    for image in "$dir/a" "$dir/b" "$dir/c$i/top"; do must ploop check -d "$image"; done
    # All three are still there, and as a stack they read the same.
    attach "$dir/a" "$dir/b" "$dir/c$i/top"
    [ "$(dd if="$device" bs=1M count=48 iflag=direct status=none | hash_of /dev/stdin)" = "$now" ] || fail "round $i: other bytes after the daemon died"
  fi
  for ((n = 0; n < 100; n++)); do  # what the device was told to do it may still be doing
    ploop merge -d "$device" >"$scratch/said" 2>&1
    status=$?
    [ $status -eq 17 ] || break
    sleep 0.1
  done
  [ $status -eq 0 ] || grep -q 'Single delta' "$scratch/said" || fail "round $i: $(cat "$scratch/said")"
  [ "$(dd if="$device" bs=1M count=48 iflag=direct status=none | hash_of /dev/stdin)" = "$now" ] || fail "round $i: other bytes after the merge"
  detach "$device"
  check_image "$dir/a"
  rm -r "$dir/a" "$dir/b" "$dir/c$i"
done
