#!/bin/bash
# Snapshots of a running disk under load: taking, merging, deleting; every snapshot keeps its content, nothing is damaged.
#
#   online_snapshots.sh [SECONDS_OF_LOAD] [INNER_FILE_SYSTEM]
source "$(dirname "$0")/lib.sh"
seconds=${1:-$(sized 12 8)}
inner=${2:-ext4}
begin
requires program fio e2fsck "mkfs.$inner"
requires space 2500
disk=$scratch/disk
dd=$disk/DiskDescriptor.xml
mkdir "$disk" "$scratch/mnt" "$scratch/old"
must ploop init -s 600M -t "$inner" "$disk/root.hdd"
attach -m "$scratch/mnt" "$dd"

uuid() { printf '{%08d-0000-4000-8000-000000000000}' "$1"; }
# Content of snapshot N, seen through a device of its own.
content_of() {
  local name=look$1
  must ploop mount -r -u "$(uuid "$1")" -c "$name" -m "$scratch/old" "$dd"
  (cd "$scratch/old" && find . -name 'note*' -type f -print0 | sort -z | xargs -0r sha256sum)
  must ploop umount -c "$name" "$dd"
}
images_are_good() {
  local image
  for image in "$disk"/root.hdd*; do
    case $image in *.lck) ;; *) check_image "$image" ;; esac
  done
}

step "fio writes and verifies on the mounted file system for $seconds s"
fio --name=load --directory="$scratch/mnt" --size=60M --rw=randwrite --bs=4k-64k --ioengine=psync --verify=crc32c --verify_state_save=0 \
  --verify_backlog=256 --time_based --runtime="$seconds" --output="$scratch/fio.log" --numjobs=1 >/dev/null 2>&1 &
fio_pid=$!
sleep 1

step "five snapshots meanwhile, each with a file of its own"
for n in 1 2 3 4 5; do
  echo "note $n" >"$scratch/mnt/note$n"
  head -c 300000 /dev/urandom >"$scratch/mnt/note-data$n"
  (cd "$scratch/mnt" && find . -name 'note*' -type f -print0 | sort -z | xargs -0r sha256sum) >"$scratch/want$n"
  started=$(date +%s%N)
  must ploop snapshot -u "$(uuid "$n")" "$dd"
  echo "   snapshot $n took $((($(date +%s%N) - started) / 1000000)) ms"
  sleep 0.4
done
for n in 1 3 5; do
  content_of "$n" >"$scratch/got"
  must cmp "$scratch/want$n" "$scratch/got"
done

step "a snapshot below the top is deleted, two are merged, the top is merged down, all under load"
must ploop snapshot-delete -u "$(uuid 1)" "$dd"
[ -z "$(ls -A "$disk" | grep -F .ploop-intent)" ] || fail "a note was left"
must ploop snapshot-merge -u "$(uuid 4)" -U "$(uuid 3)" "$dd"
content_of 2 >"$scratch/got"
must cmp "$scratch/want2" "$scratch/got"
content_of 4 >"$scratch/got"
must cmp "$scratch/want4" "$scratch/got"
must ploop snapshot-merge "$dd"
content_of 2 >"$scratch/got"
must cmp "$scratch/want2" "$scratch/got"
must_fail 43 "Can't find snapshot" ploop snapshot-delete -u "$(uuid 5)" "$dd"
must_fail 38 "Unable to delete active snapshot" ploop snapshot-delete -u 5fbaabe3-6958-40ff-92a7-860e329aab41 "$dd"
must_fail 38 "running device" ploop snapshot-switch -u "$(uuid 2)" "$dd"

step "a temporary snapshot is used by a backup and goes by itself"
(cd "$scratch/mnt" && find . -name 'note*' -type f -print0 | sort -z | xargs -0r sha256sum) >"$scratch/want"
must ploop tsnapshot -u "$(uuid 9)" -c backup -m "$scratch/old" "$dd"
echo changed >"$scratch/mnt/note1"
must_fail 17 "busy by device" ploop snapshot-delete -u "$(uuid 9)" "$dd"
(cd "$scratch/old" && find . -name 'note*' -type f -print0 | sort -z | xargs -0r sha256sum) >"$scratch/got"
must cmp "$scratch/want" "$scratch/got"
must ploop umount -c '~backup' "$dd"
must ploop snapshot -u "$(uuid 6)" "$dd"
ploop snapshot-list -H -o uuid "$dd" | grep -q "$(uuid 9)" && fail "the temporary snapshot is still there"

step "everything into the base, under load"
must ploop snapshot-merge -A "$dd"
[ "$(ploop snapshot-list -H "$dd" | wc -l)" -eq 1 ] || fail "more than one node is left"
[ "$(find "$disk" -name 'root.hdd*' ! -name '*.lck' | wc -l)" -eq 1 ] || fail "an image was left: $(ls "$disk")"

wait "$fio_pid" || fail "fio: $(tail -n 20 "$scratch/fio.log")"
[ "$(cat "$scratch/mnt/note1")" = changed ] || fail "the last write is lost"
[ "$(stat_of "$device" errors)" -eq 0 ] || fail "the device counted errors"
must ploop umount "$dd"

step "file system and images are good"
attach "$dd"
case $inner in
  ext*) must e2fsck -fn "$device"p1 ;;
  xfs) must xfs_repair -n "$device"p1 ;;
esac
detach "$device"
images_are_good
