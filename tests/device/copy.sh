#!/bin/bash
# ploop copy of a disk in use: through every way the bytes can go, under load, with either end dying at any moment. A copy that is reported
# as right is right, one that is not does not exist, and the source is never left frozen, tracked or changed.
#
#   copy.sh same | load | deaths [ROUNDS] | refusals | hosts
source "$(dirname "$0")/lib.sh"
part=${1:-same}
rounds=${2:-$(sized 20 3)}
begin
requires program qemu-img mkfs.ext4 fio
requires space 2500
seed=${SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed

dd=$scratch/disk/DiskDescriptor.xml
image=$scratch/disk/root.hdd
mnt=$scratch/mnt
mkdir "$scratch/disk" "$mnt" "$scratch/other"

make_disk() {
  must ploop init -s "$1" "$image"
  attach -m "$mnt" "$dd"
  must cp -r /etc/. "$mnt/"
}
# Two files that are the same except for the in-use mark of the first one, as far as the second one reaches. What the first
# one has more is space that the daemon has reserved: no slot of the table leads there.
same_image() {
  python3 - "$1" "$2" <<'PY' || fail "$2 is not the image $1"
import mmap, os, struct, sys
source, copy = (open(name, "rb") for name in sys.argv[1:])
size = os.fstat(copy.fileno()).st_size
assert 0 < size <= os.fstat(source.fileno()).st_size, "length"
a, b = (mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) for f in (source, copy))
assert a[44:48] == b"Ynot" and b[44:48] == bytes(4), "in-use marks"
assert a[:44] == b[:44] and a[48:1 << 16] == b[48:1 << 16], "header"
for at in range(1 << 16, size, 1 << 20):
    assert a[at:min(at + (1 << 20), size)] == b[at:min(at + (1 << 20), size)], f"content at {at}"
cluster, entries, first = struct.unpack_from("<I", a, 28)[0] * 512, struct.unpack_from("<I", a, 32)[0], 64
top = max(struct.unpack_from(f"<{entries}I", a, first))
assert top * cluster < size or top == 0, "a slot leads behind the copy"
PY
}
# The disk goes on: not frozen, no tracker left on, a new copy works.
source_is_fine() {
  timeout 20 touch "$mnt/alive" || fail "the file system is frozen"
  must timeout 20 sync -f "$mnt/alive"
  [ "$(maintenance)" = OFF ] || fail "maintenance $(maintenance) is left on"
  until_true 20 no_guards || fail "a guard process is left: $(guards)"
}
maintenance() { ask "$device" maintenance | sed -n 's/.*"name":"\([A-Za-z_]*\)".*/\1/p'; }
# Programs of this test that are neither the daemon nor ours to wait for.
guards() { pgrep -f -x "$ploop_bin copy -s $device.*" || true; }
no_guards() { [ -z "$(guards)" ]; }
# A copy is at work.
copying() { [[ "$(maintenance)" =~ ^[A-Z] ]] && [ "$(maintenance)" != OFF ]; }
# Reads nothing before $scratch/go is there, then everything.
late_reader() {
  until [ -e "$scratch/go" ]; do sleep 0.1; done
  cat >/dev/null
}
# What is in a directory besides these names.
expect_only() {
  local dir=$1 left
  shift
  left=$(ls -A "$dir" | grep -vxF "$(printf '%s\n' "$@")")
  [ -z "$left" ] || fail "left in $dir: $left"
}
load_starts() {
  cd "$scratch" || exit 1  # fio leaves a state file where it runs
  fio --name=load --directory="$mnt" --size="$1" --rw=randwrite --bs=4k --ioengine=libaio --iodepth=4 --rate="$2" \
    --verify=crc32c --do_verify=0 --time_based --runtime=600 --fallocate=none --end_fsync=1 >"$scratch/fio.log" 2>&1 &
  load=$!
  defer kill -9 "$load"
  sleep "${3:-1}"
}
load_stops() {
  kill -INT "$load"
  wait "$load"
}
# The copy is an image in a good state with a good file system: mounts, reads.
good_copy() {
  mkdir "$scratch/copy.dir"
  cp --sparse=always "$1" "$scratch/copy.dir/root.hdd"
  check_image "$scratch/copy.dir/root.hdd"
  must ploop restore-descriptor "$scratch/copy.dir" "$scratch/copy.dir/root.hdd"
  local original=$device
  attach "$scratch/copy.dir/DiskDescriptor.xml"
  must e2fsck -fn "$device"p1
  must mount -o ro "$device"p1 "$scratch/other"
  must diff -r --no-dereference "$mnt" "$scratch/other" -x lost+found -x "load*" -x alive
  must umount "$scratch/other"
  detach "$device"
  device=$original
  rm -r "$scratch/copy.dir"
}

