#!/usr/bin/env bash
# Runs the tests of a finished build: tools (the checks of scripts/ themselves), unit (GoogleTest), parity (against the wheels), integration (a real server), sanitizers, fuzzing.
#   scripts/test.sh [tools|unit|parity|integration|sanitize|fuzz ...]     nothing named: all of them
set -euo pipefail
cd "$(dirname "$0")/.."
export ENGRAM_BUILD=$(realpath "${BUILD:-build}")
export TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
python=.deps/oracle/bin/python

tools() { "$python" -m pytest -q tests/tools; }
unit() { ctest --test-dir "$ENGRAM_BUILD" --output-on-failure -j 1; }
parity() { OMP_NUM_THREADS=1 "$python" -m pytest -q --durations=5 -n "$(nproc)" --dist loadfile tests/parity; }  # a file of tests a processor
integration() { "$python" -m pytest -q --durations=5 tests/integration; }
sanitize() { scripts/sanitize.sh; }
fuzz() { scripts/fuzz.sh "${FUZZ_SECONDS:-20}"; }

for part in "${@:-tools unit parity integration sanitize fuzz}"; do
  for name in $part; do
    printf '\n== %s\n' "$name"
    started=$SECONDS
    "$name"
    printf '== %s passed in %d s\n' "$name" $((SECONDS - started))
  done
done
