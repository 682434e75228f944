#!/bin/bash
# Hosts without a free block, runtime directories that are full or read-only: every command ends with the right status and a clear line,
# what runs goes on, and nothing half-done is left.
source "$(dirname "$0")/lib.sh"
begin
requires program qemu-img mkfs.ext4 unshare fallocate
requires space 500

# fill_up DIR: takes the last free block of the file system.
fill_up() {
  local size
  for size in 1M 64k 4k 512; do
    dd if=/dev/zero bs=$size status=none 2>/dev/null >>"$1/ballast"
    sync -f "$1"
  done
}
make_room() { rm -f "$1/ballast" && sync -f "$1"; }
# usable SECTORS: the device has this size, is written and read.
usable() {
  [ "$(blockdev --getsz "$device")" -eq "$1" ] || fail "$device has $(blockdev --getsz "$device") sectors instead of $1"
  head -c 64k /dev/urandom >"$scratch/piece"
  must dd if="$scratch/piece" of="$device" bs=64k oflag=direct conv=notrunc,fsync status=none
  must dd if="$device" of="$scratch/read" bs=64k count=1 iflag=direct status=none
  must cmp "$scratch/piece" "$scratch/read"
}
new_disk() { # DIR INIT-OPTION...
  local dir=$1
  shift
  rm -rf "$dir"
  mkdir "$dir"
  dd=$dir/DiskDescriptor.xml
  must ploop init "$@" -t none "$dir/root.hdd"
}

# A runtime directory of its own, which can be filled.
usual_run=$PLOOP_RUNDIR
small_rundir() { # MiB
  mkdir -p "$scratch/run"
  must mount -t tmpfs -o "size=$1m" ploop-test "$scratch/run"
  export PLOOP_RUNDIR=$scratch/run/ploop
}
usual_rundir() {
  must umount "$scratch/run"
  export PLOOP_RUNDIR=$usual_run
}

resizes=no
if resizable; then
  resizes=yes
  for format in raw expanded; do
    step "$format: a running disk grows, whatever its map needs"
    new_disk "$scratch/disk" -s 64M -f $format
    attach "$dd"
    for size in 512 4096 65536; do
      must ploop grow -s ${size}M "$dd"
      usable $((size * 2048))
    done
    detach "$device"

    step "$format: no room for a larger map: the disk goes on with its size"
    small_rundir 4
    new_disk "$scratch/disk" -s 64M -f $format
    attach "$dd"
    fill_up "$scratch/run"
    before=$(stat -c %s "$scratch/disk/root.hdd")
    must_fail 5 "runtime directory" ploop grow -s 64G "$dd"
    usable 131072
    [ $format != raw ] || [ "$(stat -c %s "$scratch/disk/root.hdd")" -eq "$before" ] || fail "the file is longer"
    grep -q '<Disk_size>131072<' "$dd" || fail "the descriptor has another size"
    [ "$(ls -A "$scratch/disk" | wc -l)" -eq 3 ] || fail "files are left: $(ls -A "$scratch/disk")"
    make_room "$scratch/run"
    must ploop grow -s 128M "$dd"
    usable 262144
    detach "$device"
    usual_rundir
  done
fi

step "init: wherever the host runs full, it ends with an error and leaves nothing"
host_filesystem ext4 "$scratch/small" 16
sync -f "$scratch/small"
for left in 1000 1600 2200 2900 3500 4200; do
  fallocate -l $(($(stat -f -c "%f * %S / 1024" "$scratch/small") - left))K "$scratch/small/ballast" || fail "fallocate"
  ploop_timeout=40 must_fail '(1|7|16|20|21|24|33)' "No space|Input/output error" ploop init -s 400M "$scratch/small/root.hdd"
  [ "$(ls -A "$scratch/small" | sort | tr '\n' ' ')" = "ballast lost+found " ] || fail "$left KiB: $(ls -A "$scratch/small") is left"
  [ -z "$(ploop list)$(ls "$PLOOP_DEVDIR")" ] || fail "$left KiB: a device is left"
  make_room "$scratch/small"
