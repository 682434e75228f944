#!/bin/bash
# SIGINT, SIGTERM and SIGHUP at any moment of a command, with a standard output that is closed, full or a broken pipe: the command
# ends soon, the disk is in the old or the new state with the same content, and nothing of it is left, neither files nor a device.
#
#   interrupted.sh [ROUNDS]       SEED=N repeats a run
source "$(dirname "$0")/lib.sh"
rounds=${1:-$(sized 2 1)}
begin
requires program mkfs.ext4 e2fsck resize2fs qemu-img
requires space 1500
seed=${SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed

uuid() { printf '{%08d-0000-4000-8000-000000000000}' "$1"; }
lower=$(uuid 1)
upper=$(uuid 2)
dir=$scratch/disk
dd=$dir/DiskDescriptor.xml
mkdir "$scratch/mnt" "$scratch/look" "$scratch/content"

# Two disks with a file system: of a single image, and with two snapshots. NAME.0 is what the lower snapshot holds, NAME.top the top.
make_disk() {  # make_disk NAME SNAPSHOTS
  mkdir "$scratch/$1"
  must ploop init -s 128m -b 256 "$scratch/$1/root.hdd"
  attach -m "$scratch/mnt" "$scratch/$1/DiskDescriptor.xml"
  must cp -r /etc/. "$scratch/mnt/"
  manifest "$scratch/mnt" >"$scratch/content/$1.0"
  local n
  for ((n = 1; n <= $2; n++)); do
    must ploop snapshot -u "$(uuid $n)" "$scratch/$1/DiskDescriptor.xml"
    must dd if=/dev/urandom of="$scratch/mnt/level $n" bs=1M count=4 status=none
  done
  manifest "$scratch/mnt" >"$scratch/content/$1.top"
  must ploop umount "$scratch/$1/DiskDescriptor.xml"
}
make_disk plain 0
make_disk stack 2

continues() { grep -q 'its next command goes on with' "$scratch/said"; }
# Every image that the descriptor names is there, and nothing else but what the command said is left to be done.
tidy() {
  local file named
  named=$(sed -n 's/.*<File>\(.*\)<\/File>.*/\1/p' "$dd" | xargs -rn1 basename | sort -u)
  for file in $named; do [ -e "$dir/$file" ] || fail "$what: the descriptor names $file, which is not there: $(cat "$scratch/said")"; done
  for file in $(ls -A "$dir"); do
    case $file in
      DiskDescriptor.xml | DiskDescriptor.xml.lck | .statfs) ;;
      .ploop-intent | DiskDescriptor.xml.tmp) continues || fail "$what: $file is left: $(cat "$scratch/said")" ;;
      *) grep -qxF "$file" <<<"$named" || { continues && grep -qF "$file" "$dir/.ploop-intent"; } ||
        fail "$what: $file is left: $(cat "$scratch/said")" ;;
    esac
  done
}
# holds NAME...: the disk, not attached, has one of these contents. Images are sound, and nothing is left to be done.
holds() {
  local name image
  attach -m "$scratch/look" "$dd"
  manifest "$scratch/look" >"$scratch/found"
  must ploop umount "$dd"
  for name; do
    cmp -s "$scratch/content/$name" "$scratch/found" && break
    [ "$name" != "${*: -1}" ] || fail "$what: the disk holds something else: $(diff "$scratch/content/$name" "$scratch/found" | head -n 5)"
  done
  : >"$scratch/said"
  tidy
  for image in $(sed -n 's/.*<File>\(.*\)<\/File>.*/\1/p' "$dd"); do
    grep -q Plain "$dd" || must ploop check "$dir/${image##*/}"
  done
}

# interrupt COMMAND...: starts it and sends it a signal in a random part of $took milliseconds. Its status is in $status.
signals=(INT TERM HUP)
ends=0
dead=0
interrupt() {
  local pid ms=$((RANDOM % (took + 1))) signal=${signals[RANDOM % 3]} output=$((RANDOM % 3)) number
  what="$1 with SIG$signal after $ms of $took ms, output $output"
  # A shell starts background jobs with SIGINT ignored, and that would stay so.
  local start='import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])'
  case $output in
    0) python3 -c "$start" "$ploop_bin" "$@" >&- 2>"$scratch/said" & ;;
    1) python3 -c "$start" "$ploop_bin" "$@" >/dev/full 2>"$scratch/said" & ;;
    2) python3 -c "$start" "$ploop_bin" "$@" 2>"$scratch/said" > >(exec true) & ;;
  esac
  pid=$!
  until [ "$(readlink /proc/$pid/exe)" = "$(readlink -f "$ploop_bin")" ] || ! kill -0 $pid 2>/dev/null; do :; done
  sleep_ms $ms
  kill -s "$signal" $pid 2>/dev/null
  gone 20 $pid || fail "$what: it does not end: $(cat "$scratch/said")"
  wait $pid
  status=$?
  number=$(kill -l "$signal")
  [ $status -ne $((128 + number)) ] || dead=$((dead + 1))
  [ $status -ne 0 ] || ends=$((ends + 1))
  [ $status -lt 128 ] || [ $status -eq $((128 + number)) ] || fail "$what: it died of something else ($status): $(cat "$scratch/said")"
}
fresh() {
  rm -rf "$dir"
  must cp -r "$scratch/$1" "$dir"
}
quiet() {
  until_true 10 no_daemons || fail "$what: a daemon is left: $(leftovers)"
  [ -z "$(ploop list)$(ls -A "$PLOOP_DEVDIR")" ] || fail "$what: a device is left: $(leftovers)"
}
report() { echo "   $dead died of the signal, $ends were done, of $rounds"; dead=0 ends=0; }

