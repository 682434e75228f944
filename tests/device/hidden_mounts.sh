#!/bin/bash
# The file system of a device is found wherever it is mounted: in a container's mount namespace only, below another file system, as a
# bind mount of a part of it, or only held by a process after a lazy unmount. It is that one that is frozen, measured and unmounted,
# never what its mount point leads to.
#
#   hidden_mounts.sh [INNER_FILE_SYSTEM]
source "$(dirname "$0")/lib.sh"
inner=${1:-ext4}
begin
requires program unshare nsenter "mkfs.$inner"
requires space 1500
mnt=$scratch/mnt
disk=$scratch/disk
dd=$disk/DiskDescriptor.xml
mkdir "$disk" "$mnt" "$scratch/look" "$scratch/bind"
must ploop init -s 400M -t "$inner" "$disk/root.hdd"
must mkdir "$scratch/cover"
ploop_timeout=60

number=0
# A file system that was frozen has nothing to replay, and what was written before is in it.
clean() { # DEVICE
  case $inner in
    ext*) ! dumpe2fs -h "$1" 2>/dev/null | grep -q needs_recovery ;;
    # A frozen xfs keeps a log with nothing but a note in it; without recovery the newest file would not be there.
    xfs) true ;;
  esac
}
# written DIRECTORY: a file that is in memory only.
written() { head -c 300000 /dev/urandom | tee "$1/new" >"$scratch/new"; }
# holds_new DEVICE [DIRECTORY]: the newest file is there without any recovery.
holds_new() {
  local options=noload
  [ "$inner" != xfs ] || options=norecovery,nouuid
  clean "$1" || fail "$1 looks as after a power cut"
  must mount -o "ro,$options" "$1" "$scratch/look"
  cmp "$scratch/look/${2:-.}/new" "$scratch/new" || fail "what was written before is not in it"
  must umount "$scratch/look"
}
# snapshot_is_clean WHERE_IT_IS [DIRECTORY]: a snapshot taken now is that of a frozen file system. DIRECTORY of it is what shows there.
snapshot_is_clean() {
  local uuid said original=$device
  number=$((number + 1))
  uuid=$(printf '{%08d-0000-4000-8000-000000000000}' $number)
  written "$1"
  said=$(ploop snapshot -u "$uuid" "$dd" 2>&1) || fail "snapshot: $said"
  ! grep -q Warning <<<"$said" || fail "snapshot says: $said"
  until_true 5 touch "$1/goes_on" || fail "left frozen"
  attach -r -u "$uuid" -c "look$number" "$dd"
  holds_new "$device"p1 "${2:-.}"
  detach "$device"
  device=$original
}
copy_is_clean() {
  local original=$device
  written "$1"
  must ploop copy -s "$device" -d "$scratch/copy"
  until_true 5 touch "$1/goes_on" || fail "left frozen"
  mkdir "$scratch/copy.dir"
  mv "$scratch/copy" "$scratch/copy.dir/root.hdd"
  local image
  for image in $(ls -tr "$disk"/root.hdd* | grep -v '\.lck$'); do :; done
  if [ "$image" = "$disk/root.hdd" ]; then
    must ploop restore-descriptor "$scratch/copy.dir" "$scratch/copy.dir/root.hdd"
    attach -r "$scratch/copy.dir/DiskDescriptor.xml"
    holds_new "$device"p1
    detach "$device"
  fi
  device=$original
  rm -r "$scratch/copy.dir"
}

# elsewhere COMMAND: a mount namespace of its own, in $inside, where COMMAND was run; ends with end_elsewhere. A new namespace holds a copy of
# every mount there is: other tests' disks must not be kept busy by it.
let_go=$scratch/let_go
cat >"$let_go" <<'LET'
awk -v mine="$1/" '{ for (i = 7; $i != "-"; i++); } $(i + 2) ~ "/(ploop|loop)[0-9]" && index($5, mine) != 1 { print $5 }' \
  /proc/self/mountinfo | sort -r | while read -r other; do umount -l "$other"; done
LET
elsewhere() {
  rm -f "$scratch/ready"
  unshare -m --propagation private sh -c "sh '$let_go' '$scratch'; $1 && touch '$scratch/ready' && exec sleep 300" &
  inside=$!
  defer kill "$inside"
  until_true 20 test -e "$scratch/ready" || fail "'$1' did not work"
  there=/proc/$inside/root
}
end_elsewhere() {
  kill "$inside"
  wait "$inside" 2>/dev/null
}

step "mounted in another namespace only: copied and snapshotted as a frozen file system"
attach "$dd"
elsewhere "mount '$device'p1 '$mnt'"
copy_is_clean "$there$mnt"
snapshot_is_clean "$there$mnt"

