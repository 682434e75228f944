#!/usr/bin/env bash
# A disk that runs is known by its files, whatever their names are by now: reached through a bind mount, symbolic or hard links, moved
# away, with another disk in its place, or from where its daemon can't be seen.
#
# other_paths.sh [PART...], of: bind symbolic hard clones elsewhere moved exchanged by_device successor salvaged stopped gone; all by default.
. "$(dirname "$0")/lib.sh"
begin
requires program qemu-img

top="{5fbaabe3-6958-40ff-92a7-860e329aab41}"
guid() { echo "{$(cat /proc/sys/kernel/random/uuid)}"; }
names_in() { (cd "$1" && find . -mindepth 1 ! -name '*.lck' | sort); }
content() { (cd "$1" && find . -type f ! -name '*.lck' -print0 | sort -z | xargs -0 sha256sum); }
write_sector() { printf '%-512s' "$1" | dd of="$device" bs=512 seek="$2" oflag=direct conv=notrunc status=none || fail "cannot write $device"; }
read_sector() { dd if="$device" bs=512 skip="$1" count=1 iflag=direct status=none | sed 's/ *$//'; }
holds() {  # WORD SECTOR...
  local word=$1 i
  shift
  for i; do [ "$(read_sector "$i")" = "$word $i" ] || fail "sector $i of $device: $(read_sector "$i"), not $word $i"; done
}
file_of_top() { ploop snapshot-list -H -o uuid,fname "$1/DiskDescriptor.xml" | sed -n "s/^$top *//p"; }

# make_disk DIR WORD: three levels, WORD in sector 10 of each.
make_disk() {
  mkdir "$1"
  must ploop init -s 64M -t none "$1/root.hdd"
  local node
  for node in "$first" "$second"; do must ploop snapshot -u "$node" "$1/DiskDescriptor.xml"; done
  attach "$1/DiskDescriptor.xml"
  write_sector "$2 10" 10
  detach "$device"
}
first=$(guid) second=$(guid)

other_worker_than() { [ "$(state_of worker_pid)" != "$1" ] && [ -n "$(ask "$device" ping)" ]; }
replace_worker() {
  local old
  old=$(state_of worker_pid)
  kill -9 "$old"
  until_true 30 other_worker_than "$old" || fail "no worker came after $old"
}

# refuses DIR: what nobody may do to a disk that runs is refused, and changes nothing.
refuses() {
  local xml=$1/DiskDescriptor.xml before
  before=$(names_in "$1"; hash_of "$xml")
  must_fail 38 'running device' ploop snapshot-switch -u "$first" "$xml"
  must_fail 38 'active' ploop snapshot-delete -u "$top" "$xml"
  must_fail 21 'already used by device' ploop mount "$xml"
  must_fail 37 'in use by device' ploop check "$xml"
  must_fail 37 'in use by device' ploop check "$(file_of_top "$1")"
  must_fail 4 'in use' ploop grow -s 128M "$(file_of_top "$1")"
  must_fail 38 'mounted' ploop convert -v 1 "$xml"
  [ "$before" = "$(names_in "$1"; hash_of "$xml")" ] || fail "refused commands changed $1: $before, now $(names_in "$1")"
  ploop info -d "$xml" | grep -q "$device" || fail "info of $xml does not know $device: $(ploop info -d "$xml" 2>&1)"
}

# works DIR: what can be done with a running disk, is done under this name. Ends with umount.
works() {
  local xml=$1/DiskDescriptor.xml third
  third=$(guid)
  must ploop snapshot -u "$third" "$xml"
  [ -e "$(file_of_top "$1")" ] || fail "the descriptor names $(file_of_top "$1"), which is not there"
  write_sector "this 20" 20
  if grows_online; then
    must ploop grow -s 96M "$xml"
    [ "$(blockdev --getsize64 "$device")" = $((96 << 20)) ] || fail "$device has not grown"
  fi
  must ploop snapshot-merge -u "$second" "$xml"
  must ploop upgrade "$xml"
  must ploop snapshot-delete -u "$third" "$xml"
  if hands_over; then replace_worker; fi
  holds this 10 20
  write_sector "this 30" 30
  must ploop umount "$xml"
  [ ! -e "$device" ] || fail "$device is still there"
}
# is_sound DIR: afterwards, stopped.
is_sound() {
  must ploop check "$1/DiskDescriptor.xml"
  local image
  for image in "$1"/root.hdd*; do [[ $image == *.lck ]] || must qemu-img check -f parallels "$image"; done
  attach -r "$1/DiskDescriptor.xml"
  holds this "${@:2}"
  detach "$device"
}

# same_disk DIR NAME: a disk that was attached as DIR is used as NAME.
same_disk() {
  attach "$1/DiskDescriptor.xml"
  refuses "$2"
  works "$2"
  is_sound "$1" 10 20 30
}

part_bind() {
  step "the directory through a bind mount"
  make_disk "$scratch/bind" this
  mkdir "$scratch/bound"
  must mount --bind "$scratch/bind" "$scratch/bound"
  defer umount -l "$scratch/bound"
  same_disk "$scratch/bind" "$scratch/bound"
  must umount "$scratch/bound"
}