same() {
  step "every way: the copy is the file, but for the in-use mark"
  make_disk 600M
  head -c 60M /dev/urandom >"$mnt/big"
  rm -rf "$mnt/dpkg" && fstrim "$mnt"
  # Nothing may change between the freeze and the comparison.
  quiet="mount -o remount,ro $mnt"
  must ploop copy -s "$device" -d "$scratch/to-file" -F "$quiet"
  same_image "$image" "$scratch/to-file"
  [ "$(stat -c %a "$scratch/to-file")" = 600 ] || fail "mode $(stat -c %a "$scratch/to-file")"

  mkfifo "$scratch/fifo"
  ploop copy -d "$scratch/by-fifo" <"$scratch/fifo" &
  must ploop copy -s "$device"p1 -o 5 5>"$scratch/fifo"
  wait $! || fail "receiver: $?"
  must cmp "$scratch/to-file" "$scratch/by-fifo"

  ploop copy -s "$device" 2>/dev/null | must ploop copy -d "$scratch/by-pipe"
  [ "${PIPESTATUS[*]}" = "0 0" ] || fail "pipe: ${PIPESTATUS[*]}"
  must cmp "$scratch/to-file" "$scratch/by-pipe"

  : >"$scratch/by-descriptor"
  head -c 80M /dev/zero | tr '\0' x >"$scratch/by-descriptor" # longer than the image
  must ploop copy -s "$device" -o 7 7<>"$scratch/by-descriptor"
  must cmp "$scratch/to-file" "$scratch/by-descriptor"

  step "with answers of the receiver, through sockets and TCP"
  requires program socat
  mkfifo "$scratch/answers"
  ploop copy -d "$scratch/by-answers" -f 6 <"$scratch/fifo" 6>"$scratch/answers" &
  must ploop copy -s "$device" -o 5 -f 6 5>"$scratch/fifo" 6<"$scratch/answers"
  wait $! || fail "receiver: $?"
  must cmp "$scratch/to-file" "$scratch/by-answers"
  local port=$((20000 + RANDOM % 20000))
  socat "TCP-LISTEN:$port,bind=127.0.0.1" "EXEC:$ploop_bin copy -d $scratch/by-tcp -f 1" &
  must timeout 100 socat "EXEC:$ploop_bin -v-1 copy -s $device -f 0" "TCP:127.0.0.1:$port,retry=100,interval=0.1"
  wait $!
  must cmp "$scratch/to-file" "$scratch/by-tcp"

  must mount -o remount,rw "$mnt"
  source_is_fine
  good_copy "$scratch/to-file"
  must ploop umount "$dd"
  check_image "$image"

  step "a disk attached read-only, the top of a chain, and a raw disk"
  attach -r -m "$mnt" "$dd"
  must ploop copy -s "$device" -d "$scratch/read-only"
  must cmp "$image" "$scratch/read-only"
  must ploop umount "$dd"
  must ploop snapshot "$dd"
  attach -m "$mnt" "$dd"
  head -c 20M /dev/urandom >"$mnt/more"
  must ploop copy -s "$device" -d "$scratch/top" -F "$quiet"
  same_image "$(ls "$image".{*})" "$scratch/top"
  must ploop umount "$dd"
  mkdir "$scratch/raw"
  must ploop init -s 200M -f raw "$scratch/raw/root.hdd"
  attach -m "$mnt" "$scratch/raw/DiskDescriptor.xml"
  must cp -r /etc/. "$mnt/"
  must ploop copy -s "$device" -d "$scratch/raw-copy" -F "$quiet"
  must cmp "$scratch/raw/root.hdd" "$scratch/raw-copy"
  must ploop umount "$scratch/raw/DiskDescriptor.xml"
}

