#!/usr/bin/env bash
# Gathers the programs and the shared libraries that are neither libtorch's nor the C library's into one folder, so that what was built
# here runs on a machine that has only the torch wheel:
#   LD_LIBRARY_PATH=BUNDLE/lib:.../site-packages/torch/lib BUNDLE/bin/engramd
#   scripts/gpu_bundle.sh BUNDLE
set -euo pipefail
cd "$(dirname "$0")/.."
bundle=${1:?the folder to fill}
build=${BUILD:-build}
rm -rf "$bundle"
mkdir -p "$bundle/bin" "$bundle/lib"
# Kernels of our own, where nvcc was found when the build was configured.
if grep -q '^build engram_cuda:' "$build/build.ninja" 2>/dev/null; then
  ninja -C "$build" engram_cuda >/dev/null
  install -m 0755 "$build/lib/libengram_cuda.so" "$bundle/lib/"
else
  echo "no nvcc: the bundle has no libengram_cuda.so, and a GPU will compute with libtorch's ops alone" >&2
fi
programs=()
for program in "$build"/bin/*; do
  name=$(basename "$program")
  case $name in engramd | engram-worker | engram | test_nn | test_train | test_continual | bench_*) programs+=("$program") ;; esac
done
[ ${#programs[@]} -gt 0 ] || { echo "nothing is built in $build: run make build" >&2; exit 1; }
for program in "${programs[@]}"; do
  install -s -m 0755 "$program" "$bundle/bin/"
  ldd "$program" | awk '$3 ~ /^\// {print $1, $3}'
done | sort -u | while read -r name path; do
  case $path in */site-packages/*) continue ;; esac            # the wheel's
  case $name in libc.so* | libm.so* | libdl.so* | librt.so* | libpthread.so* | ld-linux*) continue ;; esac
  install -m 0644 "$path" "$bundle/lib/$name"
done
find "$bundle/lib" -name '*.so*' -exec strip --strip-unneeded {} + 2>/dev/null || true
echo "$bundle: $(du -sm "$bundle" | cut -f1) MB, ${#programs[@]} programs"
