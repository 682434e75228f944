#!/bin/bash
# A device made by a command in another mount namespace outlives the command and is usable outside; it can be detached from
# yet another namespace; no namespace sees the transport's own mount.
source "$(dirname "$0")/lib.sh"
begin
requires program unshare nsenter qemu-img mkfs.ext4
requires space 800
mkdir "$scratch/disk" "$scratch/mnt"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml
must ploop init -s 300M "$image"

step "attached in a private mount namespace, used outside of it"
device=$(unshare -m --propagation private "$ploop_bin" mount "$dd" |
  sed -n 's/^.*Adding delta dev=\([^ ]*\) .*/\1/p')
[ -b "$device" ] || fail "no device: $device"
defer detach_quietly "$device"
must mount "$device"p1 "$scratch/mnt"
must cp -r /etc/. "$scratch/mnt/"
manifest "$scratch/mnt" >"$scratch/before"
must umount "$scratch/mnt"
[ "$(ploop list | wc -l)" -eq 1 ] || fail "list does not show the device"

step "detached from another namespace"
must unshare -m --propagation private "$ploop_bin" umount "$dd"
[ ! -e "$device" ] || fail "$device is still there"
check_image "$image"

step "mounted inside a namespace that lives on: visible there only, detach outside says busy and by whom"
# A new namespace holds a copy of every mount there is: other tests' disks must not be kept busy by it.
let_go=$scratch/let_go
cat >"$let_go" <<'EOF'
awk -v mine="$1/" '{ for (i = 7; $i != "-"; i++); } $(i + 2) ~ "/(ploop|loop)[0-9]" && index($5, mine) != 1 { print $5 }' \
  /proc/self/mountinfo | sort -r | while read -r other; do umount -l "$other"; done
EOF
unshare -m --propagation private sh -c "sh '$let_go' '$scratch'; '$ploop_bin' mount -m '$scratch/mnt' '$dd' >/dev/null && exec sleep 300" &
inside=$!
defer kill "$inside"
for _ in $(seq 100); do
  grep -q " $scratch/mnt " "/proc/$inside/mountinfo" && break
  sleep 0.1
done
grep -q " $scratch/mnt " "/proc/$inside/mountinfo" || fail "the file system was not mounted inside"
! mountpoint -q "$scratch/mnt" || fail "the mount is visible outside"
device=$PLOOP_DEVDIR/$(ploop list | cut -d' ' -f1)
must cmp "/proc/$inside/root$scratch/mnt/hostname" /etc/hostname
ploop_timeout=100
output=$(ploop umount "$dd" 2>&1)
status=$?
grep -qF "sleep($inside): mounted at $scratch/mnt" <<<"$output" || fail "umount does not say who keeps the disk: $output"
[ $status -ne 0 ] && [ $status -ne 124 ] || fail "umount of a disk mounted elsewhere gave $status: $output"
[ -b "$device" ] || fail "the device went away under a mounted file system"
must cmp "/proc/$inside/root$scratch/mnt/hostname" /etc/hostname
must nsenter -t "$inside" -m "$ploop_bin" umount -m "$scratch/mnt"
kill "$inside"
[ ! -e "$device" ] || fail "$device is still there"

step "no namespace sees the transport's mount"
attach "$dd"
for pid in $$ $(daemon_pids); do
  ! grep -E ' - fuse[^ ]* ploop' "/proc/$pid/mountinfo" || fail "the FUSE mount shows in /proc/$pid/mountinfo"
done
detach "$device"
manifest_again() {
  attach -m "$scratch/mnt" "$dd"
  manifest "$scratch/mnt" >"$scratch/after"
  must cmp "$scratch/before" "$scratch/after"
  must ploop umount "$dd"
}
step "the files are all there"
manifest_again