part_symbolic() {
  step "the directory through a symbolic link"
  make_disk "$scratch/symbolic" this
  ln -s symbolic "$scratch/link"
  same_disk "$scratch/symbolic" "$scratch/link"
}

part_hard() {
  step "hard links to all its files"
  make_disk "$scratch/hard" this
  attach "$scratch/hard/DiskDescriptor.xml"
  mkdir "$scratch/linked"
  find "$scratch/hard" -name 'root.hdd*' -exec ln {} "$scratch/linked" \;
  cp "$scratch/hard/DiskDescriptor.xml" "$scratch/linked"
  refuses "$scratch/linked"
  holds this 10
  detach "$device"
  is_sound "$scratch/hard" 10
}

# Disks that share what lies under their tops, by hard links, are several disks.
part_clones() {
  step "clones that share their lower levels"
  make_disk "$scratch/origin" this
  mkdir "$scratch/clone"
  cp "$scratch/origin/DiskDescriptor.xml" "$scratch/clone"
  find "$scratch/origin" -name 'root.hdd*' -exec ln {} "$scratch/clone" \;
  local own
  own=$(file_of_top "$scratch/clone")
  cp "$own" "$own.copy" && mv "$own.copy" "$own"
  attach "$scratch/origin/DiskDescriptor.xml"
  local origin=$device
  attach "$scratch/clone/DiskDescriptor.xml"
  write_sector "clone 20" 20
  must_fail 17 'busy by device' ploop snapshot-delete -u "$second" "$scratch/clone/DiskDescriptor.xml"
  must ploop snapshot "$scratch/clone/DiskDescriptor.xml"
  must ploop umount "$scratch/clone/DiskDescriptor.xml"
  [ ! -e "$device" ] || fail "umount of the clone left it"
  must_fail 40 'not mounted' ploop umount "$scratch/clone/DiskDescriptor.xml"
  device=$origin
  holds this 10
  must_fail 17 'busy by device' ploop snapshot-merge -u "$second" "$scratch/clone/DiskDescriptor.xml"
  must_fail 38 'holds no file system' ploop resize -s 96M "$scratch/clone/DiskDescriptor.xml"  # not: busy
  detach "$origin"
}

# The locks on the files tell what the runtime directory does not.
part_elsewhere() {
  step "a daemon that can't be seen from here"
  make_disk "$scratch/elsewhere" this
  attach "$scratch/elsewhere/DiskDescriptor.xml"
  local xml=$scratch/elsewhere/DiskDescriptor.xml before
  before=$(names_in "$scratch/elsewhere"; hash_of "$xml")
  mkdir "$scratch/mem/other"
  local command
  for command in "snapshot-switch -u $first" "snapshot-delete -u $top" "snapshot" "snapshot-merge" "snapshot-merge -u $second" "resize -s 96M" \
    "grow -s 96M" "mount" "check" "convert -v 1"; do
    # shellcheck disable=SC2086
    must_fail '(4|17|21|37|38)' 'in use|already used' env PLOOP_RUNDIR="$scratch/mem/other" PLOOP_DEVDIR="$scratch/mem/other" \
      "$ploop_bin" $command "$xml"
    [ "$before" = "$(names_in "$scratch/elsewhere"; hash_of "$xml")" ] || fail "$command changed the directory"
  done
  holds this 10
  detach "$device"
  is_sound "$scratch/elsewhere" 10
  rm -r "$scratch/mem/other"
}

part_moved() {
  step "moved away while it runs"
  make_disk "$scratch/here" this
  attach "$scratch/here/DiskDescriptor.xml"
  mv "$scratch/here" "$scratch/there"
  refuses "$scratch/there"
  works "$scratch/there"
  is_sound "$scratch/there" 10 20 30
}

# exchange: the disk that runs goes from $scratch/place to $scratch/away, another one with files of the same names takes its place.
exchange() {
  rm -rf "$scratch/place" "$scratch/away" "$scratch/another"
  make_disk "$scratch/place" this
  cp -a "$scratch/place" "$scratch/another"
  attach "$scratch/another/DiskDescriptor.xml"
  write_sector "that 10" 10
  detach "$device"
  attach "$scratch/place/DiskDescriptor.xml"
  mv "$scratch/place" "$scratch/away"
  mv "$scratch/another" "$scratch/place"
  before=$(content "$scratch/place")
}
# Nobody has touched the disk that came into the place.
is_untouched() { [ "$(content "$scratch/place")" = "$before" ] || fail "the other disk was changed: $before, now $(content "$scratch/place")"; }

