#!/bin/bash
# Resizing: ext4, ext3 and xfs, up and down, attached and not. What was inside stays, the numbers are right everywhere, and the
# image gives up what is not needed any more.
#
#   resize.sh [FSTYPE...]
source "$(dirname "$0")/lib.sh"
types=("$@")
[ ${#types[@]} -gt 0 ] || types=(ext4 ext3 xfs)
begin
requires program qemu-img mkfs.ext4 mkfs.xfs resize2fs e2fsck
requires space 3000

mount_point=$scratch/mnt
mkdir "$mount_point"

# expect_size XML MiB: descriptor, image and device-to-be agree.
expect_size() {
  local sectors=$(($2 * 2048)) xml
  xml=$(sed -n 's:.*<Disk_size>\(.*\)</Disk_size>.*:\1:p' "$1")
  [ "$xml" = "$sectors" ] || fail "the descriptor says $xml sectors instead of $sectors"
  ploop info -s "$1" | grep -qE "^size:[[:space:]]*$sectors\$" || fail "the image is not $sectors sectors long"
}
# inner_mib: size of the mounted file system.
inner_mib() { df -Pm "$mount_point" | awk 'NR == 2 { print $2 }'; }
# expect_inner LOW HIGH
expect_inner() {
  local mib
  mib=$(inner_mib)
  [ "$mib" -ge "$1" ] && [ "$mib" -le "$2" ] || fail "the file system has $mib MiB instead of $1 to $2"
}
same_files() {
  manifest "$mount_point" >"$scratch/now"
  must cmp "$scratch/files" "$scratch/now"
}
check_closed() {
  check_image "$image"
  [ ! -e "$dir/.ploop-intent" ] || fail "a note is left: $(cat "$dir/.ploop-intent")"
  [ -z "$(find "$dir" -name '*.tmp*' -o -name 'root.hdd.*')" ] || fail "files are left: $(ls -A "$dir")"
}
check_inner() {
  attach -r "$dd"
  case $type in
    ext*) must e2fsck -fn "$device"p1 ;;
    xfs) must xfs_repair -n "$device"p1 ;;
  esac
  detach "$device"
}
mounted() {
  attach -m "$mount_point" "$dd"
  same_files
}
unmounted() { must ploop umount "$dd"; }

for type in "${types[@]}"; do
  dir=$scratch/$type
  mkdir "$dir"
  image=$dir/root.hdd
  dd=$dir/DiskDescriptor.xml
  must ploop init -s 512M -t "$type" "$image"
  attach -m "$mount_point" "$dd"
  must cp -r /etc/. "$mount_point/"
  dd if=/dev/urandom of="$mount_point/random" bs=1M count=40 status=none
  rm -f "$mount_point"/.balloon-nothing
  manifest "$mount_point" >"$scratch/files"
  unmounted

  step "$type: 512 MiB to 1 GiB, not attached"
  must ploop resize -s 1G "$dd"
  expect_size "$dd" 1024
  check_closed
  check_inner
  mounted
  expect_inner 850 1024
  unmounted

  step "$type: the same size changes nothing"
  before=$(hash_of "$image")
  must ploop resize -s 1G "$dd"
  [ "$(hash_of "$image")" = "$before" ] || fail "the image changed"

  if [ "$type" = xfs ]; then
    step "xfs: a smaller size is refused while it is not attached, with the way out"
    must_fail 38 "balloon" ploop resize -s 600M "$dd"
    expect_size "$dd" 1024
  else
    step "$type: 1 GiB to 600 MiB, not attached: the device is smaller, and so is the file"
    mounted
    must sync
    dd if=/dev/zero of="$mount_point/ballast" bs=1M count=300 status=none
    sync
    rm "$mount_point/ballast"
    unmounted
    length=$(stat -c %s "$image")
    must ploop resize -s 600M "$dd"
    expect_size "$dd" 600
    check_closed
    check_inner
    [ "$(stat -c %s "$image")" -lt "$length" ] || fail "the file is as long as before: $length"
    echo "   file: $length -> $(stat -c %s "$image") bytes"
    mounted
    expect_inner 400 600
    unmounted
    step "$type: less than it holds is refused with the smallest size"
    must_fail 38 "minimal size is [0-9]+" ploop resize -s 40M "$dd"
    check_closed
    check_inner
    step "$type: with a snapshot a smaller size is refused, a larger one is not"
    must ploop snapshot "$dd"
    must_fail 38 "snapshots" ploop resize -s 500M "$dd"
    must ploop resize -s 1G "$dd"
    expect_size "$dd" 1024
    must ploop snapshot-merge -A "$dd"
    check_closed
    check_inner
  fi

  step "$type: mounted, 1 GiB to 700 MiB and back"
  mounted
  dd if=/dev/urandom of="$mount_point/ballast" bs=1M count=300 status=none
  sync
  rm "$mount_point/ballast"
  sync
  length=$(stat -c %s "$image")
  if [ "$type" = ext3 ]; then
    must_fail 20 "not attached" ploop resize -s 700M "$dd"
  else
    must ploop resize -s 700M "$dd"
    ploop balloon show "$dd" | grep -qE "balloon is [1-9][0-9]+ bytes" || fail "no balloon: $(ploop balloon show "$dd")"
    [ "$(stat -c %s "$image")" -lt "$length" ] || fail "the file is as long as before: $length"
    echo "   file: $length -> $(stat -c %s "$image") bytes"
    must_fail 38 "minimal size is [0-9]+" ploop resize -s 20M "$dd"
    must ploop resize -s 1G "$dd"
    ploop balloon show "$dd" | grep -q "balloon is 0 bytes" || fail "the balloon is still there"
  fi
  same_files
  unmounted
  check_closed
  check_inner

  step "$type: mounted, 1 GiB to 1536 MiB"
  mounted
  output=$(ploop resize -s 1536M "$dd" 2>&1)
  status=$?
  if [ $status -eq 26 ] && grep -q CAP_SYS_RESOURCE <<<"$output"; then
    echo "   not here: $output"
    expect_size "$dd" 1024
    unmounted
    must ploop resize -s 1536M "$dd"
    mounted
  elif [ $status -eq 3 ] && ! grows_online; then
    grep -q "can't resize .* while it runs" <<<"$output" || fail "resize gave 3 and says $output"
    expect_size "$dd" 1024
    same_files
    unmounted
    must ploop resize -s 1536M "$dd"
    mounted
  elif [ $status -ne 0 ]; then
    fail "resize gave $status: $output"
  fi
  expect_inner 1300 1536
  same_files
  unmounted
  expect_size "$dd" 1536
  check_closed
  check_inner
