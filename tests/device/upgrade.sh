#!/bin/bash
# `ploop upgrade` of a device whose file system is mounted and written: old -> new -> old, again and again, without an error and without
# anything lost; programs that can't take over are refused, those that fail are left again; nothing else is disturbed.
#
#   upgrade.sh [ROUNDS]       each is one way there and one back; PLOOP_TEST_PROGRAMS names the directory of the other programs
source "$(dirname "$0")/lib.sh"
rounds=${1:-5}
begin
workers_crash=yes  # those of ploopd-crashing
programs=${PLOOP_TEST_PROGRAMS:-$(dirname "$(command -v "$ploop_bin")")/../tests/device}
old=$(dirname "$(readlink -f "$(command -v "$ploop_bin")")")/ploopd
requires file "$programs/ploopd-next" "$programs/ploopd-dying" "$programs/ploopd-crashing" "$programs/ploopd-falling" "$old"
requires program mkfs.ext4 e2fsck fio fsfreeze
requires space 1200
mkdir "$scratch/disk" "$scratch/mnt"
image=$scratch/disk/root.hdd
dd=$scratch/disk/DiskDescriptor.xml
must ploop init -s 512M "$image"

version_of() { "$1" --version | sed 's/^ploopd //'; }
old_version=$(version_of "$old")
next_version=$(version_of "$programs/ploopd-next")
[ "$old_version" != "$next_version" ] || fail "both programs call themselves $old_version"
# runs VERSION PROGRAM: all processes of the device but the keeper are this program.
runs() {
  [ "$(state_of program)" = "$1" ] || fail "the state says $(state_of program), not $1"
  local pid
  for pid in "$(pid_of guardian)" "$(pid_of worker)"; do
    [ "$(readlink "/proc/$pid/exe")" = "$(readlink -f "$2")" ] || fail "process $pid is $(readlink "/proc/$pid/exe"), not $2"
  done
}
alive() { kill -0 "$fio" 2>/dev/null || fail "fio ended: $(cat "$scratch/fio.log")"; }
descriptors() { ls "/proc/$(pid_of guardian)/fd" | wc -l; }

attach -m "$scratch/mnt" "$dd"
guardian=$(pid_of guardian)
must cp -r /etc/. "$scratch/mnt/"
must sync -f "$scratch/mnt"
manifest "$scratch/mnt" >"$scratch/before"
mkdir "$scratch/mnt/fio"
fio --name=load --directory="$scratch/mnt/fio" --size=48M --rw=randrw --bsrange=4k-64k --ioengine=libaio --iodepth=8 --direct=1 \
  --verify=crc32c --verify_state_save=0 --fsync=32 --rate=20m --time_based --runtime=3600 >"$scratch/fio.log" 2>&1 &
fio=$!
defer kill -9 "$fio"
defer ploop umount -d "$device"

step "old -> new -> old, $rounds times under load"
runs "$old_version" "$old"
slowest=0
for ((i = 0; i < rounds; i++)); do
  for program in "$programs/ploopd-next" "$old"; do
    from=$(state_of program)
    to=$(version_of "$program")
    begun=$(date +%s%N)
    output=$(ploop upgrade --program "$program" "$device" 2>&1) || fail "upgrade to $program: $output"
    took=$((($(date +%s%N) - begun) / 1000000))
    [ "$took" -le "$slowest" ] || slowest=$took
    [ "$output" = "$device: ploopd $from -> $to" ] || fail "upgrade says: $output"
    runs "$to" "$program"
    sleep 0.2
    alive
    [ $i -gt 0 ] || [ "$program" != "$old" ] || first=$(descriptors)
  done
done
[ "$(pid_of guardian)" = "$guardian" ] || fail "the guardian is another process"
# The old program stays open for some seconds, as the way back.
no_more_descriptors() { [ "$(descriptors)" -le "$first" ]; }
until_true 10 no_more_descriptors || fail "the guardian had $first descriptors after the first round and has $(descriptors) now"
echo "   slowest: $slowest ms"

step "programs that can't take over are refused"
printf '#!/bin/sh\nexit 1\n' >"$scratch/script"
cp /bin/false "$scratch/other"
head -c 5000 /dev/urandom >"$scratch/garbage"
chmod +x "$scratch/script" "$scratch/garbage"
worker=$(pid_of worker)
must_fail 38 "broken or too old" ploop upgrade --program "$scratch/script" "$device"
must_fail 38 "broken or too old" ploop upgrade --program "$scratch/other" "$device"
must_fail 38 "broken or too old" ploop upgrade --program "$scratch/garbage" "$device"
must_fail 38 "missing" ploop upgrade --program "$scratch/missing" "$device"
must_fail 38 "run .*: Permission denied" ploop upgrade --program "$image" "$device"
must_fail 2 "Can't open dev" ploop upgrade --program "$old" /dev/ploop12345
must_fail 38 "can't take over .*killed by signal 6" ploop upgrade --program "$programs/ploopd-falling" "$device"
[ "$(pid_of worker)" = "$worker" ] || fail "the worker was replaced for nothing"
alive

