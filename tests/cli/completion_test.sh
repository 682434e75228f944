#!/bin/bash
# What bash offers after <Tab>: completion_test.sh PLOOP COMPLETION_FILE
set -uo pipefail
ploop=$1
source "$2"
place=$(mktemp -d "${TMPDIR:-/tmp}/ploop-completion.XXXXXX")
trap 'rm -rf "$place"' EXIT
cd "$place" || exit 1
mkdir directory
export PLOOP_RUNDIR=$place/run
"$ploop" -v-1 init -t none -s 1m root.hdd || exit 1
failures=0

# offers "LINE" WORD...: exactly these words, in any order, for the last word of the line.
offers() {
  local line=$1 said wanted
  shift
  read -ra COMP_WORDS <<<"$line"
  [[ $line != *' ' ]] || COMP_WORDS+=('')
  COMP_WORDS[0]=$ploop
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  _ploop "$ploop"
  said=$(printf '%s\n' "${COMPREPLY[@]}" | sort)
  wanted=$(printf '%s\n' "$@" | sort)
  [ "$said" = "$wanted" ] && return
  echo "FAILED: '$line' offers: ${COMPREPLY[*]}; wanted: $*"
  failures=$((failures + 1))
}

mapfile -t commands < <("$ploop" --help | sed -nE 's/^  ([a-z][a-z-]+) {2,}.*/\1/p')
[ ${#commands[@]} -ge 10 ] || { echo "FAILED: ploop --help lists no commands"; exit 1; }
offers 'ploop ' "${commands[@]}"
offers 'ploop -v4 umo' umount
offers 'ploop init -f ' ploop1 preallocated raw
offers 'ploop mount -m d' directory
offers 'ploop check -d roo' root.hdd
offers 'ploop check --dr' --drop-inuse
offers 'ploop snapshot-list -o ' uuid parent_uuid current fname
offers 'ploop mount -u ' '{5fbaabe3-6958-40ff-92a7-860e329aab41}'
offers 'ploop list ' ''
offers 'ploop list -' -a -h --help --json
for command in "${commands[@]}"; do
  read -ra COMP_WORDS <<<"ploop $command --hel"
  COMP_WORDS[0]=$ploop COMP_CWORD=2 COMPREPLY=()
  _ploop "$ploop"
  [ "${COMPREPLY[*]}" = --help ] || { echo "FAILED: $command does not offer --help"; failures=$((failures + 1)); }
done
echo "completion: ${#commands[@]} commands, $failures failures"
[ $failures -eq 0 ]
