#!/usr/bin/env bash
# Builds the libFuzzer targets with clang, AddressSanitizer and UndefinedBehaviorSanitizer in build-fuzz and runs each for a while.
#   scripts/fuzz.sh SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?seconds of each target}
cmake -S . -B build-fuzz -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DENGRAM_TORCH=OFF -DENGRAM_SERVER=OFF -DENGRAM_SANITIZE=ON -DENGRAM_FUZZ=ON \
  >build-fuzz.log 2>&1 || { cat build-fuzz.log; exit 1; }
rm -f build-fuzz.log
ninja -C build-fuzz -j "$(nproc)" fuzzers
for target in build-fuzz/bin/*_fuzz; do
  name=$(basename "$target")
  corpus=build-fuzz/corpus/$name
  mkdir -p "$corpus"
  echo "== $name, $seconds s"
  "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 -verbosity=0 "$corpus" 2>&1 | tail -12
done