step "a program that fails: back to the old one"
output=$(ploop upgrade --program "$programs/ploopd-dying" "$device" 2>&1) && fail "it says that it worked: $output"
grep -q "failed, and $old_version goes on" <<<"$output" || fail "it does not say what happened: $output"
runs "$old_version" "$old"
alive

step "the new program survives crashes and kills of its workers, and the old one comes back: by itself, or by another upgrade"
survive_deaths() {
  must ploop upgrade --program "$programs/ploopd-crashing" "$device"
  back() { [ "$(state_of program)" = "$old_version" ]; }
  until_true 15 back || fail "a program that crashes stays"
  runs "$old_version" "$old"
  alive
  must ploop upgrade --program "$programs/ploopd-next" "$device"
  for _ in 1 2 3; do
    worker=$(pid_of worker)
    kill -9 "$worker"
    other() { [ "$(pid_of worker)" != "$worker" ]; }
    until_true 10 other || fail "no other worker came"
    sleep 0.5
  done
}
if [ "$(state_of can_resend)" = True ]; then
  survive_deaths
else
  echo "   not possible with this kernel: it can't hand requests to a successor, so a dead worker ends the device"
  must ploop upgrade --program "$programs/ploopd-next" "$device"
fi
runs "$next_version" "$programs/ploopd-next"
must ploop upgrade --program "$old" "$dd"
runs "$old_version" "$old"
alive

step "an operation that runs is not disturbed"
must ploop snapshot "$dd"
must dd if=/dev/urandom of="$scratch/mnt/much" bs=1M count=120 conv=fsync status=none
"$ploop_bin" snapshot-merge "$dd" >"$scratch/merge.out" 2>&1 &
merge=$!
refused=0
while kill -0 "$merge" 2>/dev/null; do
  output=$(ploop upgrade --program "$programs/ploopd-next" "$device" 2>&1)
  status=$?
  case $status in
    0) ;;  # the merge had not begun, or waited for the new program
    17) refused=$((refused + 1)) ;;
    *) fail "upgrade during a merge gives $status: $output" ;;
  esac
done
wait "$merge" || fail "the merge failed: $(cat "$scratch/merge.out")"
[ $refused -gt 0 ] || fail "the upgrade was not refused while a merge ran: $output"
must ploop upgrade --program "$old" "$device"
alive

step "operations work after an upgrade"
must ploop upgrade --all --program "$programs/ploopd-next"
must ploop snapshot "$dd"
must ploop snapshot-merge "$dd"
! grows_online || must ploop grow -s 600M "$dd"
must ploop upgrade --all
runs "$old_version" "$old"
must ploop balloon discard "$dd"
alive

kill -INT "$fio"
wait "$fio"
! grep -qiE 'verify: bad|error=|Input/output' "$scratch/fio.log" || fail "fio saw errors: $(cat "$scratch/fio.log")"
rm -r "$scratch/mnt/fio" "$scratch/mnt/much"
manifest "$scratch/mnt" >"$scratch/after"
must cmp "$scratch/before" "$scratch/after"
must ploop umount "$dd"
attach "$dd"
must e2fsck -fn "$device"p1
must ploop upgrade --program "$programs/ploopd-next" "$device"
detach "$device"
check_image "$image"

# The file system under the image is frozen, so that a write in flight ends only with the thaw: longer than the first worker of a new
# program may take, where the old one is killed.
step "the storage does not answer: no request fails, and the upgrade works later"
thaw() { fsfreeze -u "$scratch/host"; }
host_filesystem ext4 "$scratch/host" 100
must ploop init -s 64M -t none "$scratch/host/root.hdd"
attach "$scratch/host/DiskDescriptor.xml"
must dd if=/dev/urandom of="$device" bs=1M count=4 oflag=direct conv=fsync status=none
must fsfreeze -f "$scratch/host"
defer thaw
dd if=/dev/zero of="$device" bs=64k count=4 oflag=direct conv=notrunc status=none 2>"$scratch/said" &
writer=$!
sleep 0.5
if [ "$(state_of transport)" = fuse ]; then
  ploop_timeout=20 must_fail 17 "storage does not answer" ploop upgrade --program "$programs/ploopd-next" "$device"
  must thaw
else
  ploop upgrade --program "$programs/ploopd-next" "$device" >/dev/null 2>&1 &
  upgrade=$!
  sleep "$(sized 40 12)"
  must thaw
  wait "$upgrade"  # it says that it went back, if that took too long
fi
wait "$writer" || fail "a write failed: $(cat "$scratch/said")"
must cmp -n 262144 "$device" /dev/zero
must ploop upgrade --program "$programs/ploopd-next" "$device"
runs "$next_version" "$programs/ploopd-next"
detach "$device"
check_image "$scratch/host/root.hdd"
must umount "$scratch/host"
[ "$(ploop upgrade --all 2>&1)" = "" ] || fail "upgrade --all without a device says something"
