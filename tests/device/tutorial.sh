#!/bin/bash
# Runs docs/tutorial.md: every block of commands in it, in order, as root would type them, with /srv and /mnt in the scratch area.
source "$(dirname "$0")/lib.sh"
begin
requires program fstrim diff
requires space 700
tutorial=$here/../../docs/tutorial.md
host_filesystem ext4 "$scratch/host" 1500
mkdir "$scratch/host/srv" "$scratch/mnt"
commands=$scratch/commands
awk '/^```sh$/ { inside = 1; print "echo \"-- line " NR "\""; next } /^```$/ { inside = 0 } inside' "$tutorial" |
  sed "s#/srv#$scratch/host/srv#g; s#/mnt#$scratch/mnt#g" >"$commands"
[ "$(grep -c '^ploop ' "$commands")" -ge 15 ] || fail "the tutorial has hardly any commands"
ploop_bin=$(realpath "$(command -v "$ploop_bin")")
defer sh -c "'$ploop_bin' list | while read -r name rest; do umount -l '$scratch/mnt/web' '$scratch/mnt/old'; '$ploop_bin' umount -d \$name; done"
output=$(program=$ploop_bin bash -euc 'ploop() { timeout 120 "$program" -v-1 "$@"; }; source "$1"' tutorial "$commands" 2>&1) || status=$?
[ "${status:-0}" -eq 0 ] || fail "a command of the tutorial failed with ${status}: $output"
[ -z "$(ploop list)" ] || fail "the tutorial leaves a device behind"
[ -z "$(ls -A "$scratch/host/srv")" ] || fail "the tutorial leaves files behind: $(ls -A "$scratch/host/srv")"
