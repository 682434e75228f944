#!/bin/bash
# The daemon dies by kill -9 while it takes a snapshot or merges under load: after the next mount every snapshot has its content,
# what was synced is there, and the operation was finished or undone.
#
#   kill_daemon_snapshots.sh [ROUNDS]        per operation; SEED=N repeats a run
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
mkdir "$disk" "$scratch/mnt" "$scratch/look"
must ploop init -s 400M -t ext4 "$disk/root.hdd"
uuid() { printf '{%08d-0000-4000-8000-000000000000}' "$1"; }
marks() { (cd "$1" && find . -maxdepth 1 -name 'mark*' -type f -print0 | sort -z | xargs -0r sha256sum); }
nodes() { ploop snapshot-list -H -o uuid "$dd" | grep -v 5fbaabe3; }
declare -A want
next=0
snapshot() {
  next=$((next + 1))
  head -c $((RANDOM * 40 + 4096)) /dev/urandom >"$scratch/mnt/mark$((next % 7))"
  sync -f "$scratch/mnt"
  want[$(uuid $next)]=$(marks "$scratch/mnt")
}
# Kills worker, guardian and keeper of the device, in any order.
kill_daemon() {
  local pid
  local transport
  transport=$(state_of transport)
  for pid in $(daemon_pids | shuf --random-source=<(yes "$RANDOM")); do kill -9 "$pid" 2>/dev/null; done
  # With ublk nobody is left who could tell the kernel that no server takes over: the next command does.
  [[ $transport != ublk* ]] || must ploop list
}
verify() {
  local name
  for name in $(nodes); do
    [ -n "${want[$name]:-}" ] || fail "snapshot $name should not be there"
    must ploop mount -r -u "$name" -c look -m "$scratch/look" "$dd"
    [ "$(marks "$scratch/look")" = "${want[$name]}" ] || fail "snapshot $name has changed"
    must ploop umount -c look "$dd"
  done
}

for verb in snapshot delete merge merge-range; do
  step "$verb, the daemon killed $rounds times"
  for ((i = 0; i < rounds; i++)); do
    attach -m "$scratch/mnt" "$dd"
    while [ "$(nodes | wc -l)" -lt 3 ]; do
      snapshot
      must ploop snapshot -u "$(uuid $next)" "$dd"
    done
    snapshot
    now=$(marks "$scratch/mnt")
    (while dd if=/dev/urandom of="$scratch/mnt/noise" bs=64k count=200 conv=notrunc,fdatasync status=none 2>/dev/null; do :; done) &
    noise=$!
    lowest=$(nodes | head -n 1)
    highest=$(nodes | tail -n 1)
    case $verb in
      snapshot) "$ploop_bin" snapshot -u "$(uuid $next)" "$dd" >"$scratch/out" 2>&1 & ;;
      delete) "$ploop_bin" snapshot-delete -u "$lowest" "$dd" >"$scratch/out" 2>&1 & ;;
      merge) "$ploop_bin" snapshot-merge "$dd" >"$scratch/out" 2>&1 & ;;
      merge-range) "$ploop_bin" snapshot-merge -u "$highest" -U "$lowest" "$dd" >"$scratch/out" 2>&1 & ;;
    esac
    command=$!
    sleep "0.$(printf '%03d' $((RANDOM % 120)))"
    kill_daemon
    wait "$command"
    wait "$noise"
    umount "$scratch/mnt" 2>/dev/null || umount -l "$scratch/mnt"
    sleep 0.3
    attach -m "$scratch/mnt" "$dd"
    [ ! -e "$disk/.ploop-intent" ] || fail "a note was left: $(cat "$disk/.ploop-intent")"
    [ "$(marks "$scratch/mnt")" = "$now" ] || fail "what was synced is not there"
    verify
    must ploop umount "$dd"
    attach "$dd"
    must e2fsck -fn "$device"p1
    detach "$device"
    for image in "$disk"/root.hdd*; do check_image "$image"; done
  done
done
