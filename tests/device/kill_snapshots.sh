#!/bin/bash
# snapshot, snapshot-delete, snapshot-merge and snapshot-switch killed by kill -9 at random moments, on a running disk that is
# written to and on a stopped one: the next command finishes or undoes it by itself, and every node has its content.
#
#   kill_snapshots.sh [ROUNDS]        per command; SEED=N repeats a run
source "$(dirname "$0")/lib.sh"
rounds=${1:-$(sized 2 1)}
begin
requires program e2fsck mkfs.ext4
requires space 1500
seed=${SEED:-$RANDOM}
echo "seed $seed"
RANDOM=$seed

disk=$scratch/disk
dd=$disk/DiskDescriptor.xml
mkdir "$disk" "$scratch/mnt"
must ploop init -s 400M -t ext4 "$disk/root.hdd"
uuid() { printf '{%08d-0000-4000-8000-000000000000}' "$1"; }
next=0
# Files that no load touches, with their content.
marks() { (cd "$1" && find . -maxdepth 1 -name 'mark*' -type f -print0 | sort -z | xargs -0r sha256sum); }
declare -A want
new_mark() {
  next=$((next + 1))
  head -c $((RANDOM * 40 + 4096)) /dev/urandom >"$scratch/mnt/mark$((next % 7))"
  sync -f "$scratch/mnt"
}
nodes() { ploop snapshot-list -H -o uuid "$dd" | grep -v 5fbaabe3; }
# Keeps the tree short, so that looking at every node stays cheap.
# A node with several branches goes only after the branches, so the victims are random.
prune() {
  local try
  for ((try = 0; try < 60 && $(nodes | wc -l) > 4; try++)); do
    must ploop snapshot-delete -u "$(nodes | shuf -n 1 --random-source=<(yes "$RANDOM"))" "$dd"
  done
}
# Every snapshot that is there has its content; called with the disk stopped or running.
verify_snapshots() {
  local name
  mkdir -p "$scratch/look"
  for name in $(nodes); do
    [ -n "${want[$name]:-}" ] || fail "snapshot $name should not be there"
    must ploop mount -r -u "$name" -c look -m "$scratch/look" "$dd"
    [ "$(marks "$scratch/look")" = "${want[$name]}" ] || fail "snapshot $name has changed"
    must ploop umount -c look "$dd"
  done
}
took=40
killed() {
  local pid wait_ms
  wait_ms=$((RANDOM % (took * pace / 100 + 2)))
  "$ploop_bin" "$@" >/dev/null 2>&1 &
  pid=$!
  sleep_ms $wait_ms
  # How long a command takes depends on the machine: one that was done already makes the next kills come sooner.
  if kill -9 "$pid" 2>/dev/null; then
    died=$((died + 1))
    pace=$((pace * 5 / 4 + 1))
  else
    pace=$((pace / 2 + 1))
  fi
  wait "$pid" 2>/dev/null
}
no_leftovers() {
  local image known
  [ ! -e "$disk/.ploop-intent" ] || fail "a note was left"
  [ ! -e "$dd.tmp" ] || fail "a staged descriptor was left"
  known=$(ploop snapshot-list -H -o fname "$dd")
  for image in "$disk"/root.hdd*; do
    [ "${image##*.}" = mnt ] && continue
    grep -qxF "$image" <<<"$known" || fail "$image belongs to nobody: $(ls -la "$disk")"
  done
}
died=0
pace=60  # percent of $took

attach -m "$scratch/mnt" "$dd"
must fio --name=fill --directory="$scratch/mnt" --size=60M --rw=write --bs=1M --ioengine=psync --output=/dev/null
fio --name=load --directory="$scratch/mnt" --size=20M --rw=randwrite --bs=4k-64k --ioengine=psync --verify=crc32c --verify_state_save=0 \
  --verify_backlog=64 --time_based --runtime=1000 --output="$scratch/fio.log" >/dev/null 2>&1 &
fio_pid=$!

for verb in snapshot delete merge merge-all; do
  step "$verb on the running disk, killed $rounds times"
  for ((i = 0; i < rounds; i++)); do
    # Always at least three snapshots to work on.
    while [ "$(nodes | wc -l)" -lt 3 ]; do
      new_mark
      want[$(uuid $next)]=$(marks "$scratch/mnt")
      must ploop snapshot -u "$(uuid $next)" "$dd"
    done
    new_mark
    victim=$(nodes | sed -n "$((RANDOM % 3 + 1))p")
    case $verb in
      snapshot)
        took=150
        want[$(uuid $next)]=$(marks "$scratch/mnt")
        killed snapshot -u "$(uuid $next)" "$dd" ;;
      delete) took=200 && killed snapshot-delete -u "$victim" "$dd" ;;
      merge) took=250 && killed snapshot-merge "$dd" ;;
      merge-all) took=400 && killed snapshot-merge -A "$dd" ;;
    esac
    # Any next command puts it in order.
    new_mark
    now=$(marks "$scratch/mnt")
    want[$(uuid $next)]=$now
    must ploop snapshot -u "$(uuid $next)" "$dd"
    no_leftovers
    [ "$(marks "$scratch/mnt")" = "$now" ] || fail "the current state has changed"
    [ $((i % 2)) -eq 0 ] || verify_snapshots
    prune
  done
done
kill "$fio_pid"
wait "$fio_pid"
grep -qE 'verify: bad|err=[^ 0]' "$scratch/fio.log" && fail "fio: $(cat "$scratch/fio.log")"
verify_snapshots
rm -f "$scratch/mnt/load"*
now=$(marks "$scratch/mnt")
must ploop umount "$dd"

for verb in snapshot switch delete merge merge-all; do
  step "$verb on the stopped disk, killed $rounds times; the next command is a mount"
  for ((i = 0; i < rounds; i++)); do
    victim=$(nodes | sed -n "$((RANDOM % 2 + 1))p")
    before=$now
    case $verb in
      snapshot)
        next=$((next + 1))
        took=60
        want[$(uuid $next)]=$now
        killed snapshot -u "$(uuid $next)" "$dd" ;;
      switch) took=60 && killed snapshot-switch -u "$victim" "$dd" ;;
      delete) took=120 && killed snapshot-delete -u "$victim" "$dd" ;;
      merge) took=120 && killed snapshot-merge "$dd" ;;
      merge-all) took=200 && killed snapshot-merge -A "$dd" ;;
    esac
    attach -m "$scratch/mnt" "$dd"
    now=$(marks "$scratch/mnt")
    if [ "$verb" = switch ]; then
      [ "$now" = "$before" ] || [ "$now" = "${want[$victim]}" ] || fail "neither the old nor the new state"
    else
      [ "$now" = "$before" ] || fail "the current state has changed"
    fi
    no_leftovers
    verify_snapshots
    new_mark
    now=$(marks "$scratch/mnt")
    want[$(uuid $next)]=$now
    must ploop snapshot -u "$(uuid $next)" "$dd"
    prune
    must ploop umount "$dd"
  done
done
step "$died commands died; file system and images are good"
attach "$dd"
must e2fsck -fn "$device"p1
detach "$device"
for image in "$disk"/root.hdd*; do check_image "$image"; done
[ "$died" -gt $((rounds * 3)) ] || fail "most commands were done before the kill: that proves nothing"
