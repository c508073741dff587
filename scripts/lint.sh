#!/usr/bin/env bash
# Formatting, includes against the order of layers and rooms, clang's warnings with -Wthread-safety as errors on every file, clang-tidy on the
# layers that changed, and the linters of protos, images, manifests, YAML, shell and Python. LINT_BASE=REVISION: what "changed" is measured
# against (default: the last commit of origin/main if there is one, else the previous commit).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.deps/oracle/bin
jobs=$(nproc)
step() { printf '[lint] %s\n' "$*"; }

step "clang-format"
git ls-files '*.cc' '*.h' | xargs clang-format --dry-run --Werror

step "includes against the order of layers and rooms"
python3 scripts/include_check.py
step "mutations against the code that they change"
python3 scripts/mutate.py --check

step "configure for the compile commands"
cmake -S . -B build-tidy -G Ninja -DENGRAM_BENCH=ON -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >build-tidy.log 2>&1 || { cat build-tidy.log; exit 1; }
rm -f build-tidy.log
ninja -C build-tidy engram_proto_sources >/dev/null
step "clang: every warning is an error, thread-safety analysis included ($(git ls-files '*.cc' | wc -l) files)"
python3 scripts/clang_check.py build-tidy/compile_commands.json syntax "$jobs"

base=${LINT_BASE:-$(git rev-parse --verify --quiet origin/main || git rev-parse --verify --quiet HEAD~1 || git rev-parse HEAD)}
step "clang-tidy on files of layers changed since $(git rev-parse --short "$base")"
git diff --name-only "$base" HEAD -- 'core/*' 'server/*' 'client/*' | xargs -r -n1 dirname | sort -u >build-tidy/changed-layers
python3 scripts/clang_check.py build-tidy/compile_commands.json tidy "$jobs" build-tidy/changed-layers

step "buf lint"
(cd proto && "$bin/buf" lint)
step "hadolint"
"$bin/hadolint" docker/Dockerfile
step "yamllint"
git ls-files '*.yaml' '*.yml' | xargs "$bin/yamllint" -s -c .yamllint.yaml
step "Kubernetes schema"
"$bin/kubernetes-validate" --strict deploy/kubernetes/*.yaml
step "bash -n, python -m py_compile"
git ls-files '*.sh' .ci/run | while read -r file; do bash -n "$file"; done
git ls-files '*.py' | xargs python3 -m py_compile
step "done"
