#!/usr/bin/env bash
# store-crash.sh [--full | --share F] [BUILD]: what crashes, flipped bytes, faults and full disks do to an annotation store, counted.
#
#   --full      the soak of a release: some hours of one core; without it the slice that the unit tests run, a minute
#   --share F   that share of a release's sizes, but never less than the slice
#   BUILD       build directory, default build
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
share=0 build="$root/build"
while [ $# -gt 0 ]; do
    case "$1" in
    --full) share=1 ;;
    --share) share=${2:?--share needs a number, 0 to 1}; shift ;;
    -h | --help) sed -n '2,6p' "$0" | cut -c3-; exit 0 ;;
    -*) echo "store-crash.sh: unknown option '$1'; known: --full --share" >&2; exit 2 ;;
    *) build=$1 ;;
    esac
    shift
done
kills=$(awk -v s="$share" 'BEGIN {n = int(50000 * s); print (n > 2000 ? n : 2000)}')
status=0
"$build/lib/annotate/test-store-crash" --share "$share" || status=1
"$build/lib/annotate/test-store-kill" "$kills" || status=1
exit $status