done
must ploop init -s 60M "$scratch/small/root.hdd"
must umount "$scratch/small"

step "resize of a disk that is not attached: on a full host it ends, and the disk is as it was"
must mount -t tmpfs -o size=60m ploop-test "$scratch/small"
defer umount -l "$scratch/small"
mkdir "$scratch/small/disk"
dd=$scratch/small/disk/DiskDescriptor.xml
must ploop init -s 64M "$scratch/small/disk/root.hdd"
fallocate -l $(($(stat -f -c '%a * %S / 1024' "$scratch/small") - 2000))K "$scratch/small/ballast" || fail "fallocate"
ploop_timeout=40 must_fail '(7|16|24|25|26|20|21|30|31)' "." ploop resize -s 40M "$dd"
[ -z "$(ploop list)" ] || fail "a device is left"
[ "$(ls -A "$scratch/small/disk" | tr '\n' ' ')" = "DiskDescriptor.xml DiskDescriptor.xml.lck root.hdd " ] || fail "left: $(ls -A "$scratch/small/disk")"

step "convert to preallocated on a full host: what was reserved goes back, and the disk is as it was"
before=$(allocated "$scratch/small/disk/root.hdd")
must_fail 20 "No space" ploop convert -f preallocated "$dd"
[ "$(allocated "$scratch/small/disk/root.hdd")" -le $((before + 65536)) ] || fail "the image takes $(allocated "$scratch/small/disk/root.hdd") bytes instead of $before"
[ "$(ls -A "$scratch/small/disk" | tr '\n' ' ')" = "DiskDescriptor.xml DiskDescriptor.xml.lck root.hdd " ] || fail "left: $(ls -A "$scratch/small/disk")"
make_room "$scratch/small"
attach -r "$dd"
must e2fsck -fn "$device"p1
detach "$device"
must ploop resize -s 40M "$dd"
must umount "$scratch/small"

step "a limit for the size of files is an error like others"
mkdir "$scratch/limited"
for format in raw preallocated; do
  status=0
  (ulimit -f 10000 && ploop init -s 2G -f $format -t none "$scratch/limited/root.hdd") >"$scratch/out" 2>&1 || status=$?
  [ $status -lt 128 ] && [ $status -ne 0 ] || fail "init of a $format image gave $status: $(cat "$scratch/out")"
  [ -z "$(ls -A "$scratch/limited")" ] || fail "init of a $format image left $(ls -A "$scratch/limited")"
done

step "who may write: with any umask only the owner; a replaced descriptor keeps its owner and mode"
new_disk "$scratch/disk" -s 64M
(umask 0 && rm "$dd" "$scratch/disk/root.hdd" && ploop init -s 64M -t none "$scratch/disk/root.hdd" && ploop snapshot "$dd") >/dev/null 2>&1 ||
  fail "init or snapshot with umask 0"
[ -z "$(find "$scratch/disk" -type f -perm /022)" ] || fail "others may write: $(ls -l "$scratch/disk")"
chown 12:34 "$dd" && chmod 640 "$dd" || fail "chown"
keeps() {
  must "$@"
  [ "$(stat -c '%u:%g %a' "$dd")" = "12:34 640" ] || fail "after '$*' the descriptor is $(stat -c '%u:%g %a' "$dd")"
}
keeps ploop snapshot "$dd"
keeps ploop grow -s 128M "$dd"
keeps ploop snapshot-merge "$dd"
attach "$dd"
keeps ploop snapshot "$dd"
keeps ploop snapshot-merge -A "$dd"
detach "$device"

