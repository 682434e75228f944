#!/bin/bash
# A device whose guardian is gone, alone or with others: all I/O ends with an error at once, nobody hangs, `list` says what is left,
# `umount` in every form and `mount` clear it away, and what was flushed is there.
source "$(dirname "$0")/lib.sh"
begin
requires program mkfs.ext4 e2fsck
requires space 800
mkdir "$scratch/disk" "$scratch/mnt" "$scratch/other"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml
must ploop init -s 256M "$image"

load=()
stop_load() {
  local pid
  rm -f "$scratch/load"
  for pid in "${load[@]}"; do
    # What it is just running; then the loop ends by itself.
    kill -9 $(cat "/proc/$pid/task/$pid/children")
    gone 20 "$pid" || kill -9 "$pid"
  done 2>/dev/null
  load=()
}
defer stop_load

# Writers with and without fsync in the file system, a reader beside it.
start_load() {
  : >"$scratch/load"
  while [ -e "$scratch/load" ] && dd if=/dev/urandom of="$scratch/mnt/a" bs=16k count=100 conv=fsync,notrunc; do :; done >/dev/null 2>&1 &
  load=($!)
  while [ -e "$scratch/load" ] && dd if=/dev/urandom of="$scratch/mnt/b" bs=1M count=20 conv=notrunc && sync "$scratch/mnt/b"; do :; done >/dev/null 2>&1 &
  load+=($!)
  while [ -e "$scratch/load" ] && dd if="$device" of=/dev/null bs=1M iflag=direct; do :; done >/dev/null 2>&1 &
  load+=($!)
}

