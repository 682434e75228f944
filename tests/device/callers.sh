#!/bin/bash
# What a caller hands down must not matter: signals ignored or blocked, standard descriptors closed, few descriptors, an odd umask,
# a working directory that is gone, no environment or a strange one, limits, low priority. The daemon lives longer than its caller.
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
  stands_alone
  must cp -r /etc/. "$scratch/mnt/"
  must as "$caller" snapshot "$dd"
  must cp /etc/passwd "$scratch/mnt/more"
  ! hands_over || kill -9 "$(only_worker)"
  must sync -f "$scratch/mnt"
  must cmp /etc/passwd "$scratch/mnt/more"
  must as "$caller" umount "$dd"
  [ -z "$(ploop list)" ] || fail "a device stays: $(ploop list)"
  [ -z "$(daemon_pids)" ] || fail "a daemon stays"
  check_image "$disk"/root.hdd
}

# stands_alone: nothing of the caller is left in the daemon that kills or slows it down later.
stands_alone() {
  local who pid row soft hard
  device=$PLOOP_DEVDIR/$(ploop list | cut -d' ' -f1)
  for who in guardian worker keeper; do
    for pid in $(pid_of $who); do
      for row in "Max cpu time" "Max file size" "Max address space" "Max data size"; do
        # What only a privilege lifts, and it is not there, stays.
        read -r soft hard < <(sed -n "s/^$row *//p" "/proc/$pid/limits")
        [ "$soft" = unlimited ] || { [ "$soft" = "${hard%% *}" ] && ! may_lift; } || fail "$who: $row is $soft of $hard"
      done
      [ "$(stack_of "$pid")" -ge 8388608 ] || fail "$who: stacks of $(stack_of "$pid") bytes"
      [ "$(ps -o cls= -p "$pid" | tr -d ' ')" = TS ] || fail "$who: scheduled as $(ps -o cls= -p "$pid")"
      [ "$(ps -o ni= -p "$pid")" -le 0 ] || fail "$who: nice $(ps -o ni= -p "$pid")"
      grep -q '^Umask:.*0022' "/proc/$pid/status" || fail "$who: $(grep Umask "/proc/$pid/status")"
      ignores "$pid" XFSZ && ignores "$pid" XCPU || fail "$who: a limit would kill it"
    done
  done
}
stack_of() { awk '/^Max stack size/ { print ($4 == "unlimited") ? 8388608 : $4 }' "/proc/$1/limits"; }
may_lift() { bash -c 'ulimit -f 1000 && ulimit -f unlimited' 2>/dev/null; }
# ignores PID SIGNAL
ignores() {
  local mask
  mask=$(awk '/^SigIgn/ { print $2 }' "/proc/$1/status")
  [ $((16#${mask: -8} >> ($(kill -l "$2") - 1) & 1)) -eq 1 ]
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
whole_life 'export LC_ALL=tr_TR.UTF-8 LANG=xx IFS=/.p TMPDIR=/no/such/place PATH= HOME= TZ=../../x POSIXLY_CORRECT=1; exec "$@"'
whole_life 'ulimit -S -f 60000; exec "$@"'
whole_life 'ulimit -S -t 20; exec "$@"'
whole_life 'ulimit -S -v 400000; ulimit -S -d 400000; exec "$@"'
whole_life 'ulimit -S -s 256; ulimit -S -l 0; ulimit -S -u 3; ulimit -c 0; exec "$@"'
whole_life 'renice -n 19 $$ >/dev/null; exec "$@"'
whole_life 'chrt -i -p 0 $$; exec "$@"'
whole_life 'ulimit -u 1; ulimit -l 0; ulimit -n 32; exec "$@"'

step "files that can't become as large as the disk"
mkdir "$scratch/small" "$scratch/other"
must ploop init -s 128M "$scratch/small/root.hdd"
limited='ulimit -f 60000; exec "$@"'
if may_lift; then
  must as "$limited" mount -m "$scratch/mnt" "$scratch/small/DiskDescriptor.xml"
  stands_alone
  must dd if=/dev/urandom of="$scratch/mnt/large" bs=1M count=90 conv=fsync
  must ploop umount "$scratch/small/DiskDescriptor.xml"
else
  must_fail 12 "files may not become larger than" as "$limited" mount -m "$scratch/mnt" "$scratch/small/DiskDescriptor.xml"
  # Nothing is written there.
  must as "$limited" mount -r -m "$scratch/mnt" "$scratch/small/DiskDescriptor.xml"
  must as "$limited" umount "$scratch/small/DiskDescriptor.xml"
fi
[ -z "$(daemon_pids)" ] || fail "a daemon stays"
must_fail "(1|4|7|9|20|23)" "File too large" as 'ulimit -f 1000; exec "$@"' init -s 128M -f expanded "$scratch/other/other.hdd"
must_fail "(1|4|7|9|20|23)" "File too large" as 'ulimit -f 1000; exec "$@"' init -s 128M -f raw "$scratch/other/other.hdd"
[ -z "$(ls -A "$scratch/other" | grep -v "\.lck$")" ] || fail "left behind: $(ls -A "$scratch/other")"
check_image "$scratch/small/root.hdd"