step "a merge into a new image that the device can't take leaves no image"
mkdir "$scratch/list" "$scratch/list/private"
must ploop init -s 32M -t none "$scratch/list/base.hdd"
attach "$scratch/list/base.hdd"
must ploop snapshot -d "$device" -F "$scratch/list/second.hdd"
must ploop snapshot -d "$device" -F "$scratch/list/third.hdd"
worker=$(pid_of worker)
# The daemon lives in another mount namespace and does not see the file.
unshare -m --propagation private sh -c "mount -t tmpfs none '$scratch/list/private' &&
  ! '$ploop_bin' merge -d '$device' -l 0..1 -n '$scratch/list/private/new.hdd' && ls -A '$scratch/list/private'" >"$scratch/out" 2>&1 ||
  fail "the merge did not fail: $(cat "$scratch/out")"
[ -z "$(grep -E '^\.?new.hdd' "$scratch/out")" ] || fail "an image is left: $(cat "$scratch/out")"
[ "$(pid_of worker)" = "$worker" ] || fail "the worker was replaced: $(cat "$PLOOP_RUNDIR"/ploop*/log)"
usable 65536
must ploop merge -d "$device" -l 0..1 -n "$scratch/list/new.hdd"
detach "$device"

a='{aaaaaaaa-0000-4000-8000-000000000000}'
b='{bbbbbbbb-0000-4000-8000-000000000000}'
put() { must dd if=/dev/urandom of="$device" bs=1M seek="$1" count=8 conv=notrunc,fsync oflag=direct status=none; }
for type in tmpfs ext4 xfs; do
  grep -qw $type /proc/filesystems || modprobe -q $type 2>/dev/null || { step "no $type here"; continue; }
  command -v mkfs.$type >/dev/null || [ $type = tmpfs ] || { step "no mkfs.$type here"; continue; }
  host=$scratch/host-$type
  if [ $type = xfs ]; then size=320; else size=80; fi
  host_filesystem $type "$host" $size

  step "$type: a merge of the running disk on a full host: the disk flushes, ends in order and can be mounted; later the merge goes on"
  new_disk "$host/disk" -s 64M
  attach "$dd"
  put 0
  must ploop snapshot -u $a "$dd"
  put 8
  before=$(hash_of "$device")
  fallocate -l $(($(stat -f -c '%a * %S / 1024' "$host") - 2500))K "$host/ballast" || fill_up "$host"
  ploop snapshot-merge "$dd" >"$scratch/out" 2>&1
  status=$?
  # Where blocks are shared it needs no space.
  [ $status -eq 0 ] || { [ $status -eq 7 ] && grep -q "No space" "$scratch/out"; } || fail "merge gave $status: $(cat "$scratch/out")"
  must timeout 20 blockdev --flushbufs "$device"
  [ "$(hash_of "$device")" = "$before" ] || fail "the content changed"
  detach "$device"
  attach "$dd"
  [ "$(hash_of "$device")" = "$before" ] || fail "the content changed"
  detach "$device"
  make_room "$host"
  attach "$dd"
  detach "$device"
  [ "$(ploop snapshot-list -H "$dd" | wc -l)" -eq 1 ] || fail "the merge did not go on"
  check_image "$host/disk/root.hdd"
  attach -r "$dd"
  [ "$(hash_of "$device")" = "$before" ] || fail "the content changed"
  detach "$device"

  step "$type: not one free block: a clear line, nothing changed"
  new_disk "$host/disk" -s 64M
  attach "$dd"
  put 0
  must ploop snapshot -u $a "$dd"
  put 8
  must ploop snapshot -u $b "$dd"
  fill_up "$host"
  before=$(ls -A "$host/disk"; hash_of "$dd")
  for command in "snapshot-merge" "snapshot-merge -A -n $host/disk/new.hdd" "snapshot-delete -u $b" "snapshot" "grow -s 1G"; do
    output=$(ploop $command "$dd" 2>&1)
    status=$?
    # XFS has some blocks put by for its own needs.
    [ $status -ne 0 ] || [ $type = xfs ] || fail "$command succeeded"
    [ $status -ne 0 ] || { before=$(ls -A "$host/disk"; hash_of "$dd"); continue; }
    # ... and some kernels can't resize a device that runs anyhow.
    grep -qE "No space|no room|can't resize" <<<"$output" || fail "$command gave $status and says $output"
    [ "$(ls -A "$host/disk"; hash_of "$dd")" = "$before" ] || fail "$command left $(ls -A "$host/disk")"
  done
  make_room "$host"
  must ploop snapshot "$dd"
  detach "$device"
  for image in "$host/disk"/*.hdd*; do check_image "$image"; done
done

# Clusters that are in the way of a larger table move, and where they were is zeroed. Blocks that both places share need room for that.
host=$scratch/host-xfs
if mountpoint -q "$host" && [ $resizes = yes ]; then
  step "xfs: a merge needs a larger lower level, and the host runs full in the middle of that: the disk reads what it did"
  new_disk "$host/disk" -s 64M -b 64
  attach "$dd"
  must dd if=/dev/urandom of="$device" bs=1M count=60 oflag=direct conv=notrunc,fsync status=none
  must ploop snapshot "$dd"
  must ploop grow -s 24G "$dd"
  begins_with() { dd if="$device" bs=1M count=64 iflag=direct status=none | hash_of /dev/stdin; }
  before=$(begins_with)
  for left in 500 1300 1700; do
    fallocate -l $(($(stat -f -c '%a * %S / 1024' "$host") - left))K "$host/ballast" || fail "fallocate"
    output=$(ploop snapshot-merge "$dd" 2>&1)
    status=$?
    [ $status -eq 0 ] || { [ $status -eq 7 ] && grep -q "No space" <<<"$output"; } || fail "merge gave $status: $output"
    [ "$(begins_with)" = "$before" ] || fail "$left KiB: the content changed: $(cat "$PLOOP_RUNDIR"/ploop*/log)"
    make_room "$host"
    [ $status -ne 0 ] || break
  done
  if [ $status -ne 0 ]; then
    detach "$device"
    attach "$dd"
    [ "$(begins_with)" = "$before" ] || fail "attached again the disk reads something else"
    must ploop snapshot-merge "$dd"
  fi
  [ "$(begins_with)" = "$before" ] || fail "the content changed"
  detach "$device"
  check_image "$host/disk/root.hdd"
