#!/usr/bin/env bash
# headers.sh [CC]: each header compiles alone, without a warning.
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
cc=${1:-cc}
flags="-std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-function -I. -Ilib $(pkg-config --cflags libuv libcjson cairo 2>/dev/null || true)"
n=0
for header in $(find lib proto daemon clients -name '*.h' ! -name test.h | sort); do
    # shellcheck disable=SC2086
    printf '#include "%s"\n' "${header#lib/}" | $cc $flags -x c -fsyntax-only - || { echo "$header does not compile alone" >&2; exit 1; }
    n=$((n + 1))
done
echo "$n headers compile alone with $cc"
