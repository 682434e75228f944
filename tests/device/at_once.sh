#!/usr/bin/env bash
# Two commands at once on one disk, again and again: each says that it worked, or why not, with the status that belongs to it; the disk is
# what one after the other would have made of it; nothing is left.
#
# at_once.sh [ROUNDS] [PAIR...]: the pairs whose names are given, all by default.
. "$(dirname "$0")/lib.sh"
begin
requires program qemu-img mkfs.ext4
rounds=${1:-$(sized 6 1)}
shift || true
wanted=("$@")

top="{5fbaabe3-6958-40ff-92a7-860e329aab41}"
first="{11111111-1111-4111-8111-111111111111}"
second="{22222222-2222-4222-8222-222222222222}"
third="{33333333-3333-4333-8333-333333333333}"
dir=$scratch/disk
xml=$dir/DiskDescriptor.xml
mnt=$scratch/mnt
mkdir "$mnt"

# A disk with two snapshots below its top and a file from before the first.
mkdir "$scratch/master"
must ploop init -s 48M "$scratch/master/root.hdd"
attach -m "$mnt" "$scratch/master/DiskDescriptor.xml"
head -c 3000000 /dev/urandom >"$scratch/content"
cp "$scratch/content" "$mnt/content"
must ploop umount "$scratch/master/DiskDescriptor.xml"
must ploop snapshot -u "$first" "$scratch/master/DiskDescriptor.xml"
must ploop snapshot -u "$second" "$scratch/master/DiskDescriptor.xml"

# start STATE: the disk as it is before a pair: stopped, attached or mounted.
start() {
  rm -rf "$dir"
  cp -a "$scratch/master" "$dir"
  case $1 in
    stopped) device= ;;
    attached) attach "$xml" ;;
    mounted) attach -m "$mnt" "$xml" ;;
  esac
}

fits() { [[ $2 =~ ^$1$ ]]; }

# run_two FIRST SECOND: both at once; statuses in $one and $two, what they said in $scratch/one and $scratch/two.
run_two() {
  local pids
  $1 >/dev/null 2>"$scratch/one" &
  pids=$!
  sleep "0.0$((RANDOM % 4))$((RANDOM % 10))"
  $2 >/dev/null 2>"$scratch/two" &
  wait $pids
  one=$?
  wait $!
  two=$?
}

said() { printf '%s: status %s: %s\n%s: status %s: %s\n' "$1" "$one" "$(cat "$scratch/one")" "$2" "$two" "$(cat "$scratch/two")"; }

# Whatever runs, ends; then the disk is sound, named files are all there are, and its content is right.
settle() {
  local name number
  for number in "$PLOOP_RUNDIR"/ploop*/state; do
    [ -e "$number" ] || continue
    name=$PLOOP_DEVDIR/$(basename "$(dirname "$number")")
    until_true 10 ploop umount -d "$name" || fail "$name does not end"
  done
  until_true 10 no_daemons || fail "daemons are left: $(daemon_pids)"
  [ -z "$(ls "$PLOOP_DEVDIR")" ] || fail "nodes are left: $(ls "$PLOOP_DEVDIR")"
  ! mountpoint -q "$mnt" || fail "$mnt is still mounted"
  ploop clear -d "$PLOOP_DEVDIR/ploop0"
  must ploop check "$xml"  # which also completes what was interrupted
  local named found
  named=$( (ploop snapshot-list -H -o fname "$xml" && echo "$xml") | sort)
  found=$(find "$dir" -type f ! -name '*.lck' ! -name '.statfs' | sort)
  [ "$named" = "$found" ] || fail "the descriptor names $named; there is $found"
  local image
  for image in "$dir"/root.hdd*; do must qemu-img check -f parallels "$image"; done
  attach -r -m "$mnt" -o noload "$xml"
  cmp "$mnt/content" "$scratch/content" || fail "the content is another"
  must ploop umount "$xml"
}

# pair NAME STATE STATUSES FIRST SECOND: STATUSES is a pattern of "ONE TWO".
pair() {
  local name=$1 state=$2 statuses=$3 a=$4 b=$5 round
  [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $name "* ]] || return 0
  step "$name"
  for ((round = 0; round < rounds; round++)); do
    start "$state"
    if ((round % 2)); then
      run_two "$a" "$b"
    else
      run_two "$b" "$a"
      local swap=$one
      one=$two two=$swap
      mv "$scratch/one" "$scratch/swap" && mv "$scratch/two" "$scratch/one" && mv "$scratch/swap" "$scratch/two"
    fi
    fits "$statuses" "$one $two" || fail "$name, round $round: $(said "$a" "$b")"
    local output
    for output in one two; do
      [ "${!output}" -eq 0 ] || [ "$(grep -c . "$scratch/$output")" -le 3 ] || fail "$name, round $round, too many words: $(said "$a" "$b")"
    done
    [ -z "${SHOW:-}" ] || said "$a" "$b"
    settle
  done
}

# crowd NAME STATE COMMAND...: all of them in the same moment. Those who find nothing to unmount say so, and nothing else.
crowd() {
  local name=$1 state=$2 round i pids
  shift 2
  [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $name "* ]] || return 0
  step "$name"
  for ((round = 0; round < rounds; round++)); do
    start "$state"
    pids=()
    for i; do
      $i >/dev/null 2>"$scratch/said.${#pids[@]}" &
      pids+=($!)
    done
    local status won=0
    for i in "${!pids[@]}"; do
      wait "${pids[i]}"
      status=$?
      [ -z "${SHOW:-}" ] || echo "$name: $status: $(cat "$scratch/said.$i")"
      case $status in
        0) won=1 ;;
        2) grep -q "Can't open dev .*No such file" "$scratch/said.$i" || fail "$name, round $round: $(cat "$scratch/said.$i")" ;;
        38) grep -q 'Unable to find ploop device by' "$scratch/said.$i" || fail "$name, round $round: $(cat "$scratch/said.$i")" ;;
        40) grep -q 'not mounted' "$scratch/said.$i" || fail "$name, round $round: $(cat "$scratch/said.$i")" ;;
        *) fail "$name, round $round: status $status: $(cat "$scratch/said.$i")" ;;
      esac
    done
    [ $won = 1 ] || fail "$name, round $round: nobody has unmounted it"
    [ -z "$(ls "$PLOOP_DEVDIR")" ] || fail "nodes are left: $(ls "$PLOOP_DEVDIR")"
    settle
  done
}