# What a device leaves: no process, no node, no directory, and no loop device with its number.
nothing_left() {
  local left
  until_true 5 no_daemons || fail "$1: a daemon lives on: $(daemon_pids)"
  left=$(ls -d "$PLOOP_RUNDIR"/ploop*/ "$PLOOP_DEVDIR"/* 2>/dev/null)
  [ -z "$left" ] || fail "$1: left behind: $left"
  if [[ $transport = ublk* ]]; then
    left=$(ls -d /sys/block/"$kernel_name" /sys/class/ublk-char/"${kernel_name/b/c}" 2>/dev/null)
    [ -z "$left" ] || fail "$1: its ublk device is still there: $left"
  else
    until_true 5 came_free "$kernel_name" "$kernel_use" || fail "$1: its loop device is still there"
  fi
}

# What the kernel calls $device, and how it is attached.
remember_device() {
  transport=$(state_of transport)
  resends=$(state_of can_resend)
  kernel_name=$(basename "$(state_of backing_device)")
  kernel_use=$(use_of "$kernel_name")
}

# Everybody who used the device ends within a moment.
heard() {
  local pid after
  [ ${#load[@]} -gt 0 ] || return 0
  for pid in "${load[@]}"; do
    gone 20 "$pid" || fail "a process hangs 20 s after the death of $victims: $(cat "/proc/$pid/wchan" 2>/dev/null)"
  done
  after=$(date +%s%N)
  [ $((after - before)) -lt 20000000000 ] || fail "the death of $victims is heard of after $(((after - before) / 1000000)) ms only"
  echo "   everybody has heard of the death of $victims after $(((after - before) / 1000000)) ms"
  load=()
}

# lost VICTIMS: attached, mounted, under load, with a flushed file; then these processes are killed at once, and everybody hears of it.
# Only with ublk, and with the keeper killed too, nobody is left who could tell the kernel that no other server will come: everybody
# waits, until the next command of ploop, which is the caller's; then `heard`.
lost() {
  local pids=() victim
  victims=$*
  attach -m "$scratch/mnt" "$dd"
  remember_device
  must dd if=/dev/urandom of="$scratch/mnt/kept" bs=64k count=20 conv=fsync status=none
  kept=$(hash_of "$scratch/mnt/kept")
  start_load
  sleep 0.$((RANDOM % 5 + 2))
  for victim; do pids+=("$(pid_of "$victim")"); done
  before=$(date +%s%N)
  # At once: none gets to notice the end of another.
  kill -STOP "${pids[@]}" && kill -9 "${pids[@]}" || fail "one of $* is not there: ${pids[*]}"
  if [[ $transport = ublk* ]] && [[ $victims = *keeper* ]]; then
    ! gone 1 "${load[2]}" || fail "the reader ended, though nobody has stopped the device"
    before=$(date +%s%N)
  else
    heard
  fi
}

# Returns when it has really ended, locks and all.
kill_guardian() {
  local guardian
  guardian=$(pid_of guardian)
  kill -9 "$guardian"
  gone 10 "$guardian" || fail "the guardian does not end"
}

# The disk works again and has what was flushed.
works_again() {
  attach -m "$scratch/mnt" "$dd"
  [ "$(hash_of "$scratch/mnt/kept")" = "$kept" ] || fail "$1: a file that was flushed is not the same"
  must ploop umount "$dd"
  must ploop check "$image"
  attach "$dd"
  must e2fsck -fn "$device"p1
  detach "$device"
}

says() { grep -qF -- "$2" <<<"$1" || fail "no word of '$2' in: $1"; }

for killed in guardian "guardian worker" "guardian worker keeper"; do
  step "killed: $killed"
  # shellcheck disable=SC2086
  lost $killed
  for _ in 1 2; do
    output=$(ploop list 2>&1) || fail "list fails: $output"
    heard
    says "$output" "${device}p1: its daemon is gone, and the file system at $scratch/mnt has errors only"
    says "$output" "'ploop umount -m $scratch/mnt' takes it away"
  done
  [ -z "$(ploop list 2>/dev/null)" ] || fail "list shows a dead device"
  must ploop umount -m "$scratch/mnt"
  nothing_left "umount -m after $killed"
  [ -z "$(ploop list 2>&1)" ] || fail "list has still something to say: $(ploop list 2>&1)"
  works_again "$killed"
done

step "umount by device, partition, descriptor and image; with 'all' dead as the first command that comes"
forms=("-d DEVICEp1" DESCRIPTOR "all -m MOUNTED" "all IMAGE")
[ "$(sized full small)" = small ] || forms+=("-d DEVICE" IMAGE "all -d DEVICE" "all DESCRIPTOR")
for form in "${forms[@]}"; do
  if [[ $form = "all "* ]]; then lost guardian worker keeper; else lost guardian; fi
  form=${form#all }
  words=${form//DEVICE/$device}
  words=${words//MOUNTED/$scratch/mnt}
  words=${words//DESCRIPTOR/$dd}
  # shellcheck disable=SC2086
  must ploop umount ${words//IMAGE/$image}
  heard
  ! mountpoint -q "$scratch/mnt" || fail "umount $form: still mounted"
  nothing_left "umount $form"
  works_again "umount $form"
done
must_fail 2 "Can't open dev" ploop umount -d "$device"
must_fail 40 "is not mounted" ploop umount "$dd"

step "mounted again elsewhere while the dead file system is still there, then at its place"
lost guardian worker keeper
dead=$device
output=$(ploop mount -m "$scratch/other" "$dd" 2>&1) || fail "mount: $output"
heard
says "$output" "${dead}p1: its daemon is gone"
[ "$(hash_of "$scratch/other/kept")" = "$kept" ] || fail "a file that was flushed is not the same"
must ploop umount "$dd"
! mountpoint -q "$scratch/other" || fail "umount took the wrong one"
attach -m "$scratch/mnt" "$dd"
[ "$(hash_of "$scratch/mnt/kept")" = "$kept" ] || fail "a file that was flushed is not the same"
must ploop umount "$dd"
must ploop list
nothing_left "mount in its place"

step "nobody had it mounted; somebody has it open"
attach "$dd"
remember_device
log=$PLOOP_RUNDIR/ploop${device##*ploop}.failed.log
rm -f "$log"
kill_guardian
output=$(ploop list 2>&1)
says "$output" "$device: its daemon is gone; cleaned up (its log: $log)"
[ -e "$log" ] || fail "no log was kept"
nothing_left "list"
attach "$dd"
sleep 300 <"$device" &
sleeper=$!
defer kill "$sleeper"
sleep 0.2
kill_guardian
output=$(ploop list 2>&1)
says "$output" "$device: its daemon is gone; what it leaves goes away with its last user: sleep($sleeper)"
kill "$sleeper"
output=$(ploop list 2>&1)
says "$output" "$device: its daemon is gone; cleaned up"
nothing_left "list after the last user"

step "after a reboot: the runtime directory is empty, the image is marked in use"
lost guardian worker keeper
must ploop list  # no reboot leaves a kernel that waits
heard
must umount -l "$scratch/mnt"
rm -rf "$PLOOP_RUNDIR" "$PLOOP_DEVDIR"/*
[ -z "$(ploop list 2>&1)" ] || fail "list: $(ploop list 2>&1)"
works_again reboot
nothing_left reboot

step "guardian and keeper stopped: the data path goes on"
attach -m "$scratch/mnt" "$dd"
stopped=("$(pid_of guardian)" "$(pid_of keeper)")
kill -STOP "${stopped[@]}"
must timeout 20 dd if=/dev/urandom of="$scratch/mnt/more" bs=1M count=20 conv=fsync status=none
must timeout 20 dd if="$device" of=/dev/null bs=1M count=20 iflag=direct status=none
kill -CONT "${stopped[@]}"
must ploop umount "$dd"

# goes_on VICTIMS: reading and writing work, also by who has it mounted, and so does the way down.
goes_on() {
  timeout $((20 * patience)) dd if="$device" of=/dev/null bs=1M count=20 iflag=direct status=none || fail "reading fails after the death of $1"
  timeout $((20 * patience)) dd if=/dev/urandom of="$scratch/mnt/more" bs=64k count=20 conv=fsync status=none || fail "writing fails after the death of $1"
  must ploop umount "$dd"
  nothing_left "$1"
  works_again "$1"
}
mounted_with_file() {
  attach -m "$scratch/mnt" "$dd"
  remember_device
  must dd if=/dev/urandom of="$scratch/mnt/kept" bs=64k count=20 conv=fsync status=none
  kept=$(hash_of "$scratch/mnt/kept")
}

step "the keeper dies: nobody notices, also when a worker dies later, and umount takes everything down"
mounted_with_file
start_load
kill -9 "$(pid_of keeper)"
sleep 1
! hands_over || kill -9 "$(pid_of worker)"
sleep 1
for pid in "${load[@]}"; do kill -0 "$pid" 2>/dev/null || fail "the load ended with the keeper"; done
stop_load
# Without a keeper a loop device keeps its size, and that is said at once.
if [ "$transport" = fuse ]; then
  ploop_timeout=15 must_fail 3 "keeper of .* has ended" ploop grow -s 300M "$dd"
fi
must sync -f "$scratch/mnt"
goes_on keeper

# kill_workers COUNT: one after the other as soon as it is there, so that the next one comes after a pause.
kill_workers() {
  local guardian keeper children child last='' left=$1
  guardian=$(pid_of guardian)
  keeper=$(pid_of keeper)
  while [ "$left" -gt 0 ] && kill -0 "$guardian" 2>/dev/null; do
    { read -r children <"/proc/$guardian/task/$guardian/children"; } 2>/dev/null
    for child in $children; do
      [ "$child" != "$keeper" ] && [ "$child" != "$last" ] && kill -9 "$child" && last=$child && left=$((left - 1))
    done
  done
}
if [ "$resends" = True ]; then
  step "the keeper dies while there is no worker"
  mounted_with_file
  keeper=$(pid_of keeper)
  kill_workers 9
  sleep 0.2
  kill -9 "$keeper"
  goes_on "keeper between two workers"

  step "worker and keeper die at once"
  for first in worker keeper; do
    mounted_with_file
    victims=("$(pid_of worker)" "$(pid_of keeper)")
    [ $first = worker ] || victims=("${victims[1]}" "${victims[0]}")
    kill -STOP "${victims[@]}" && kill -9 "${victims[@]}"
    goes_on "worker and keeper"
  done
fi
