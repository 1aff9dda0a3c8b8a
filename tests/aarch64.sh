#!/usr/bin/env bash
# aarch64.sh: build the noise for aarch64, run its golden test under emulation; 77 where the tools are missing.
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
cc=${AARCH64_CC:-aarch64-linux-gnu-gcc}
emulator=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
if ! command -v "$cc" >/dev/null; then
    echo "no $cc (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross)"
    exit 77
fi
if [ -z "$emulator" ]; then
    echo "no qemu-aarch64 (Debian: qemu-user)"
    exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 lib/noise/golden.py proto/golden/noise.json "$dir/golden-noise.h"
"$cc" -std=gnu11 -D_GNU_SOURCE -O2 -static -ffp-contract=off -fno-math-errno \
    -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Werror -I"$dir" -I. -Ilib \
    lib/noise/test-golden.c lib/noise/normal.c lib/noise/normal-scalar.c lib/noise/normal-neon.c lib/noise/apply.c \
    lib/base/process.c lib/base/buf.c lib/base/alloc.c -lm -o "$dir/test-golden"
"$emulator" "$dir/test-golden" | tee "$dir/out"
grep -q '^neon:' "$dir/out" || { echo "the NEON path did not run"; exit 1; }
echo "aarch64 gives the golden noise"
