#!/usr/bin/env bash
# store-crash.sh [--full] [BUILD]: what crashes, flipped bytes, faults and full disks do to an annotation store, counted.
#
#   --full   the soak of a release: some hours of one core; without it the slice that the unit tests run, a minute
#   BUILD    build directory, default build
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
full="" kills=2000 build="$root/build"
for arg in "$@"; do
    case "$arg" in
    --full) full=--full kills=50000 ;;
    -h | --help) sed -n '2,5p' "$0" | cut -c3-; exit 0 ;;
    -*) echo "store-crash.sh: unknown option '$arg'; known: --full" >&2; exit 2 ;;
    *) build=$arg ;;
    esac
done
status=0
# shellcheck disable=SC2086
"$build/lib/annotate/test-store-crash" $full || status=1
"$build/lib/annotate/test-store-kill" "$kills" || status=1
exit $status
