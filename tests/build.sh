#!/usr/bin/env bash
# build.sh DIR [MESON OPTION...]: configure DIR if need be and compile everything in it, quietly; AMBIENTD_BUILD_JOBS at a time.
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$1
shift
cd "$root"
if [ ! -f "$dir/build.ninja" ]; then
    mkdir -p "$dir"
    meson setup "$dir" "$@" >"$dir/setup.log" 2>&1 || { tail -30 "$dir/setup.log" >&2; exit 1; }
elif [ $# -gt 0 ]; then
    meson configure "$dir" "$@" # configured before, by the demo perhaps, which needs no tests
fi
ninja -C "$dir" ${AMBIENTD_BUILD_JOBS:+-j "$AMBIENTD_BUILD_JOBS"} >"$dir/ninja.log" 2>&1 || { tail -40 "$dir/ninja.log" >&2; exit 1; }
