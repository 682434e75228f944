#!/bin/bash
# Bad images, bad descriptors, busy images, full disks and a missing /dev/fuse: the right exit status, a clear line, and
# nothing changed: every file of the disk's directory has the same bytes as before, and no device is left.
source "$(dirname "$0")/lib.sh"
begin
requires program qemu-img unshare mkfs.ext4 xz
requires space 800
mkdir "$scratch/mnt"

picture() { (cd "$1" && find . -type f ! -name '*.lck' -print0 | sort -z | xargs -0r sha256sum && find . ! -name '*.lck' | sort); }
# refuses CODE PATTERN DIR COMMAND...: fails like must_fail and leaves DIR as it was, and no device.
refuses() {
  local code=$1 pattern=$2 dir=$3 before
  shift 3
  before=$(picture "$dir")
  must_fail "$code" "$pattern" "$@"
  [ "$(picture "$dir")" = "$before" ] || fail "'$*' changed something in $dir"
  [ -z "$(ploop list)" ] || [ -n "${busy:-}" ] || fail "'$*' left a device"
}
new_disk() { # DIR SIZE
  rm -rf "$1"
  mkdir "$1"
  must ploop init -s "$2" -t none "$1/root.hdd"
}

step "images cut short or made of something else"
new_disk "$scratch/cut" 64M
disk=$scratch/cut
for size in 0 1 63 64 4096; do
  truncate -s $size "$disk/root.hdd"
  refuses '(4|6|11)' "root.hdd" "$disk" ploop mount "$disk/DiskDescriptor.xml"
  refuses '(4|6|11)' "root.hdd" "$disk" ploop check "$disk/root.hdd"
done
head -c 2M /dev/urandom >"$disk/root.hdd"
refuses '(4|11)' "root.hdd" "$disk" ploop mount "$disk/root.hdd"
refuses '(4|11)' "root.hdd" "$disk" ploop mount "$disk/DiskDescriptor.xml"
rm "$disk/root.hdd"
refuses '(4|11|15|39)' "root.hdd" "$disk" ploop mount "$disk/DiskDescriptor.xml"
mkdir "$disk/root.hdd"
refuses '(4|11|15|38|39)' "root.hdd" "$disk" ploop mount "$disk/DiskDescriptor.xml"

step "data clusters cut off behind the table's back"
new_disk "$scratch/lost" 64M
attach "$scratch/lost/DiskDescriptor.xml"
must dd if=/dev/urandom of="$device" bs=1M count=20 oflag=direct conv=notrunc,fsync status=none
detach "$device"
truncate -s 5M "$scratch/lost/root.hdd"
refuses 11 "." "$scratch/lost" ploop mount "$scratch/lost/root.hdd"
refuses 11 "." "$scratch/lost" ploop mount "$scratch/lost/DiskDescriptor.xml"

step "damaged images of the golden collection"
for packed in "$here"/../golden/images/bad-*.xz; do
  name=$(basename "$packed" .xz)
  [ "$name" != bad-behind-device ] || continue  # not fatal: the slot belongs to no cluster of the device
  rm -rf "$scratch/sample"
  mkdir "$scratch/sample"
  xz -dc "$packed" >"$scratch/sample/root.hds" || fail "cannot unpack $packed"
  refuses '(4|6|11)' "root.hds" "$scratch/sample" ploop mount "$scratch/sample/root.hds"
done

step "descriptors that reach outside, lie or explode"
new_disk "$scratch/good" 64M
hostile() { # NAME PATTERN SED-SCRIPT
  rm -rf "$scratch/hostile"
  cp -r "$scratch/good" "$scratch/hostile"
  sed -i "$3" "$scratch/hostile/DiskDescriptor.xml"
  ! cmp -s "$scratch/good/DiskDescriptor.xml" "$scratch/hostile/DiskDescriptor.xml" || fail "the edit for '$1' did nothing"
  refuses '(4|23|38|39)' "$2" "$scratch/hostile" ploop mount "$scratch/hostile/DiskDescriptor.xml"
  refuses '(4|23|38|39)' "$2" "$scratch/hostile" ploop check "$scratch/hostile/DiskDescriptor.xml"
}
hostile "path upwards" "." 's|<File>.*</File>|<File>../good/root.hdd</File>|'
hostile "absolute path" "." "s|<File>.*</File>|<File>$scratch/good/root.hdd</File>|"
hostile "huge size" "." 's|<Disk_size>.*</Disk_size>|<Disk_size>9223372036854775808</Disk_size>|'
hostile "negative size" "." 's|<Disk_size>.*</Disk_size>|<Disk_size>-1</Disk_size>|'
hostile "odd block size" "." 's|<Blocksize>.*</Blocksize>|<Blocksize>1000</Blocksize>|'
hostile "entity bomb" "." '1a <!DOCTYPE a [<!ENTITY b "xxxxxxxxxx"><!ENTITY c "\&b;\&b;\&b;\&b;\&b;\&b;\&b;\&b;">]>'
hostile "cut in the middle" "." '5,$d'
cp -r "$scratch/good" "$scratch/link"
mv "$scratch/link/root.hdd" "$scratch/elsewhere.hdd"
ln -s "$scratch/elsewhere.hdd" "$scratch/link/root.hdd"
refuses '(4|38|39)' "root.hdd" "$scratch/link" ploop mount "$scratch/link/DiskDescriptor.xml"

