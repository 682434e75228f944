#!/bin/bash
# Giving space back while the disk is used: balloon and discard beside fio, then everything is looked at.
#
#   balloon.sh [ext4|xfs]
source "$(dirname "$0")/lib.sh"
type=${1:-ext4}
begin
requires program qemu-img mkfs.ext4 mkfs.xfs fio
requires space 3000

dir=$scratch/disk
mkdir "$dir" "$scratch/mnt"
image=$dir/root.hdd
dd=$dir/DiskDescriptor.xml
mnt=$scratch/mnt
must ploop init -s 1G -t "$type" "$image"

# fill FILE MiB: content that does not compress or repeat
fill() { dd if=/dev/urandom of="$mnt/$1" bs=1M count="$2" status=none conv=fsync; }
# says PATTERN COMMAND...: succeeds and prints a line like this
says() {
  local pattern=$1 output status
  shift
  output=$("$@" 2>&1)
  status=$?
  [ $status -eq 0 ] || fail "'$*' gave exit status $status: $output"
  grep -qE -- "$pattern" <<<"$output" || fail "'$*' does not say /$pattern/ but: $output"
}
load_begins() {
  (cd "$scratch" && exec fio --name=load --directory="$mnt" --size=96m --rw=randwrite --bsrange=4k-256k --iodepth=16 \
     --ioengine=libaio --direct=1 --time_based --runtime="$1" --verify=crc32c --verify_async=1 --do_verify=1 \
     --randrepeat=0 --allrandrepeat=0 --fsync=64 --minimal --output="$scratch/fio.out") &
  load=$!
  sleep 1
}
load_ends() { wait "$load" || fail "fio found wrong data: $(tail -n 5 "$scratch/fio.out")"; }
look_at_everything() {
  must ploop umount "$dd"
  check_image "$image"
  attach -r "$dd"
  case $type in
    ext*) must e2fsck -fn "$device"p1 ;;
    xfs) must xfs_repair -n "$device"p1 ;;
  esac
  detach "$device"
  attach -m "$mnt" "$dd"
}

step "without a mounted disk every one of them is refused"
for sub in show status clear complete check repair; do must_fail 38 "not mounted" ploop balloon $sub "$dd"; done
must_fail 38 "not mounted" ploop balloon discard "$dd"
must_fail 38 "Unable to find ploop device by" ploop balloon show -m "$mnt"
must_fail 38 "Unable to find ploop device by" ploop balloon show -d /dev/ploop4711

attach -m "$mnt" "$dd"
fill keep 60
must cp -r /etc "$mnt/etc"
manifest "$mnt" >"$scratch/files"

step "the words of the commands that change nothing"
says '^Current size of hidden balloon is 0 bytes$' ploop balloon show "$dd"
says '^Current size of hidden balloon is 0 bytes$' ploop balloon show -d "$device"
says '^Current size of hidden balloon is 0 bytes$' "$(dirname "$(command -v "$ploop_bin")")/ploop-balloon" show -m "$mnt"
says '^Current state of in-kernel maintenance: OFF$' ploop balloon status "$dd"
says '^Current state of in-kernel maintenance is OFF now$' ploop balloon clear "$dd"
says '^Nothing to complete: kernel is in "OFF" state$' ploop balloon complete "$dd"
says '^Nothing to do: hidden balloon is empty$' ploop balloon check "$dd"
says '^Nothing to do: new_size == old_size$' ploop balloon change -s 0 "$dd"
ploop balloon discard --stat "$dd" >"$scratch/stat"
[ "$(wc -l <"$scratch/stat")" -eq 4 ] && grep -qE '^Image size: +[0-9]+MB$' "$scratch/stat" || fail "wrong: $(cat "$scratch/stat")"
ploop balloon discard --stat --json "$dd" | python3 -c 'import json,sys; f = json.load(sys.stdin); assert f["balloon_bytes"] == 0 and f["image_bytes"] > 60 << 20 and f["data_bytes"] > 60 << 20, f' ||
  fail "the JSON is wrong"

step "a balloon under load: the image becomes shorter, what is written meanwhile is right"
fill ballast 350
rm "$mnt/ballast"
sync
before=$(stat -c %s "$image")
load_begins 6
says '^TRUNCATED: [1-9][0-9]* cluster-blocks \([0-9]+ bytes\)$' ploop balloon change -s 500M "$dd"
says '^Current size of hidden balloon is 524288000 bytes$' ploop balloon show "$dd"
load_ends
after=$(stat -c %s "$image")
echo "   file: $before -> $after bytes"
[ $((before - after)) -gt $((150 << 20)) ] || fail "the file did not become shorter: $before -> $after"
says '^No free blocks found$' ploop balloon check "$dd"
must_fail 20 "inflate" ploop balloon change -s 900M "$dd"
says '^Current size of hidden balloon is 524288000 bytes$' ploop balloon show "$dd"
exec 7<"$mnt/.balloon-c3a5ae3d-ce7f-43c4-a1ea-c61e2b4504e8"
flock -x 7
must_fail 17 "in use by someone else" ploop balloon change -s 0 "$dd"
exec 7<&-
says '^Successfully truncated balloon from 524288000 to 0 bytes$' ploop balloon change -s 0 "$dd"
look_at_everything