fi

step "a runtime directory without room: mount fails and leaves nothing"
mkdir "$scratch/run2"
new_disk "$scratch/disk" -s 64M
for options in size=4k size=1m,nr_inodes=2 size=1m,nr_inodes=3 size=1m,nr_inodes=4 size=1m,nr_inodes=6 size=1m,nr_inodes=8 ro; do
  must mount -t tmpfs -o "$options" ploop-test "$scratch/run2"
  PLOOP_RUNDIR=$scratch/run2/ploop must_fail '(1|5|12|23|27)' "$scratch/run2|runtime directory" ploop mount "$dd"
  [ -z "$(ls "$PLOOP_DEVDIR")$(find "$scratch/run2" -name 'ploop[0-9]*')" ] || fail "$options: something is left"
  until_true 5 umount "$scratch/run2" || fail "$options: a process is left"
done

step "a runtime directory that fills up: the disk goes on, its commands work, a killed worker is replaced"
small_rundir 4
attach "$dd"
fill_up "$scratch/run"
usable 131072
must ploop snapshot "$dd"
must ploop snapshot "$dd"
[ "$(state_of read_only)" = False ] && grep -q "$(ploop snapshot-list -H -o fname "$dd" | tail -n 1)" "$(state_file)" || fail "the state is not that of the device"
must ploop snapshot-merge "$dd"
if hands_over; then
  before=$(pid_of worker)
  kill -9 "$before"
  until_true 20 sh -c "! grep -q '\"worker_pid\":$before[,}]' '$(state_file)'" || fail "no other worker came"
fi
usable 131072
must ploop snapshot-merge -A "$dd"
detach "$device"
[ "$(ls -A "$PLOOP_RUNDIR")" = lock ] || fail "left: $(ls -A "$PLOOP_RUNDIR")"
usual_rundir
check_image "$scratch/disk/root.hdd"
