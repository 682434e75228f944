#!/bin/bash
# Installs the Debian packages that building, testing, measuring or fuzzing need.
#
#   tools/install-deps.sh [build] [test] [bench] [fuzz] [man] [vm]      (default: build test)
#
# Does nothing, and does not touch the network, when everything is there already. Runs apt-get as root or through
# sudo. On a system without apt-get it prints what is needed and leaves the rest to the reader.
set -euo pipefail

packages_of() {
  case $1 in
    build) echo g++ cmake ninja-build pkg-config python3 \
                libexpected-dev libfmt-dev libcli11-dev libpugixml-dev nlohmann-json3-dev \
                liburing-dev libseccomp-dev libmd-dev libfdisk-dev libblkid-dev libmount-dev uuid-dev \
                libgtest-dev libgmock-dev ;;
    test)  echo qemu-utils fio e2fsprogs xfsprogs btrfs-progs xz-utils bzip2 util-linux mount procps socat \
                clang-format-14 fdisk ;;
    demo)  echo qemu-utils e2fsprogs util-linux mount ;;
    bench) echo python3 qemu-utils qemu-system-common fio e2fsprogs util-linux ;;
    fuzz)  echo clang-14 libclang-rt-14-dev llvm-14 ;;
    tidy)  echo clang-14 clang-tidy-14 clang-format-14 ;;
    man)   echo pandoc ;;
    vm)    echo qemu-system-x86 seabios busybox-static cpio kmod xz-utils zstd debian-archive-keyring ;;
    *)     echo "install-deps: unknown group '$1' (build test demo bench fuzz tidy man vm)" >&2; exit 2 ;;
  esac
}

[ $# -gt 0 ] || set -- build test
wanted=()
for group in "$@"; do
  list=$(packages_of "$group")
  read -ra more <<<"$list"
  wanted+=("${more[@]}")
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  echo "This system has no apt-get. Please make sure that these are installed (Debian 12 names):"
  printf '  %s\n' "${wanted[@]}" | sort -u
  exit 0
fi

missing=()
for package in $(printf '%s\n' "${wanted[@]}" | sort -u); do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "install-deps: not root and no sudo. Please run as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "Installing: ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
"${apt[@]}" update </dev/null
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null
