#!/usr/bin/env bash
# Builds everything that needs no libtorch (the layers without it, and the CLI) with AddressSanitizer and UndefinedBehaviorSanitizer in
# build-asan and runs its unit tests.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake -S . -B build-asan -G Ninja -DENGRAM_TORCH=OFF -DENGRAM_SERVER=ON -DENGRAM_SANITIZE=ON >build-asan.log 2>&1 || { cat build-asan.log; exit 1; }
rm -f build-asan.log
ninja -C build-asan -j "$(nproc)"
ctest --test-dir build-asan --output-on-failure
