#!/bin/bash
# Runs every libFuzzer target of a build for some time: tools/run-fuzz.sh BUILD_DIR [SECONDS]
#
# Seeds are tests/fuzz/seeds/NAME or tests/fuzz/corpus/NAME for the program fuzz_NAME; what is found on the way is kept in
# BUILD_DIR/fuzz-corpus/NAME for the next run. A finding ends the target and leaves the input in BUILD_DIR/fuzz-findings.
# Targets run side by side, one per processor.
set -uo pipefail
cd "$(dirname "$0")/.."
build=$1 seconds=${2:-60}
corpus=$PWD/$build/fuzz-corpus findings=$PWD/$build/fuzz-findings
mkdir -p "$corpus" "$findings"

mapfile -t targets < <(find "$build/tests/fuzz" "$build/bin" -maxdepth 1 -type f -name 'fuzz_*' -perm -u+x 2>/dev/null | sort)
if [ ${#targets[@]} -eq 0 ]; then
  echo "run-fuzz: no fuzz targets in $build" >&2
  exit 1
fi

fuzz_one() {
  local program=$1 name seeds=() folder
  name=$(basename "$program"); name=${name#fuzz_}
  mkdir -p "$corpus/$name"
  for folder in "tests/fuzz/seeds/$name" "tests/fuzz/corpus/$name"; do
    [ -d "$folder" ] && seeds+=("$folder")
  done
  local log=$build/fuzz-$name.log
  if "$program" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
       -artifact_prefix="$findings/$name-" "$corpus/$name" "${seeds[@]}" >"$log" 2>&1; then
    printf 'fuzz %-14s %s inputs in %s s, corpus %s, no finding\n' "$name" \
      "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$seconds" "$(find "$corpus/$name" -type f | wc -l)"
  else
    printf 'fuzz %-14s FINDING, see %s\n' "$name" "$log"
    tail -n 40 "$log"
    return 1
  fi
}

echo "Fuzzing ${#targets[@]} targets, $seconds s each"
status=0 running=()
for target in "${targets[@]}"; do
  fuzz_one "$target" &
  running+=($!)
  if [ ${#running[@]} -ge "$(nproc)" ]; then
    wait "${running[0]}" || status=1
    running=("${running[@]:1}")
  fi
done
for pid in "${running[@]}"; do wait "$pid" || status=1; done
exit "$status"
