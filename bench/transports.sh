#!/bin/bash
# Compares transports: one device each over images of the same content, measured in turns, cell by cell.
#
#   transports.sh DIRECTORY TRANSPORT...       e.g. transports.sh /dev/shm ublk ublk:zero-copy
#
# PLOOP_BIN is the program, SIZE (256M) that of each image, which is written in full beforehand, RUNTIME (3) the seconds of a cell, ROUNDS (3)
# how often all is measured. Prints one table in Markdown: requests per second, all rounds of a cell in their order. Needs root, fio; for a
# kernel that is not this machine's:
#
#   tests/vm/run --kernel sid --transport ublk --with bench/transports.sh --command 'transports.sh /dev/shm ublk ublk:zero-copy'
set -euo pipefail
directory=${1:?usage: transports.sh DIRECTORY TRANSPORT...}
shift
targets=("$@")
ploop=${PLOOP_BIN:-ploop}
size=${SIZE:-256M}
runtime=${RUNTIME:-3}
rounds=${ROUNDS:-3}
cells=("randread 4k 1" "randread 4k 32" "randwrite 4k 1" "randwrite 4k 32" "read 512k 4" "write 512k 4")

scratch=$(mktemp -d "$directory/ploop-transports.XXXXXX")
declare -A device result
cleanup() {
  for target in "${!device[@]}"; do "$ploop" umount -d "${device[$target]}" >/dev/null 2>&1 || true; done
  rm -rf "$scratch"
}
trap cleanup EXIT

# cell TARGET OPERATION SIZE DEPTH: requests per second.
cell() {
  fio --name=cell --filename="${device[$1]}" --rw="$2" --bs="$3" --iodepth="$4" --ioengine=libaio --direct=1 --time_based \
    --runtime="$runtime" --minimal | awk -F';' '{ printf "%d\n", $8 + $49 }'
}

for target in "${targets[@]}"; do
  mkdir "$scratch/$target"
  "$ploop" init -s "$size" -t none "$scratch/$target/root.hdd" >/dev/null
  device[$target]=$(env -u PLOOP_TRANSPORT "$ploop" mount --transport "$target" "$scratch/$target/DiskDescriptor.xml" 2>&1 |
    sed -n 's/^.*Adding delta dev=\([^ ]*\) .*/\1/p' | head -n 1)
  [ -b "${device[$target]}" ] || { echo "no device with $target" >&2 && exit 1; }
  fio --name=fill --filename="${device[$target]}" --rw=write --bs=1M --ioengine=libaio --direct=1 >/dev/null
done

for ((round = 0; round < rounds; ++round)); do
  for work in "${cells[@]}"; do
    for target in "${targets[@]}"; do
      # shellcheck disable=SC2086  # three words
      result[$target/$work]+="${result[$target/$work]:+, }$(cell "$target" $work)"
    done
  done
done

echo "$(uname -r), $(stat -f -c %T "$scratch")"
printf '| |'
printf ' %s |' "${cells[@]}"
printf '\n|---|'
printf -- '---|%.0s' "${cells[@]}"
echo
for target in "${targets[@]}"; do
  printf '| %s |' "$target"
  for work in "${cells[@]}"; do printf ' %s |' "${result[$target/$work]}"; done
  echo
done