mounts() { ploop mount "$xml"; }
mounts_fs() { ploop mount -m "$mnt" "$xml"; }
snapshots() { ploop snapshot "$xml"; }
snapshots_third() { ploop snapshot -u "$third" "$xml"; }
unmounts() { ploop umount "$xml"; }
unmounts_device() { ploop umount -d "$PLOOP_DEVDIR/ploop0"; }
unmounts_directory() { ploop umount -m "$mnt"; }
stops() { ploop stop -d "$PLOOP_DEVDIR/ploop0"; }
merges() { ploop snapshot-merge -u "$second" "$xml"; }
merges_top() { ploop snapshot-merge "$xml"; }
merges_all() { ploop snapshot-merge -A "$xml"; }
deletes() { ploop snapshot-delete -u "$second" "$xml"; }
deletes_first() { ploop snapshot-delete -u "$first" "$xml"; }
switches() { ploop snapshot-switch -u "$first" "$xml"; }
grows() { ploop grow -s 64M "$xml"; }
grows_device() { ploop grow -s 80M -d "$PLOOP_DEVDIR/ploop0"; }
resizes() { ploop resize -s 64M "$xml"; }
converts() { ploop convert -v 1 "$xml"; }
checks() { ploop check "$xml"; }
upgrades() { ploop upgrade "$xml"; }
infos() { ploop info "$xml"; }

# Who names the device does not wait for the disk's lock: a command may lose its device, before it asks (2) or while it waits for the answer (12).
cut_short='(0|2|12)'
# Growing may be impossible while the disk runs: the kernel's driver (3), a container that lacks a capability (26).
pair mount_mount stopped '(0 21|21 0)' mounts mounts_fs
pair mount_snapshot stopped '0 0' mounts snapshots
pair mount_umount stopped '0 (0|40)' mounts unmounts
pair mount_check stopped '0 (0|37)' mounts checks
pair mount_convert stopped '0 (0|38)' mounts converts
pair mount_resize stopped '0 (0|3|26)' mounts resizes
pair snapshot_snapshot attached '0 0' snapshots snapshots
pair snapshot_same attached '(0 38|38 0)' snapshots_third snapshots_third
pair snapshot_mounted mounted '0 0' snapshots snapshots
pair snapshot_umount mounted '0 0' snapshots unmounts
pair snapshot_umount_device mounted "$cut_short 0" snapshots unmounts_device
pair umount_umount mounted '(0 40|40 0)' unmounts unmounts
pair umount_umount_device attached '(0 (0|2)|2 0)' unmounts_device unmounts_device
pair umount_mounted_device mounted '(0 (0|2)|2 0)' unmounts_device unmounts_device
pair umount_both attached '(0 (0|2)|40 0)' unmounts unmounts_device
pair umount_directory mounted '(0 (0|38)|38 0)' unmounts_directory unmounts_directory
pair umount_any mounted '(0 (0|40)|38 0)' unmounts_directory unmounts
pair umount_stop attached '(0 (0|2)|2 0)' unmounts_device stops
pair merge_snapshot attached '0 0' merges snapshots
pair merge_top_snapshot mounted '0 0' merges_top snapshots
pair merge_umount attached "$cut_short 0" merges_top unmounts_device
pair merge_below_umount attached "$cut_short 0" merges unmounts_device
pair merge_merge attached '0 (0|38)' merges_top merges
pair merge_all_delete stopped '0 (0|43)' merges_all deletes
pair delete_switch stopped '0 0' deletes switches
pair delete_delete stopped '(0 43|43 0)' deletes deletes
pair delete_mount stopped '0 0' deletes_first mounts
pair switch_mount stopped '(0|38) 0' switches mounts
pair grow_snapshot attached '(0|3) 0' grows snapshots
pair grow_grow attached '((0|38) 0|3 3)' grows grows_device
pair grow_umount attached '(0|2|3|12) 0' grows unmounts_device
pair resize_umount mounted '(0|2|3|12|26) 0' resizes unmounts
pair resize_snapshot mounted '(0|3|26) 0' resizes snapshots
pair upgrade_snapshot attached '(0|17) (0|12)' upgrades snapshots
pair upgrade_umount attached '(0|2|12|17|40) 0' upgrades unmounts_device
pair info_umount mounted '0 0' infos unmounts
crowd umount_crowd_device attached unmounts_device unmounts_device unmounts_device unmounts_device unmounts_device unmounts_device
crowd umount_crowd mounted unmounts_device unmounts_directory unmounts unmounts_device unmounts_directory unmounts
crowd umount_crowd_mounted mounted unmounts_device unmounts_directory unmounts_device unmounts_directory unmounts_device unmounts_directory
