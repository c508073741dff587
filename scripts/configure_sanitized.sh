#!/usr/bin/env bash
# Configures build-sanitized: everything that needs no libtorch, with clang, AddressSanitizer, UndefinedBehaviorSanitizer and libFuzzer's coverage.
# Unit tests (scripts/sanitize.sh) and fuzz targets (scripts/fuzz.sh) share its libraries.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
cmake -S . -B build-sanitized -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DENGRAM_TORCH=OFF -DENGRAM_SERVER=ON -DENGRAM_SANITIZE=ON -DENGRAM_FUZZ=ON \
  >"$log" 2>&1 || { cat "$log"; exit 1; }
rm -f "$log"