step "wrong arguments"
refuses 38 "Incorrect" "$scratch/good" ploop init -s 10M -b 100 "$scratch/good/new"
refuses 38 "exists" "$scratch/good" ploop init -s 10M "$scratch/good/root.hdd"
[ "$(ploop init -s 0 "$scratch/good/new" 2>/dev/null; echo $?)" = 38 ] && [ ! -e "$scratch/good/new" ] || fail "init -s 0"
mkdir "$scratch/small"
refuses 38 "greater than" "$scratch/small" ploop init -s 1M "$scratch/small/root.hdd"
refuses 24 "xfs" "$scratch/small" ploop init -s 100M -t xfs "$scratch/small/root.hdd"

step "a busy image"
attach "$scratch/good/DiskDescriptor.xml"
busy=1
refuses 21 "already used by device .*ploop[0-9]" "$scratch/good" ploop mount "$scratch/good/DiskDescriptor.xml"
refuses '(17|21|37)' "." "$scratch/good" ploop mount "$scratch/good/root.hdd"
refuses '(17|37)' "." "$scratch/good" ploop check -F "$scratch/good/root.hdd"
detach "$device"
busy=

step "a full disk: init fails and leaves nothing"
mkdir "$scratch/full"
must mount -t tmpfs -o size=3m ploop-test "$scratch/full"
defer umount -l "$scratch/full"
refuses '(1|7|20)' "No space" "$scratch/full" ploop init -s 300M -f preallocated -t none "$scratch/full/root.hdd"
refuses '(7|20|24)' "." "$scratch/full" ploop init -s 300M --nolazy -t ext3 "$scratch/full/root.hdd"

step "a disk that fills up under a running device: writes wait, and go on when there is room"
must mount -o remount,size=12m "$scratch/full"
must ploop init -s 64M -t none "$scratch/full/root.hdd"
attach "$scratch/full/DiskDescriptor.xml"
head -c 20M /dev/urandom >"$scratch/data"
dd if="$scratch/data" of="$device" bs=1M oflag=direct conv=notrunc status=none &
writer=$!
sleep 2
kill -0 $writer 2>/dev/null || fail "the write did not wait: $(stat_of "$device" errors) errors"
must mount -o remount,size=64m "$scratch/full"
gone 10 $writer || fail "the write still waits although there is room"
wait $writer || fail "the write failed"
must cmp -n $((20 << 20)) "$scratch/data" "$device"
detach "$device"
check_image "$scratch/full/root.hdd"

[[ ${PLOOP_TRANSPORT:-auto} != ublk* ]] || exit 0  # needs no /dev/fuse
step "no /dev/fuse, or something else in its place"
before=$(picture "$scratch/good")
unshare -m --propagation private sh -c \
  "mount --bind /dev/null /dev/fuse && exec '$ploop_bin' mount '$scratch/good/DiskDescriptor.xml'" >"$scratch/out" 2>"$scratch/err"
status=$?
[ $status -eq 2 ] || fail "a wrong /dev/fuse gave $status: $(cat "$scratch/err")"
grep -qE "/dev/fuse|FUSE" "$scratch/err" || fail "the message does not name FUSE: $(cat "$scratch/err")"
mkdir "$scratch/mem/newdev"
for node in null zero random urandom loop-control; do cp -a /dev/$node "$scratch/mem/newdev/"; done
unshare -m --propagation private sh -c \
  "mount --bind '$scratch/mem/newdev' /dev && exec '$ploop_bin' mount '$scratch/good/DiskDescriptor.xml'" >"$scratch/out" 2>"$scratch/err"
status=$?
[ $status -eq 2 ] || fail "a missing /dev/fuse gave $status: $(cat "$scratch/err")"
grep -qE "/dev/fuse|FUSE" "$scratch/err" || fail "the message does not name FUSE: $(cat "$scratch/err")"
[ "$(wc -l <"$scratch/err")" -eq 1 ] || fail "more than one line: $(cat "$scratch/err")"
[ "$(picture "$scratch/good")" = "$before" ] || fail "the failed mounts changed something"
attach "$scratch/good/DiskDescriptor.xml"
detach "$device"
