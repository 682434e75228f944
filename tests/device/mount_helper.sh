#!/bin/bash
# mount -t ploop and umount through mount(8) and umount(8), as from /etc/fstab, and the helpers called the way these call them.
source "$(dirname "$0")/lib.sh"

# mount(8) looks for helpers in /sbin only and records mounts in /run/mount, so all of it happens in a mount namespace
# where both are ours. Other tests' disks, copied into it, are let go.
if [ -z "${PLOOP_TEST_INSIDE:-}" ]; then
  requires root
  requires program unshare
  PLOOP_TEST_INSIDE=1 exec unshare -m --propagation private bash "$0"
fi
awk '{ for (i = 7; $i != "-"; i++); } $(i + 2) ~ "/(ploop|loop)[0-9]" { print $5 }' /proc/self/mountinfo | sort -r |
  while read -r other; do umount -l "$other"; done
begin
requires space 300

sbin=$(realpath /sbin)
mkdir "$scratch/mem/sbin" "$scratch/disk" "$scratch/mnt"
must mount --bind "$sbin" "$scratch/mem/sbin"
defer umount -l "$scratch/mem/sbin"
must mount -t tmpfs -o mode=755 ploop-test "$sbin"
defer umount -l "$sbin"
ln -s "$scratch/mem/sbin"/* "$sbin"
helpers=$(dirname "$(realpath "$ploop_bin")")
ln -sf "$helpers/mount.ploop" "$helpers/umount.ploop" "$sbin"
must mount -t tmpfs ploop-test /run
defer umount -l /run
cp /etc/fstab "$scratch/mem/fstab" 2>/dev/null || : >"$scratch/mem/fstab"

xml=$scratch/disk/DiskDescriptor.xml
image=$scratch/disk/root.hdd
must ploop init -s 64m "$image"
nothing_runs() { [ -z "$(ploop list)" ] || fail "still there: $(ploop list)"; }
option() { findmnt -no "$1" --mountpoint "$scratch/mnt"; }

step "mount -t ploop, umount"
must mount -t ploop "$xml" "$scratch/mnt" -o noatime
[ "$(ploop list -a | awk '{ print $3 }')" = "$scratch/mnt" ] || fail "list -a: $(ploop list -a)"
[ "$(option FSTYPE)" = ext4 ] || fail "type $(option FSTYPE)"
option VFS-OPTIONS | grep -qw noatime || fail "noatime was not passed on: $(option VFS-OPTIONS)"
echo word >"$scratch/mnt/file"
must_fail 32 'mount point already|already mounted' mount -t ploop "$xml" "$scratch/mnt"
must umount "$scratch/mnt"
nothing_runs
must ploop check "$image"

step "read-only: nothing is written, not even to the image"
before=$(hash_of "$image")
must mount -t ploop -o ro "$xml" "$scratch/mnt"
option VFS-OPTIONS | grep -qw ro || fail "not read-only: $(option VFS-OPTIONS)"
! touch "$scratch/mnt/new" 2>/dev/null || fail "a file was made"
[ "$(cat "$scratch/mnt/file")" = word ] || fail "the file is not there"
must umount "$scratch/mnt"
[ "$(hash_of "$image")" = "$before" ] || fail "the image changed"

step "/etc/fstab, with ro"
echo "$xml $scratch/mnt ploop ro,nofail,noauto,x-test.remark=1 0 0" >>"$scratch/mem/fstab"
[ -e /etc/fstab ] || { : >/etc/fstab && defer rm /etc/fstab; }
must mount --bind "$scratch/mem/fstab" /etc/fstab
defer umount -l /etc/fstab
must mount "$scratch/mnt"
option VFS-OPTIONS | grep -qw ro || fail "ro of fstab was not honoured"
must umount "$scratch/mnt"
nothing_runs

step "a busy file system stays, and its user is named"
must mount -t ploop "$xml" "$scratch/mnt"
sleep 300 <"$scratch/mnt/file" &
user=$!
defer kill "$user"
output=$(umount "$scratch/mnt" 2>&1)
status=$?
[ $status -eq 32 ] || fail "umount of a busy file system gave $status: $output"
grep -q "sleep($user)" <<<"$output" || fail "who uses it is not said: $output"
[ -n "$(ploop list)" ] || fail "the device went away"
kill "$user"
wait "$user" 2>/dev/null
must umount "$scratch/mnt"
nothing_runs

step "the helpers by themselves"
mount_helper=$sbin/mount.ploop umount_helper=$sbin/umount.ploop
must "$mount_helper" "$xml" "$scratch/mnt" -f -o rw
nothing_runs
must "$mount_helper" "$xml" "$scratch/mnt" -n -o rw,nosuid -o nodev
option VFS-OPTIONS | grep -q 'nosuid,nodev' || fail "options: $(option VFS-OPTIONS)"
must "$umount_helper" "$scratch/mnt" -n
nothing_runs
must "$mount_helper" "$xml" "$scratch/mnt" -s -o ro
must "$umount_helper" "$(findmnt -no SOURCE --mountpoint "$scratch/mnt")"
nothing_runs
[ -z "$("$mount_helper" "$xml" "$scratch/mnt")" ] || fail "mount.ploop is not silent"
[ "$("$umount_helper" -v "$scratch/mnt" | wc -l)" -eq 2 ] || fail "-v says nothing"

step "exit statuses"
must_fail 32 "No such file" "$mount_helper" "$scratch/no.xml" "$scratch/mnt"
must_fail 32 "No such file" "$mount_helper" "$xml" "$scratch/nowhere"
must_fail 32 "Unable to find" "$umount_helper" "$scratch/mnt"
must_fail 32 "option" "$mount_helper" "$xml" "$scratch/mnt" -o no_such_option
# These would mount something else than the device's file system, which nobody would find again.
for wrong in loop loop=/dev/loop7 offset=4096 sizelimit=1m bind rbind move remount helper=other uhelper=other verity.hashdevice=/dev/null X-mount.subdir=file; do
  must_fail 32 "option '${wrong%%=*}' " "$mount_helper" "$xml" "$scratch/mnt" -o "noatime,$wrong,nodev"
  must_fail 21 "option '${wrong%%=*}' " ploop mount -m "$scratch/mnt" -o "$wrong" "$xml"
done
! mountpoint -q "$scratch/mnt" || fail "something was mounted"
"$mount_helper" "$xml" "" 2>"$scratch/said"
[ $? -eq 1 ] && grep -q "directory must be given" "$scratch/said" || fail "no directory is not refused"
! grep -qsF "$scratch/mnt" /run/mount/utab || fail "the record of a mount was left: $(grep -F "$scratch/mnt" /run/mount/utab)"
nothing_runs
for wrong in "" "$xml" "$image $scratch/mnt" "-h"; do
  # shellcheck disable=SC2086
  "$mount_helper" $wrong >/dev/null 2>"$scratch/said"
  status=$?
  [ $status -eq 1 ] && grep -q '^Usage: mount.ploop' "$scratch/said" || fail "mount.ploop $wrong: $status"
done
"$umount_helper" -l "$scratch/mnt" 2>"$scratch/said"
[ $? -eq 1 ] && grep -q -- -l "$scratch/said" || fail "umount.ploop -l is not refused"
PLOOP_LIBEXEC=/nonexistent "$mount_helper" "$xml" "$scratch/mnt" 2>/dev/null
[ $? -eq 2 ] || fail "a missing daemon is not status 2"