done

step "a raw image: up and down, its file has exactly that length"
type=ext4
dir=$scratch/raw
mkdir "$dir"
image=$dir/root.hdd
dd=$dir/DiskDescriptor.xml
must ploop init -s 400M -f raw -t ext4 "$image"
attach -m "$mount_point" "$dd"
must cp -r /etc/. "$mount_point/"
manifest "$mount_point" >"$scratch/files"
must_fail 38 "raw" ploop resize -s 300M "$dd"
unmounted
for size in 600 300; do
  must ploop resize -s ${size}M "$dd"
  [ "$(stat -c %s "$image")" -eq $((size << 20)) ] || fail "the file is $(stat -c %s "$image") bytes long"
  [ ! -e "$dir/.ploop-intent" ] || fail "a note is left"
  check_inner
  mounted
  unmounted
done

if command -v sfdisk >/dev/null; then
  step "a partition of another program ends nearer to the end of the disk: it is never made shorter under its file system"
  dir=$scratch/foreign
  mkdir "$dir"
  image=$dir/root.hdd
  dd=$dir/DiskDescriptor.xml
  truncate -s 400M "$image"
  printf 'label: gpt\nstart=2048, size=817112\n' | must sfdisk -q "$image"
  must ploop restore-descriptor -f raw "$dir" "$image"
  attach "$dd"
  must mkfs.ext4 -q "${device}p1"
  must mount "${device}p1" "$mount_point"
  sectors=$(blockdev --getsz "${device}p1")
  [ "$sectors" -eq 817112 ] || fail "the partition has $sectors sectors"
  must ploop resize -s 400M "$dd"
  [ "$(blockdev --getsz "${device}p1")" -eq "$sectors" ] || fail "the partition has $(blockdev --getsz "${device}p1") sectors instead of $sectors"
  must cp -r /etc/. "$mount_point/"
  must ploop umount "$dd"
  attach -m "$mount_point" "$dd"
  must ploop umount "$dd"
  attach "$dd"
  must e2fsck -fn "${device}p1"
  detach "$device"
  must ploop resize -s 600M "$dd"
  attach "$dd"
  must e2fsck -fn "${device}p1"
  detach "$device"
else
  step "left out: sfdisk is not here to make a partition that ends elsewhere"
fi
dd=$scratch/raw/DiskDescriptor.xml

step "wrong sizes and wrong names"
must_fail 38 "Unable to change image size to" ploop resize -s 4M "$dd"
must_fail 38 "maximum allowed size" ploop resize -s 17T "$dd"
must_fail 39 "resolve" ploop resize -s 1G "$scratch/nothing.xml"
