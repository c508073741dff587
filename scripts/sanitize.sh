#!/usr/bin/env bash
# Builds everything that needs no libtorch (the layers without it, and the CLI) with AddressSanitizer and UndefinedBehaviorSanitizer and runs
# its unit tests.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/configure_sanitized.sh
ninja -C build-sanitized -j "$(nproc)"
ctest --test-dir build-sanitized --output-on-failure
