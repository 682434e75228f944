#!/bin/bash
# Configures (when needed) and builds one preset: tools/build.sh PRESET JOBS [TARGET...]
# The configure output is shown only when it fails.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1 jobs=$2
shift 2

started=$SECONDS
mkdir -p "build/$preset"
if [ ! -f "build/$preset/build.ninja" ]; then
  echo "Configuring build/$preset"
  if ! cmake --preset "$preset" >"build/$preset/configure.log" 2>&1; then
    cat "build/$preset/configure.log" >&2
    exit 1
  fi
fi
echo "Building build/$preset"
# NINJA_STATUS keeps a log file readable: ninja prints one line per step when stdout is not a terminal.
NINJA_STATUS="[%f/%t %es] " ninja -C "build/$preset" -j "$jobs" "$@"
echo "Built build/$preset in $((SECONDS - started)) s"
