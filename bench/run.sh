#!/bin/bash
# Measures our device beside the kernel's loop device and qemu-storage-daemon, all in one run: run.sh BUILD_DIR [options]
#
# Needs root, /dev/fuse, fio, qemu-img, qemu-storage-daemon, python3, about 5 GiB of memory and 8 GiB of disk. Options are
# those of device_bench.py (--help). Results: a table on stdout, BUILD_DIR/../bench/results.json and report.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:?usage: run.sh BUILD_DIR [options]}" && pwd)
shift
out=$(dirname "$build")/bench

missing() {
  echo "bench: needs $*" >&2
  exit 77
}
[ "$(id -u)" -eq 0 ] || missing "root"
for program in fio qemu-img qemu-storage-daemon losetup python3; do
  command -v "$program" >/dev/null || missing "the program $program"
done
[ -c /dev/fuse ] || missing "/dev/fuse"
[ -x "$build/bin/ploop" ] || missing "$build/bin/ploop (build first)"

mkdir -p "$out"
exec python3 "$here/device_bench.py" --ploop "$build/bin/ploop" --out "$out" "$@"