hosts() {
  local type inner
  for type in $(sized "ext4 xfs btrfs tmpfs" "xfs btrfs"); do
    requires filesystem $type
    for inner in $(sized "ext4 xfs" ext4); do
      step "image on $type, $inner inside"
      [ -d "$scratch/$type" ] || host_filesystem $type "$scratch/$type" 1200
      mkdir "$scratch/$type/disk"
      must ploop init -t $inner -s 400M "$scratch/$type/disk/root.hdd"
      attach -m "$mnt" "$scratch/$type/disk/DiskDescriptor.xml"
      must cp -r /etc/. "$mnt/"
      load_starts 30M 10m 1
      must ploop copy -s "$device" -d "$scratch/$type/copy"
      load_stops
      must qemu-img check -f parallels "$scratch/$type/copy"
      rm "$scratch/$type/copy"
      must ploop copy -s "$device" -d "$scratch/$type/copy" -F "sync; mount -o remount,ro $mnt"
      same_image "$scratch/$type/disk/root.hdd" "$scratch/$type/copy"
      must ploop umount "$scratch/$type/disk/DiskDescriptor.xml"
      rm -r "$scratch/$type/disk" "$scratch/$type/copy"
    done
  done
}

load() {
  step "while the disk is overwritten at random: it converges, and what was written before is in the copy"
  make_disk 900M
  load_starts 200M 20m 3
  must ploop copy -s "$device" -d "$scratch/under-load"
  source_is_fine
  good_copy "$scratch/under-load"
  rm "$scratch/under-load"
  ploop copy -s "$device" 2>/dev/null | must ploop copy -d "$scratch/under-load"
  [ "${PIPESTATUS[*]}" = "0 0" ] || fail "pipe: ${PIPESTATUS[*]}"
  good_copy "$scratch/under-load"
  load_stops
  source_is_fine

  step "a stop command that ends the load: afterwards the copy has every block that fio wrote"
  rm -f "$mnt"/load*
  load_starts 100M 15m 1
  rm "$scratch/under-load"
  must ploop copy -s "$device" -d "$scratch/under-load" -F "kill -INT $load; while kill -0 $load 2>/dev/null; do sleep 0.1; done"
  wait "$load"
  (cd "$mnt" && sha256sum load*) >"$scratch/sums"
  mkdir "$scratch/copy.dir"
  must cp --sparse=always "$scratch/under-load" "$scratch/copy.dir/root.hdd"
  must ploop restore-descriptor "$scratch/copy.dir" "$scratch/copy.dir/root.hdd"
  local original=$device
  attach -r -m "$scratch/other" "$scratch/copy.dir/DiskDescriptor.xml"
  (cd "$scratch/other" && must sha256sum -c "$scratch/sums") || exit 1
  must ploop umount "$scratch/copy.dir/DiskDescriptor.xml"
  device=$original
  source_is_fine
  must ploop umount "$dd"
  check_image "$image"
}

# Kills process $1 after a random part of $2 milliseconds, with signal $3 (KILL).
kill_somewhen() {
  local wait_ms=$((RANDOM % ($2 + 1)))
  sleep_ms $wait_ms
  kill -"${3:-KILL}" "$1" 2>/dev/null
}

