#!/bin/bash
# Runs the tests of one build directory and says at the end what was skipped and why.
#
#   tools/run-tests.sh BUILD_DIR [--sanitizer] [ctest options...]
#
# Everything goes through ctest; tests that must not share the machine say so themselves (RUN_SERIAL, RESOURCE_LOCK).
# A test skips by exit code 77 after a line "SKIP: reason", or by GTEST_SKIP inside a test program.
# --sanitizer is for instrumented builds, which have their longer time limits and fewer crash states compiled in.
set -uo pipefail
cd "$(dirname "$0")/.."
build=$1
shift

if [ "${1:-}" = --sanitizer ]; then
  shift
  export ASAN_OPTIONS="detect_stack_use_after_return=0:abort_on_error=1:${ASAN_OPTIONS:-}"
  export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
fi

# What the kernel holds for us: loop devices, mounts of ours, device nodes, daemons. A test run leaves none behind.
kernel_state() {
  { cat /sys/block/loop*/loop/backing_file | sed 's/^/loop device on /'
    awk '$0 ~ /ploop|\/dev\/loop/ { print "mount at " $5 }' /proc/self/mountinfo
    ls -d /dev/ploop* | sed 's/^/device node /'
    pgrep -x ploopd | sed 's/^/ploopd process /'
  } 2>/dev/null | sort
}

# Which test a daemon belongs to, by its run directory, and what it says of itself.
describe_daemons() {
  local pid run log
  for pid in $(pgrep -x ploopd); do
    run=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | sed -n 's/^PLOOP_RUNDIR=//p')
    echo "  ploopd $pid, run directory ${run:-/run/ploop}, $(ps -o etimes= -p "$pid" | tr -d ' ') s old, $(readlink "/proc/$pid/fd/2")"
    log=$(readlink "/proc/$pid/fd/2")
    [ ! -f "$log" ] || sed 's/^/    /' "$log"
  done
}

report=$build/test-report.xml
rm -f "$report"
before=$(kernel_state)
started=$SECONDS
ctest --test-dir "$build" -j "$(nproc)" --output-on-failure --no-tests=error --test-output-size-passed 4000000 \
      --output-junit "$PWD/$report" "$@" </dev/null
status=$?
tools/test_summary "$report" "$((SECONDS - started))" || status=1

# A daemon that was told to end may take a moment.
for _ in {1..20}; do
  left=$(comm -13 <(echo "$before") <(kernel_state))
  [ -n "$left" ] || break
  sleep 1
done
if [ -n "$left" ]; then
  echo "Left behind by this run, or made meanwhile by somebody else:"
  sed 's/^/  /' <<<"$left"
  describe_daemons
  [ "${CI:-}" != true ] || status=1  # a CI machine has nobody else
fi
exit "$status"