step "discard under load, and it stops when it has enough"
fill ballast 350
rm "$mnt/ballast"
sync
before=$(stat -c %s "$image")
must_fail 38 "Can't shrink by less than" ploop balloon discard --to-free 4k "$dd"
says '^TRUNCATED: ' ploop balloon discard --to-free 50M "$dd"
middle=$(stat -c %s "$image")
[ "$middle" -lt "$before" ] || fail "nothing was freed: $before -> $middle"
load_begins 6
says '^[0-9]+ clusters have been relocated$' ploop balloon discard --min-block 2M "$dd"
load_ends
after=$(stat -c %s "$image")
echo "   file: $before -> $middle -> $after bytes"
[ "$after" -lt "$before" ] || fail "the second discard gave nothing back"
look_at_everything

step "twenty discards killed at any time, with writes beside them"
ploop balloon discard "$dd" >/dev/null
load_begins 12
for ((i = 0; i < 20; i++)); do
  fill ballast 12
  rm "$mnt/ballast"
  "$ploop_bin" balloon discard "$dd" >/dev/null 2>&1 &
  pid=$!
  sleep "0.0$((RANDOM % 90 + 10))"
  kill -9 "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
done
load_ends
says '^Current state of in-kernel maintenance: OFF$' ploop balloon status "$dd"
must ploop balloon discard "$dd"
look_at_everything

step "the file system of another disk is refused, and neither disk is touched"
mkdir "$scratch/other" "$scratch/mnt2"
must ploop init -s 64M "$scratch/other/root.hdd"
one=$device
sums=$(hash_of "$one")
attach -m "$scratch/mnt2" "$scratch/other/DiskDescriptor.xml"
for command in "change -s 20M" "discard" "repair" "show"; do
  must_fail 38 "is not that of $one" ploop balloon $command -d "$one" -m "$scratch/mnt2"
done
must ploop balloon show -d "$device" -m "$scratch/mnt2"
must ploop umount "$scratch/other/DiskDescriptor.xml"
device=$one
[ "$(hash_of "$one")" = "$sums" ] || fail "the disk changed"

step "--automount: the same without a mounted disk, and nothing is left of it"
fill ballast 200
rm "$mnt/ballast"
rm -f "$mnt"/load*
manifest "$mnt" >"$scratch/now"
must cmp "$scratch/files" "$scratch/now"
must ploop umount "$dd"
before=$(stat -c %s "$image")
must ploop balloon discard --automount "$dd"
after=$(stat -c %s "$image")
echo "   file: $before -> $after bytes"
[ "$after" -lt "$before" ] || fail "nothing was freed"
[ -z "$(ploop list)" ] || fail "a device is left: $(ploop list)"
check_image "$image"
attach -m "$mnt" "$dd"
manifest "$mnt" >"$scratch/now"
must cmp "$scratch/files" "$scratch/now"
must ploop umount "$dd"

[ "$type" != xfs ] || exit 0
step "discard where a group of blocks is smaller than the pieces that are looked for first, and than a cluster"
for cluster in 2048 32768; do
  rm -rf "$scratch/blocks"
  mkdir "$scratch/blocks"
  dd=$scratch/blocks/DiskDescriptor.xml
  must ploop init -s 300M -b $cluster -B 1024 "$scratch/blocks/root.hdd"
  attach -m "$mnt" "$dd"
  head -c 120M /dev/urandom >"$mnt/ballast" || fail "the disk is too small"
  sync -f "$mnt"
  before=$(allocated "$scratch/blocks/root.hdd")
  rm "$mnt/ballast"
  sync -f "$mnt"
  must_fail 38 "Can't shrink by less than" ploop balloon discard --to-free 4k "$dd"
  must ploop balloon discard "$dd"
  # No discard covers a cluster that is longer than a group: its blocks go back, and the file stays as long as it is.
  after=$(allocated "$scratch/blocks/root.hdd")
  echo "   allocated: $before -> $after bytes"
  [ $((before - after)) -gt $((60 << 20)) ] || fail "not enough was given back: $before -> $after"
  must ploop balloon discard --min-block 64M "$dd"
  must ploop umount "$dd"
  check_image "$scratch/blocks/root.hdd"
done
