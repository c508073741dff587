#!/usr/bin/env bash
# Runs the tests that compute on every device, out of a bundle (scripts/gpu_bundle.sh), on a machine with a GPU and the torch wheel.
#   scripts/test_gpu.sh BUNDLE
# PYTHON: an interpreter that has torch (python3).
set -euo pipefail
bundle=$(realpath "${1:?the bundle}")
python=${PYTHON:-python3}
torch=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent / "lib")')
export LD_LIBRARY_PATH="$bundle/lib:$torch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Tests of a device are made when the program finds one: without it they would pass by not being there.
if ! "$bundle/bin/test_nn" --gtest_list_tests | grep -q 'cuda_fp32'; then
  echo "test_nn finds no CUDA device: see why in what it prints to standard error" >&2
  exit 1
fi
if [ ! -e "$bundle/lib/libengram_cuda.so" ]; then
  echo "the bundle has no libengram_cuda.so: it was made where nvcc is not; the device runs libtorch's ops alone" >&2
  [ -n "${WITHOUT_KERNELS:-}" ] || exit 1
fi
failed=()
for filter in "test_nn:*cuda*" "test_train:*Device*" "test_nn:*OpLibrary*:*OpProbe*"; do
  program=${filter%%:*}
  "$bundle/bin/$program" --gtest_brief=1 --gtest_filter="${filter#*:}" || failed+=("$filter")
done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "all tests on the device pass"