part_exchanged() {
  step "another disk in its place: each is used by its own name"
  exchange
  refuses "$scratch/away"
  is_untouched
  local running=$device files
  files=$(content "$scratch/away" | grep -v "$(basename "$(file_of_top "$scratch/away")")")
  must_fail 40 'not mounted' ploop umount "$scratch/place/DiskDescriptor.xml"
  must_fail 40 'not mounted' ploop upgrade "$scratch/place/DiskDescriptor.xml"
  must ploop check "$scratch/place/DiskDescriptor.xml"
  must ploop snapshot "$scratch/place/DiskDescriptor.xml"
  must ploop snapshot-switch -u "$first" "$scratch/place/DiskDescriptor.xml"
  attach "$scratch/place/DiskDescriptor.xml"
  write_sector "that 40" 40
  must ploop snapshot "$scratch/place/DiskDescriptor.xml"
  must ploop umount "$scratch/place/DiskDescriptor.xml"
  [ ! -e "$device" ] || fail "umount took another device than $device"
  [ "$files" = "$(content "$scratch/away" | grep -v "$(basename "$(file_of_top "$scratch/away")")")" ] || fail "the disk that runs was changed"
  device=$running
  before=$(content "$scratch/place")
  works "$scratch/away"
  is_untouched
  is_sound "$scratch/away" 10 20 30
}

part_by_device() {
  step "another disk in its place: commands by the device"
  exchange
  must_fail '(38|39)' 'moved|not .*of /' ploop grow -d "$device" -s 96M
  must_fail '(38|39)' 'moved|not .*of /' ploop merge -d "$device"
  cp "$scratch/away/root.hdd" "$scratch/copy.hdd"
  must_fail '(38|39)' 'moved|not .*of /' ploop replace -d "$device" -l 0 -i "$scratch/copy.hdd"
  is_untouched
  must ploop upgrade "$device"
  holds this 10
  detach "$device"
  is_untouched
  is_sound "$scratch/away" 10
}

part_successor() {
  step "another disk in its place: who takes over has the files of who died"
  exchange
  hands_over || { detach "$device" && return; }
  local i
  for i in 1 2 3; do
    write_sector "this $((i * 20000))" $((i * 20000))
    replace_worker
    holds this 10 $((i * 20000))
    is_untouched
  done
  must ploop upgrade "$device"
  holds this 10 20000 40000 60000
  rm -r "$scratch/place"
  replace_worker
  write_sector "this 80000" 80000
  must ploop umount "$scratch/away/DiskDescriptor.xml"
  is_sound "$scratch/away" 10 20000 40000 60000 80000
}

part_salvaged() {
  step "another disk in its place: what a device that ends had acknowledged is saved into its own files"
  exchange
  write_sector "this 30060" 30060
  local guardian i
  guardian=$(state_of guardian_pid)
  for ((i = 0; i < 2000; i++)); do
    kill -9 "$(state_of worker_pid 2>/dev/null)" 2>/dev/null
    [ -d "/proc/$guardian" ] && [ -e "$(state_file)" ] || break
    sleep 0.01
  done
  gone 60 "$guardian" || fail "the device does not end"
  is_untouched
  rm -f "$PLOOP_RUNDIR"/ploop*.failed.log
  is_sound "$scratch/away" 10 30060
}

part_stopped() {
  step "another disk in the place of a stopped one"
  exchange
  detach "$device"
  attach "$scratch/away/DiskDescriptor.xml"
  must ploop stop -d "$device"
  mv "$scratch/away" "$scratch/far" && mv "$scratch/place" "$scratch/away"
  must_fail 3 'not those that were stopped' ploop start -d "$device"
  mv "$scratch/away" "$scratch/place" && mv "$scratch/far" "$scratch/away"
  is_untouched
  must ploop start -d "$device"
  holds this 10
  detach "$device"
}

part_gone() {
  step "an image that was deleted while the disk runs"
  make_disk "$scratch/gone" this
  attach "$scratch/gone/DiskDescriptor.xml"
  mv "$scratch/gone/root.hdd" "$scratch/kept.hdd"
  before=$(content "$scratch/gone")
  must_fail 4 'root\.hdd' ploop snapshot "$scratch/gone/DiskDescriptor.xml"
  [ "$(content "$scratch/gone")" = "$before" ] || fail "a refused snapshot changed something"
  holds this 10
  mv "$scratch/kept.hdd" "$scratch/gone/root.hdd"
  must ploop snapshot "$scratch/gone/DiskDescriptor.xml"
  detach "$device"
  mv "$scratch/gone/root.hdd" "$scratch/kept.hdd"
  before=$(content "$scratch/gone")
  must_fail 4 'root\.hdd' ploop snapshot "$scratch/gone/DiskDescriptor.xml"
  [ "$(content "$scratch/gone")" = "$before" ] || fail "a refused snapshot changed something"
  mv "$scratch/kept.hdd" "$scratch/gone/root.hdd"
  is_sound "$scratch/gone" 10
  attach "$scratch/gone/DiskDescriptor.xml"
  rm "$scratch/gone/root.hdd"
  must ploop umount "$scratch/gone/DiskDescriptor.xml"
}

for part in ${*:-bind symbolic hard clones elsewhere moved exchanged by_device successor salvaged stopped gone}; do "part_$part"; done
