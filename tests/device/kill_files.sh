#!/bin/bash
# kill -9 of merge, grow, convert and replace, and of the daemon under merge -d and grow: at random moments, again and again. The disk
# reads the same bytes afterwards, the next command needs nobody's help, and the images are sound.
. "$(dirname "$0")/lib.sh"
begin
requires program qemu-img cmp
rounds=${1:-5}

# killed_after MILLISECONDS COMMAND...: its exit status, or 137. Waits until the process has really gone, locks and all.
killed_after() {
  local ms=$1 pid
  shift
  "$ploop_bin" "$@" >"$scratch/said" 2>&1 &
  pid=$!
  sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
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
    kill -9 "$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["worker_pid"])' \
      "$PLOOP_RUNDIR/ploop${device##*ploop}/state")" 2>/dev/null
    for ((n = 0; n < 100; n++)); do [ -e "$device" ] || break; sleep 0.1; done
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