step "what the other commands say of it"
[ "$(ploop list -a | wc -l)" -eq 1 ] || fail "list does not show the device"
ploop info "$dd" | grep -q 1k-blocks || fail "info: $(ploop info "$dd" 2>&1)"
must ploop balloon show "$dd"
must ploop balloon change -s 50M "$dd"
must ploop balloon change -s 0 "$dd"
must ploop balloon discard "$dd"
must ploop resize -s 300M "$dd"
must ploop resize -s 400M "$dd"
if resizable; then
  output=$(ploop resize -s 500M "$dd" 2>&1)
  status=$?
  if [ $status -eq 26 ] && grep -q CAP_SYS_RESOURCE <<<"$output"; then
    echo "   left out: growing a mounted $inner needs CAP_SYS_RESOURCE"
  else
    [ $status -eq 0 ] || fail "resize gave $status: $output"
    [ "$(df -m --output=size "$there$mnt" | tail -n 1)" -gt 420 ] || fail "the file system did not grow"
  fi
fi
ploop_timeout=100
must_fail 3 "Can't detach $device .*sleep\($inside\): mounted at $mnt" ploop umount "$dd"
must touch "$there$mnt/usable"
end_elsewhere
must ploop umount "$dd"

step "a hostile namespace: names in it lead to other things than they do here"
attach "$dd"
elsewhere "mount '$device'p1 '$mnt' && mount -t tmpfs lure '$scratch/cover' && mkfifo '$scratch/cover/pipe' && mount --bind '$scratch/cover/pipe' '$disk/root.hdd' && mount --move '$mnt' '$scratch/bind' && mount -t tmpfs lure '$mnt'"
must_fail 3 "mounted at $scratch/bind" ploop umount "$dd"
snapshot_is_clean "$there$scratch/bind"
end_elsewhere
must ploop umount "$dd"

step "another file system is mounted above it: ours is frozen, the other one is left alone"
attach -m "$mnt" "$dd"
exec 7<"$mnt"  # a way to it
must mount -t tmpfs cover "$mnt"
snapshot_is_clean "/proc/$$/fd/7"
copy_is_clean "/proc/$$/fd/7"
ploop info "$dd" | awk '$1 == "1k-blocks" && $2 < 600000 { found = 1 } END { exit !found }' || fail "info is about another file system: $(ploop info "$dd")"
must ploop balloon change -s 10M "$dd"
[ -z "$(ls -A "$mnt")" ] || fail "made in the file system above: $(ls -A "$mnt")"
must ploop balloon change -s 0 "$dd"
must_fail 22 "Can't unmount $device.* at $mnt.*tmpfs.* is mounted over it" ploop umount "$dd"
must_fail 22 "is mounted over it" ploop umount -d "$device"
must_fail 38 "Unable to find ploop device by $mnt" ploop umount -m "$mnt"
findmnt -rno FSTYPE "$mnt" | grep -qx tmpfs || fail "the file system above was unmounted"

step "the same, with a second mount point that leads to it"
must mount "$device"p1 "$scratch/bind"
snapshot_is_clean "$scratch/bind"
must umount "$scratch/bind"
must umount "$mnt"

step "only a part of it is mounted"
must mkdir "$mnt/part"
must mount --bind "$mnt/part" "$scratch/bind"
exec 7<&-
must umount "$mnt"
must ploop balloon change -s 10M "$dd"
[ -z "$(ls -A "$scratch/bind")" ] || fail "the balloon is in a directory: $(ls -A "$scratch/bind")"
must ploop balloon change -s 0 "$dd"
snapshot_is_clean "$scratch/bind" part

step "mounted nowhere, but in use: a lazy unmount"
sh -c "cd '$scratch/bind' && exec sleep 300" &
user=$!
defer kill "$user"
until_true 5 sh -c "readlink /proc/$user/cwd | grep -q bind"
exec 7<"$scratch/bind"
must umount -l "$scratch/bind"
snapshot_is_clean "/proc/$$/fd/7" part
must_fail 3 "Can't detach $device .*sleep\($user\): working directory" ploop umount "$dd"
exec 7<&-
kill "$user"
wait "$user" 2>/dev/null
must ploop umount "$dd"

step "mounted nowhere: nothing is mounted for a snapshot, and a copy says so"
attach "$dd"
must_fail 4 "Can't find mount point for $device" ploop copy -s "$device" -d "$scratch/copy"
before=$(dumpe2fs -h "$device"p1 2>/dev/null | grep -E 'Last mount|Mount count')
must ploop snapshot "$dd"
[ "$before" = "$(dumpe2fs -h "$device"p1 2>/dev/null | grep -E 'Last mount|Mount count')" ] || fail "it was mounted"
must ploop umount "$dd"

step "read-only file systems are copied, too"
attach -r "$dd"
elsewhere "mount -o ro '$device'p1 '$mnt'"
must ploop copy -s "$device" -d "$scratch/copy"
rm "$scratch/copy"
end_elsewhere
must ploop umount "$dd"
for image in "$disk"/root.hdd*; do
  case $image in *.lck) ;; *) check_image "$image" ;; esac
done
