#!/bin/bash
# A guided run: an image file becomes a disk, is used, shrunk, checked, and read by somebody else's program.
#
#   tools/demo.sh PLOOP        PLOOP is the program to show (build/release/bin/ploop)
#
# Needs root (uses sudo when it is not) and about 3 GiB in $TMPDIR. Takes less than a minute. Whatever happens,
# also Ctrl-C, it unmounts what it mounted and removes what it made, and touches nothing else.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 PLOOP" >&2; exit 2; }
program=$(realpath -- "$1")
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "demo: needs root" >&2; exit 1; }
  exec sudo -- "$0" "$program"
fi

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[36m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
step=0
say() { step=$((step + 1)); printf '\n%s%d. %s%s\n' "$bold" "$step" "$*" "$plain"; }
note() { printf '   %s\n' "$*"; }
# Shows a command the way one would type it, then runs it, its output indented.
run() {
  printf '%s   $ %s%s\n' "$dim" "$*" "$plain"
  "$@" 2>&1 | sed 's/^/     /'
}
ploop() { "$program" "$@"; }
on_host() { du --block-size=1M root.hdd | cut -f1; }

# The disk gives space back at its own pace, right after the trim: waits until the file has stopped shrinking.
settle() {
  local last now tries
  last=$(on_host)
  for tries in 1 2 3 4 5 6; do
    sleep 0.7
    now=$(on_host)
    [ "$tries" -lt 3 ] || [ "$now" != "$last" ] || return 0
    last=$now
  done
}

work=$(mktemp -d "${TMPDIR:-/tmp}/ploop-demo.XXXXXX")
xml=$work/DiskDescriptor.xml
mnt=$work/mnt
clean_up() {
  local status=$?
  trap - EXIT INT TERM HUP
  set +e
  cd /
  [ "$status" -eq 0 ] || echo "demo: stopped in step $step; cleaning up" >&2
  if [ -n "$(ploop info -d "$xml" 2>/dev/null | sed -n 's/^device:[[:space:]]*//p')" ]; then
    ploop umount "$xml" >/dev/null 2>&1 || { umount -l "$mnt" && ploop umount "$xml"; } >/dev/null 2>&1
  fi
  rm -rf --one-file-system "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

started=$SECONDS
cd "$work"
mkdir mnt

note "(-v0 keeps ploop to the essential messages.)"
say "Make a disk of 10 GiB: one image file with a partition and an empty ext4 in it."
run ploop -v0 init -s 10g -t ext4 root.hdd
note "The disk promises 10240 MiB; the file takes $(on_host) MiB."

say "Mount it. Any stock kernel will do: no module, only FUSE and loop."
run ploop -v0 mount -m mnt DiskDescriptor.xml
device=$(ploop info -d DiskDescriptor.xml | sed -n 's/^device:[[:space:]]*//p')
note "It is a real block device, $device, with a real partition:"
run lsblk -o NAME,SIZE,TYPE,MOUNTPOINTS "$device"
run df -h mnt

say "Copy a real tree in, as cp would to any disk."
find /usr/share -xdev \( -type f -o -type l \) -printf '%k %P\n' 2>/dev/null |
  awk -v limit=$((512 * 1024)) '{ sum += $1 } sum <= limit && NR <= 30000 { sub(/^[0-9]+ /, ""); print }' >list
note "$(wc -l <list) files of /usr/share:"
printf '%s   $ tar -C /usr/share -c -T list | tar -C mnt/share -x%s\n' "$dim" "$plain"
mkdir mnt/share
tar -C /usr/share -c -T list | tar -C mnt/share -x
run sync -f mnt
tree_hash() { (cd mnt/share && find . -type f -print0 | sort -z | xargs -0 cksum | sha256sum | cut -c1-32); }
before=$(tree_hash)
note "Fingerprint of all those files: $before"

say "What is known about it."
run ploop list -a
run ploop info DiskDescriptor.xml
full=$(on_host)
note "The image file has grown to $full MiB: what was written, and nothing for the empty rest."

say "Delete half of it and give the space back: fstrim tells the disk, the disk tells the file."
run sh -c 'rm -rf mnt/share/[a-k]*'
run sync -f mnt
run fstrim -v mnt
sync -f mnt
settle
note "The image now takes $(on_host) MiB on its host; it was $full MiB."
after=$(tree_hash)

say "Unmount. The daemon flushes, closes the file and is gone; no device is left."
run ploop -v0 umount DiskDescriptor.xml
run ploop list

say "Check the image, with our own eyes and with somebody else's: qemu-img knows this format."
run ploop -v0 check -f root.hdd
run qemu-img check -f parallels root.hdd
run qemu-img convert -f parallels -O raw root.hdd seen-by-qemu.raw

say "Mount it again, read-only: every file is as it was, and every byte is as qemu-img sees it."
run ploop -v0 mount -r -m mnt DiskDescriptor.xml
again=$(tree_hash)
[ "$again" = "$after" ] || { echo "the files differ: $after before, $again now"; exit 1; }
note "Fingerprint of the files: $after before, $again now."
device=$(ploop info -d DiskDescriptor.xml | sed -n 's/^device:[[:space:]]*//p')
run cmp "$device" seen-by-qemu.raw
note "All 10 GiB of $device and of what qemu-img read from the file are the same."
run ploop -v0 umount DiskDescriptor.xml

printf '\n%sDone in %d s.%s Everything made here is removed again.\n' "$bold" "$((SECONDS - started))" "$plain"
