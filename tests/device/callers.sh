#!/bin/bash
# What a caller hands down must not matter: signals ignored or blocked, standard descriptors closed, few descriptors, an odd umask,
# a working directory that is gone, no environment.
source "$(dirname "$0")/lib.sh"
begin
requires program mkfs.ext4
requires space 500
mkdir "$scratch/mnt"
ploop_timeout=40

# as CALLER COMMAND...: the command as a child of such a caller. Inside of ploop's time limit, which resets what it hands down.
as() {
  local caller=$1
  shift
  timeout -k 5 "$ploop_timeout" bash -c "$caller" caller "$ploop_bin" "$@"
}

number=0
# whole_life CALLER: init, mount, a snapshot, umount; nothing is different, nothing stays.
whole_life() {
  local caller=$1 disk=$scratch/disk.$((++number)) dd
  dd=$disk/DiskDescriptor.xml
  step "$caller"
  mkdir "$disk"
  must as "$caller" init -s 128M -t ext4 "$disk/root.hdd"
  must as "$caller" mount -m "$scratch/mnt" "$dd"
  [ -n "$(ploop list)" ] || fail "no device"
  must cp -r /etc/. "$scratch/mnt/"
  must as "$caller" snapshot "$dd"
  must cp /etc/passwd "$scratch/mnt/more"
  kill -9 "$(only_worker)"
  must sync -f "$scratch/mnt"
  must cmp /etc/passwd "$scratch/mnt/more"
  must as "$caller" umount "$dd"
  [ -z "$(ploop list)" ] || fail "a device stays: $(ploop list)"
  [ -z "$(daemon_pids)" ] || fail "a daemon stays"
  check_image "$disk"/root.hdd
}
only_worker() {
  device=$PLOOP_DEVDIR/$(ploop list | cut -d' ' -f1)
  pid_of worker
}

whole_life 'exec env --ignore-signal=CHLD "$@"'
whole_life 'exec env --ignore-signal "$@"'
whole_life 'exec env --block-signal "$@"'
whole_life 'exec "$@" 0<&- 1>&- 2>&-'
whole_life 'ulimit -n 64; umask 0777; exec "$@"'
whole_life 'mkdir "$PLOOP_RUNDIR.gone"; cd "$PLOOP_RUNDIR.gone"; rmdir "$PLOOP_RUNDIR.gone"; exec "$@"'
whole_life 'exec env -i PLOOP_RUNDIR="$PLOOP_RUNDIR" PLOOP_DEVDIR="$PLOOP_DEVDIR" "$@"'
