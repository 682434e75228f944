#!/bin/bash
# kill -9 of the worker, again and again at random moments, while fio verifies and an ext4 is filled and compared: nobody sees an error,
# nothing is lost, nobody waits for long, and the guardian does not grow.
#
#   kill_storm.sh [KILLS]     SEED=N repeats a run; the moments are between 0.05 s and about 0.7 s apart
source "$(dirname "$0")/lib.sh"
kills=${1:-$(sized 12 4)}
begin
requires program mkfs.ext4 e2fsck fio tar
requires space 1500
seed=${SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed
mkdir "$scratch/disk" "$scratch/mnt" "$scratch/tree"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml
must ploop init -s 800M "$image"
attach -m "$scratch/mnt" "$dd"
[ "$(state_of can_resend)" = True ] || { ploop umount "$dd"; skip "the kernel can't hand requests to another worker"; }

real_tree "$scratch/tree" 300
manifest "$scratch/tree" >"$scratch/tree.manifest"
tar -C "$scratch/tree" -cf "$scratch/tree.tar" .

mkdir "$scratch/mnt/fio" "$scratch/mnt/trees"
fio --name=storm --directory="$scratch/mnt/fio" --size=48M --rw=randrw --bsrange=4k-64k --ioengine=libaio --iodepth=8 --direct=1 \
  --verify=crc32c --verify_state_save=0 --fsync=32 --rate="$(sized 30m 8m)" --time_based --runtime=7200 >"$scratch/fio.log" 2>&1 &
fio=$!
defer kill -9 "$fio"

# Unpacks and compares trees until it is told to stop; what it saw wrong is in $scratch/wrong.
fill() {
  local n=0
  while [ ! -e "$scratch/stop" ]; do
    n=$((n + 1))
    rm -rf "$scratch/mnt/trees/$((n - 2))"
    mkdir "$scratch/mnt/trees/$n" && tar -C "$scratch/mnt/trees/$n" -xf "$scratch/tree.tar" && sync -f "$scratch/mnt" ||
      { echo "tree $n could not be written" >"$scratch/wrong"; return; }
    echo 1 >/proc/sys/vm/drop_caches
    manifest "$scratch/mnt/trees/$n" 2>"$scratch/wrong.$n" | cmp -s - "$scratch/tree.manifest" ||
      { echo "tree $n is not what was written: $(cat "$scratch/wrong.$n")" >"$scratch/wrong"; return; }
    echo "$n" >"$scratch/trees.done"
  done
}
fill &
filler=$!
defer kill -9 "$filler"

# Processes of this test that wait for the disk without a pause: the longest time, in tenths of a second.
watch_waiting() {
  local dir since now pid longest=0
  declare -A waiting
  while [ ! -e "$scratch/stop" ]; do
    now=$(date +%s%N)
    declare -A seen=()
    for dir in /proc/"$fio" /proc/"$filler" $(sed 's#[0-9]\+#/proc/&#g' "/proc/$filler/task/$filler/children" 2>/dev/null); do
      pid=${dir#/proc/}
      # The same wait only when it was never switched to in between.
      case $(sed 's/.*) \(.\).*/\1/' "$dir/stat" 2>/dev/null) in
        D)
          since=$pid.$(awk '/ctxt_switches/ { n += $2 } END { print n }' "$dir/status" 2>/dev/null)
          seen[$since]=${waiting[$since]:-$now}
          [ $(((now - seen[$since]) / 100000000)) -le $longest ] || longest=$(((now - seen[$since]) / 100000000)) ;;
      esac
    done
    waiting=()
    for since in "${!seen[@]}"; do waiting[$since]=${seen[$since]}; done
    echo "$longest" >"$scratch/longest"
    sleep 0.1
  done
}
watch_waiting &
watcher=$!
defer kill -9 "$watcher"

guardian=$(pid_of guardian)
descriptors() { ls "/proc/$guardian/fd" | wc -l; }
memory() { awk '/^VmData/ { print $2 }' "/proc/$guardian/status"; }
disk=$(state_of backing_device)
disk=${disk##*/}
# Of this device only: others of the machine may be under test, too. A loop device has had other lives before.
# The newest one: how many there are gets fewer, too, when the kernel's log is full.
kernel_error() { dmesg 2>/dev/null | grep -E "(I/O error|EXT4-fs error|EXT4-fs warning|JBD2).*\b$disk(p1)?\b" | tail -n 1; }

worker_is_not() { local now; now=$(pid_of worker 2>/dev/null) && [ -n "$now" ] && [ "$now" != "$1" ]; }
error=$(kernel_error)
step "the worker is killed $kills times"
begun=$(date +%s)
for ((i = 0; i < kills; i++)); do
  sleep "0.$(printf '%03d' $((RANDOM % 650 + 50)))"
  before=$(pid_of worker)
  kill -9 "$before" || fail "there is no worker after $i kills: $(tail -n 5 "$PLOOP_RUNDIR/ploop${device##*ploop}/log")"
  until_true 20 worker_is_not "$before" || fail "no other worker came after $((i + 1)) kills"
  kill -0 "$fio" 2>/dev/null || fail "fio ended after $((i + 1)) kills: $(cat "$scratch/fio.log")"
  [ ! -e "$scratch/wrong" ] || fail "after $((i + 1)) kills: $(cat "$scratch/wrong")"
  if [ $i -eq 2 ]; then
    first_descriptors=$(descriptors)
    first_memory=$(memory)
  fi
  [ $(((i + 1) % 50)) -ne 0 ] || echo "   $((i + 1)) kills in $(($(date +%s) - begun)) s, $(cat "$scratch/trees.done" 2>/dev/null || echo 0) trees"
done
step "$kills kills in $(($(date +%s) - begun)) s; the end"
touch "$scratch/stop"
wait "$filler" "$watcher"
[ ! -e "$scratch/wrong" ] || fail "$(cat "$scratch/wrong")"
kill -INT "$fio"
wait "$fio"
! grep -qiE 'verify: bad|error=|Input/output' "$scratch/fio.log" || fail "fio saw errors: $(cat "$scratch/fio.log")"
[ -s "$scratch/trees.done" ] || fail "no tree was written"
echo "   trees written and compared: $(cat "$scratch/trees.done"); longest single wait: $(cat "$scratch/longest")00 ms"
[ "$(cat "$scratch/longest")" -le "$(sized 150 600)" ] || fail "a process waited for $(cat "$scratch/longest")00 ms"
echo "   guardian: descriptors $first_descriptors -> $(descriptors), data $first_memory -> $(memory) KiB"
[ "$(descriptors)" -le "$first_descriptors" ] || fail "the guardian loses descriptors"
[ "$(memory)" -le $((first_memory + 1024)) ] || fail "the guardian loses memory"
now=$(kernel_error)
[ -z "$now" ] || [ "$now" = "$error" ] || fail "the kernel saw errors: $(dmesg | grep "$disk" | tail -n 20)"
must ploop umount "$dd"
must ploop check "$image"
check_image "$image"
attach "$dd"
must e2fsck -fn "$device"p1
detach "$device"