deaths() {
  make_disk 400M
  head -c 60M /dev/urandom >"$mnt/big"
  sync -f "$mnt"
  load_starts 40M 10m 1
  local took i done=0 pid signal status
  measure copy -s "$device" -d "$scratch/copy"
  rm "$scratch/copy"

  step "the sender dies $rounds times: no file or a whole one, thawed, tracker off"
  for ((i = 0; i < rounds; i++)); do
    "$ploop_bin" copy -s "$device" -d "$scratch/copy" >/dev/null 2>&1 &
    pid=$!
    if ((i % 3 == 2)); then signal=TERM; else signal=KILL; fi
    kill_somewhen "$pid" "$((took + 50))" $signal
    wait "$pid" 2>/dev/null
    status=$?
    [[ $signal:$status =~ ^(KILL:(0|137)|TERM:(0|12|143))$ ]] || fail "SIG$signal gives exit status $status"
    [ $status -eq 0 ] || [ $signal = KILL ] || [ ! -e "$scratch/copy" ] || fail "a cancelled copy exists"
    source_is_fine
    if [ -e "$scratch/copy" ]; then
      done=$((done + 1))
      check_image "$scratch/copy"
      rm "$scratch/copy"
    fi
  done
  echo "   $done of $rounds were done before the kill"
  rm -f "$scratch"/*.state
  expect_only "$scratch" disk mnt other mem fio.log

  step "either end of a stream dies $rounds times: the other one notices, nothing is left"
  mkfifo "$scratch/fifo" "$scratch/answers"
  for ((i = 0; i < rounds; i++)); do
    "$ploop_bin" copy -d "$scratch/copy" -f 6 <"$scratch/fifo" 6>"$scratch/answers" >/dev/null 2>&1 &
    local receiver=$!
    "$ploop_bin" copy -s "$device" -o 5 -f 6 5>"$scratch/fifo" 6<"$scratch/answers" >/dev/null 2>&1 &
    local sender=$!
    if ((i % 2)); then pid=$sender; else pid=$receiver; fi
    kill_somewhen "$pid" "$((took + 50))"
    wait "$receiver" 2>/dev/null
    local received=$?
    wait "$sender" 2>/dev/null
    local sent=$?
    source_is_fine
    if ((i % 2)); then
      [[ $received =~ ^(0|6|7)$ ]] || fail "receiver after the sender's death: $received"
    else
      [[ $sent =~ ^(0|7|13)$ ]] || fail "sender after the receiver's death: $sent"
    fi
    if [ "$received" -eq 0 ]; then check_image "$scratch/copy"; else [ ! -e "$scratch/copy" ] || fail "a failed copy exists"; fi
    rm -f "$scratch/copy"
  done
  load_stops

  if hands_over; then
    step "the worker dies while it is copied: the copy fails, the device goes on, another copy is right"
    dies_during_copy "$(pid_of worker)"
    source_is_fine
    must ploop copy -s "$device" -d "$scratch/copy"
    good_copy "$scratch/copy"
  fi

  step "the whole daemon dies while it is copied"
  dies_during_copy "$(pid_of guardian)"
  umount -l "$mnt"
  until_true 60 no_daemons || fail "a daemon lives on: $(leftovers)"
  rm -f "$device" "$device"p1
  must ploop check -d "$image"
  must qemu-img check -f parallels "$image"
}
# The receiver takes its time, so that process $1 dies during the full pass.
dies_during_copy() {
  must_fail 3 "copy: " copy_and_kill "$1"
  rm "$scratch/go"
}
copy_and_kill() {
  exec 5> >(late_reader)
  "$ploop_bin" copy -s "$device" -o 5 &
  local copy=$!
  until_true 60 copying || echo "the copy never began" >&2
  kill -9 "$1"
  touch "$scratch/go"
  wait "$copy"
}

refusals() {
  step "what goes wrong has its status, says so, and leaves everything as it was"
  make_disk 200M
  local into=$scratch/copy
  must_fail 1 "Can't create .*File exists" ploop copy -s "$device" -d "$image"
  must_fail 38 "must be a file, a pipe or a socket" ploop copy -s "$device" -o 9
  must_fail 38 "must be a file, a pipe or a socket" ploop copy -s "$device" -o 9 9>/dev/null
  must_fail 38 "Invalid feedback fd 9" ploop copy -s "$device" -d "$into" -f 9 9<"$image"
  must_fail 38 "not for appending" ploop copy -s "$device" -o 9 9>>"$into.append"
  must_fail 38 "would lie on the disk" ploop copy -s "$device" -d "$mnt/copy"
  must_fail 12 "Command 'false' failed" ploop copy -s "$device" -d "$into" -F false
  must_fail 12 "Command 'kill .*' failed" ploop copy -s "$device" -d "$into" -F 'kill -9 $$'
  must_fail 12 "failed with status 127" ploop copy -s "$device" -d "$into" -F 'no-such-program 2>/dev/null'
  must_fail 7 "write to" bash -c "\"$ploop_bin\" copy -s \"$device\" -o 5 5> >(exec 0<&-; sleep 0.2)"
  # Wherever the receiver stops reading, the sender notices; the pipe itself holds a megabyte.
  local size
  size=$(ploop -v-1 copy -s "$device" 2>/dev/null | wc -c)
  local taken
  for taken in 0 1 15 17 100000 3000000 $((size / 2)) $((size - 4000000)); do
    must_fail 7 "write to" bash -c "\"$ploop_bin\" copy -s \"$device\" -o 5 5> >(head -c $taken >/dev/null)"
  done
  must_fail 7 "write to|durable" bash -c "trap '' XFSZ; ulimit -f 1000; \"$ploop_bin\" copy -s \"$device\" -d \"$into\""
  [ ! -e "$into" ] || fail "a failed copy exists"
  source_is_fine

  step "answers of the receiver"
  mkfifo "$scratch/fifo" "$scratch/answers"
  answer() {
    cat <"$scratch/fifo" >/dev/null &
    (printf "$2" >"$scratch/answers") &
    must_fail "$1" "$3" ploop copy -s "$device" -o 5 -f 6 5>"$scratch/fifo" 6<"$scratch/answers"
    wait
  }
  answer 16 'FAILURE\n' "could not make its part"
  answer 13 'WHAT???\n' "no feedback"
  answer 13 'SUCC' "no feedback"
  answer 13 '' "no feedback"
  source_is_fine

  step "frozen by somebody else; written to behind the file system's back; a second copy; gone"
  must fsfreeze -f "$mnt"
  must_fail 17 "freeze" ploop copy -s "$device" -d "$into"
  must fsfreeze -u "$mnt"
  # The last cluster of the disk belongs to no partition.
  fio --name=behind --filename="$device" --allow_mounted_write=1 --offset=199m --size=512k --rw=randwrite --bs=4k --direct=1 \
    --ioengine=libaio --iodepth=16 --numjobs=3 --time_based --runtime=100 >"$scratch/fio.log" 2>&1 &
  local writer=$!
  defer kill -9 "$writer"
  sleep 1
  # A moment without a write is enough for a right copy, so on a busy machine more than one try may be needed.
  local try
  for try in 1 2 3 4 5 6 7 8 9 none; do
    [ "$try" != none ] || fail "the copy never notices the writer"
    rm -f "$into"
    ploop copy -s "$device" -d "$into" >/dev/null 2>"$scratch/said"
    [ $? -ne 14 ] || break
  done
  grep -q "still written to" "$scratch/said" || fail "not said: $(cat "$scratch/said")"
  [ ! -e "$into" ] || fail "a failed copy exists"
  kill -INT "$writer"
  wait "$writer"
  ploop copy -s "$device" 2>/dev/null | late_reader &
  until_true 60 copying || fail "the copy never began"
  must_fail 17 "busy|already" ploop copy -s "$device" -d "$into"
  must_fail 17 "busy" ploop snapshot "$dd"
  touch "$scratch/go"
  wait
  step "after a snapshot of the running disk it is the new top that is copied"
  must ploop snapshot "$dd"
  echo more >"$mnt/more"
  must ploop copy -s "$device" -d "$scratch/top" -F "mount -o remount,ro $mnt"
  same_image "$(ls "$image".{*})" "$scratch/top"
  # What is mounted over it is not what is copied, and must not be frozen.
  must mount -t tmpfs hides "$mnt"
  must ploop copy -s "$device" -d "$into"
  check_image "$into"
  rm "$into"
  must umount "$mnt"
  must umount "$mnt"
  must_fail 4 "Can't find mount point for $device" ploop copy -s "$device" -d "$into"
  must ploop umount -d "$device"
  must_fail 2 "Can't open device $device" ploop copy -s "$device" -d "$into"
  [ ! -e "$into" ] || fail "a failed copy exists"
  check_image "$image"
}

"$part"