# stopped DISK "CONTENT..." COMMAND...: the disk is not attached.
stopped() {
  local disk=$1 contents=$2
  shift 2
  step "$*, disk not attached"
  fresh "$disk"
  measure "$@"
  for ((i = 0; i < rounds; i++)); do
    fresh "$disk"
    interrupt "$@"
    tidy
    quiet
    # shellcheck disable=SC2086
    holds $contents
  done
  report
}
# running DISK COMMAND...: its file system is mounted and stays so.
running() {
  local disk=$1
  shift
  step "$*, disk mounted"
  fresh "$disk"
  attach -m "$scratch/mnt" "$dd"
  measure "${@//DEVICE/$device}"
  must ploop umount "$dd"
  for ((i = 0; i < rounds; i++)); do
    fresh "$disk"
    attach -m "$scratch/mnt" "$dd"
    rm -f "$scratch/copy"
    interrupt "${@//DEVICE/$device}"
    tidy
    mountpoint -q "$scratch/mnt" || fail "$what: the file system is not mounted any more"
    [ ! -e "$scratch/copy" ] || [ $status -eq 0 ] || fail "$what: half a copy is there"
    manifest "$scratch/mnt" >"$scratch/found"
    must cmp "$scratch/content/$disk.top" "$scratch/found"
    must ploop umount "$dd"
    quiet
    tidy
    holds "$disk.top"
  done
  report
}

stopped stack stack.top snapshot -u "$(uuid 3)" "$dd"
stopped stack stack.top snapshot-delete -u "$upper" "$dd"
stopped stack stack.top snapshot-merge -u "$upper" "$dd"
stopped stack stack.top snapshot-merge -A "$dd"
stopped stack 'stack.top stack.0' snapshot-switch -u "$lower" "$dd"
stopped stack stack.top convert -v 1 "$dd"
stopped stack stack.top grow -s 400m "$dd"
stopped plain plain.top resize -s 200m "$dd"
stopped plain plain.top convert -f preallocated "$dd"
stopped plain plain.top convert -f raw "$dd"
stopped plain plain.top balloon discard --automount "$dd"

running stack snapshot -u "$(uuid 3)" "$dd"
running stack snapshot-delete -u "$upper" "$dd"
running stack snapshot-merge -A "$dd"
running stack copy -s DEVICE -d "$scratch/copy"
running stack balloon discard "$dd"

step "mount: attached and mounted, or not at all"
fresh plain
measure mount -m "$scratch/mnt" "$dd"
must ploop umount "$dd"
for ((i = 0; i < rounds; i++)); do
  fresh plain
  interrupt mount -m "$scratch/mnt" "$dd"
  if mountpoint -q "$scratch/mnt"; then must ploop umount "$dd"; fi
  quiet
  tidy
  holds plain.top
done
report

step "umount: goes on to its end, or has not begun"
for ((i = 0; i < rounds; i++)); do
  fresh plain
  attach -m "$scratch/mnt" "$dd"
  interrupt umount "$dd"
  if mountpoint -q "$scratch/mnt" || [ -n "$(ploop list)" ]; then must ploop umount "$dd"; fi
  quiet
  tidy
  holds plain.top
done
report

step "init: a whole disk, or none"
rm -rf "$dir"
mkdir "$dir"
measure init -s 128m "$dir/root.hdd"
for ((i = 0; i < rounds; i++)); do
  rm -rf "$dir"
  mkdir "$dir"
  interrupt init -s 128m "$dir/root.hdd"
  quiet
  if [ -e "$dd" ]; then
    tidy
    must ploop check "$dir/root.hdd"
  else
    [ -z "$(ls -A "$dir" | grep -vx DiskDescriptor.xml.lck)" ] || fail "$what: left behind: $(ls -A "$dir")"
  fi
done
report
