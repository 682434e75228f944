#!/bin/bash
# The kernel kills the worker for want of memory, under a limit of its own: nobody above notices, nothing is lost, and the next worker goes on.
source "$(dirname "$0")/lib.sh"
begin
requires program cmp qemu-img
group=ploop-test-$$
if [ -d /sys/fs/cgroup/memory ]; then
  group=/sys/fs/cgroup/memory/$group
  limit=memory.limit_in_bytes
elif grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
  group=/sys/fs/cgroup/$group
  limit=memory.max
else
  skip "no memory cgroups here"
fi
mkdir "$group" 2>/dev/null || skip "can't make a memory cgroup"
defer rmdir "$group"
echo 12M >"$group/$limit" || skip "can't limit a memory cgroup"
# How often the kernel had to kill in the group.
kills() { sed -n 's/^oom_kill //p' "$group/memory.oom_control" "$group/memory.events" 2>/dev/null | head -n 1; }

# On a file system in memory every write of the worker counts against its limit, and none of it can be given back.
dd=$scratch/mem/disk/DiskDescriptor.xml
mkdir "$scratch/mem/disk" "$scratch/mnt"
must ploop init -s 512M "$scratch/mem/disk/root.hdd"
attach -m "$scratch/mnt" "$dd"
worker=$(state_of worker_pid)
[ "$(state_of can_resend)" = True ] || skip "this kernel can't hand requests to another worker"
echo 0 >"/proc/$worker/oom_score_adj" || skip "can't offer the worker to the kernel"
echo "$worker" >"$group/cgroup.procs" || fail "can't move the worker"

step "a hundred MiB are written, the worker may have twelve"
head -c 100M /dev/urandom >"$scratch/mem/source" || fail "no data"
must timeout 60 dd if="$scratch/mem/source" of="$scratch/mnt/file" bs=1M conv=fsync status=none
[ "$(kills)" -ge 1 ] || fail "the kernel did not kill the worker"
[ "$(state_of worker_pid)" != "$worker" ] || fail "the state still names the dead worker"
echo "   the kernel killed $(kills) time(s)"

step "what was written is there, now and after the next mount"
must cmp "$scratch/mem/source" "$scratch/mnt/file"
must ploop umount "$dd"
attach -m "$scratch/mnt" "$dd"
must cmp "$scratch/mem/source" "$scratch/mnt/file"
must ploop umount "$dd"
check_image "$scratch/mem/disk/root.hdd"
