#!/usr/bin/env bash
# Builds the libFuzzer targets with clang, AddressSanitizer and UndefinedBehaviorSanitizer and runs each for a while, one a processor.
#   scripts/fuzz.sh SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?seconds of each target}
scripts/configure_sanitized.sh
ninja -C build-sanitized -j "$(nproc)" fuzzers

run_target() { # TARGET SECONDS; what it finds is kept in build-sanitized, the seeds are in the repository
  local name corpus log
  name=$(basename "$1")
  corpus=build-sanitized/corpus/$name
  log=build-sanitized/$name.log
  mkdir -p "$corpus"
  local status=0
  "$1" -max_total_time="$2" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 -verbosity=0 -artifact_prefix="build-sanitized/$name-" \
    "$corpus" "tests/fuzz/seeds/$name" >"$log" 2>&1 || status=$?
  echo "== $name, $2 s"
  if [ "$status" -ne 0 ]; then tail -60 "$log"; else grep '^stat::' "$log"; fi
  return "$status"
}
export -f run_target
# One target a processor. xargs fails if one of them does.
printf '%s\n' build-sanitized/bin/*_fuzz | xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'run_target "$1" "$2"' _ {} "$seconds"
