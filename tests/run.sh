#!/usr/bin/env bash
# run.sh [--with-torch] [--quick] [--only STEP]: build ambientd and run every test; closes with "N passed, N failed".
#
#   --with-torch   also the tests that need torch (installed into build/venv, some 200 MB)
#   --quick        without the sanitizer, valgrind and cross builds
#   --only STEP    one of: unit pytest static clang asan tsan valgrind aarch64 fuzz bench
#
# Installs what is missing (tests/setup.sh). Logs lie in build/logs.
set -u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
with_torch="" quick=0 only=""
while [ $# -gt 0 ]; do
    case "$1" in
    --with-torch) with_torch=--torch ;;
    --quick) quick=1 ;;
    --only) only=${2:?--only needs a step}; shift ;;
    -h | --help) sed -n '2,8p' "$0" | cut -c3-; exit 0 ;;
    *) echo "run.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
    esac
    shift
done

# shellcheck disable=SC2086
bash tests/setup.sh --tests $with_torch || exit 1
python="$root/build/venv/bin/python"
logs="$root/build/logs"
mkdir -p "$logs"
passed=0 failed=0 skipped=0
began=$(date +%s)
export PYTHONPATH="$root/clients/python" PYTHONDONTWRITEBYTECODE=1
export AMBIENTD_TEST_DATA="${AMBIENTD_TEST_DATA:-$root/../shared/data}"

note() { printf '%4ds  %s\n' "$(($(date +%s) - began))" "$*"; }

# count PASSED FAILED SKIPPED NAME
count() {
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    note "$4: $1 passed, $2 failed$([ "$3" = 0 ] || echo ", $3 skipped")"
}

wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

# one NAME COMMAND...: a command that is one test; exit status 77 skips
one() {
    local name=$1 status
    shift
    "$@" >"$logs/$name.log" 2>&1
    status=$?
    case $status in
    0) count 1 0 0 "$name" ;;
    77) count 0 0 1 "$name ($(tail -1 "$logs/$name.log"))" ;;
    *) tail -30 "$logs/$name.log"; count 0 1 0 "$name (build/logs/$name.log)" ;;
    esac
    return $status
}

# meson_tests NAME DIR [ARGUMENT...]: every unit test of a build
meson_tests() {
    local name=$1 dir=$2
    shift 2
    meson test -C "$dir" --no-rebuild --print-errorlogs "$@" >"$logs/$name.log" 2>&1
    # shellcheck disable=SC2046
    set -- "$name" $(awk '/^(Ok|Expected Fail):/ {ok += $NF} /^(Fail|Unexpected Pass|Timeout):/ {bad += $NF} /^Skipped:/ {skip = $NF} END {print ok + 0, bad + 0, skip + 0}' "$logs/$name.log")
    [ "$2" != 0 ] || [ "$3" != 0 ] || set -- "$1" 0 1 0
    [ "$3" = 0 ] || grep -vE '^ *[0-9]+/[0-9]+ .* OK ' "$logs/$name.log" | tail -60
    count "$2" "$3" "$4" "$1"
}

# python_tests NAME BINARIES PATH...: pytest against the programs of a build directory
python_tests() {
    local name=$1 build=$2
    shift 2
    AMBIENTD_BUILD="$build" AMBIENTD_BIN="$build/daemon/ambientd" AMBIENTCTL_BIN="$build/clients/ctl/ambientctl" \
        "$python" -m pytest -q -rs -p no:cacheprovider --junitxml "$logs/$name.xml" "$@" >"$logs/$name.log" 2>&1
    # shellcheck disable=SC2046
    set -- "$name" $("$python" - "$logs/$name.xml" <<'PY'
import sys, xml.etree.ElementTree as tree
try:
    suites = list(tree.parse(sys.argv[1]).getroot().iter("testsuite"))
except (OSError, tree.ParseError):
    suites = []
total, bad, skip = (sum(int(s.get(k, 0)) for s in suites) for k in ("tests", "failures", "skipped"))
bad += sum(int(s.get("errors", 0)) for s in suites)
print(total - bad - skip, bad if total else 1, skip)
PY
    )
    [ "$3" = 0 ] || tail -80 "$logs/$name.log"
    [ "$4" = 0 ] || grep '^SKIPPED' "$logs/$name.log" | head -20
    count "$2" "$3" "$4" "$1"
}

# Numeric loops that take minutes there, and the sandbox, whose processes it does not follow.
not_under_valgrind='boxmuller|statistics|apply|orders|permutation|sandbox'

# names_of DIR PATTERN [ARGUMENT...]: unit tests of a build but those of the pattern
names_of() {
    local dir=$1 pattern=$2
    shift 2
    meson test -C "$dir" --no-rebuild --list "$@" 2>/dev/null | sed -n 's/.* \/ //p' | grep -vxE "$pattern"
}

# What needs nothing but processors: builds and unit tests of the other compilers and tools. Runs beside the integration
# tests, which mostly wait, at a priority that takes nothing from them.
background() {
    passed=0 failed=0 skipped=0
    renice -n 19 -p "$BASHPID" >/dev/null
    if wanted asan && one asan-build bash tests/build.sh build/asan -Db_sanitize=address,undefined -Dbuildtype=debugoptimized -Dbenches=false; then
        touch "$logs/asan-ready"
        sanitized asan meson_tests asan-unit build/asan --timeout-multiplier 8
    fi
    if wanted tsan && one tsan-build bash tests/build.sh build/tsan -Db_sanitize=thread -Dbuildtype=debugoptimized -Dbenches=false; then
        touch "$logs/tsan-ready"
        # shellcheck disable=SC2046
        sanitized tsan meson_tests tsan-unit build/tsan --timeout-multiplier 12 $(names_of build/tsan 'boxmuller|statistics|apply|orders|permutation' --no-suite slow)
    fi
    if wanted clang; then
        one clang env CC=clang bash tests/build.sh build/clang -Dwerror=true
        one headers-clang bash tests/headers.sh clang
    fi
    if wanted valgrind; then
        # ort: valgrind finds fault with the inside of ONNX Runtime (overlapping memcpy while it loads)
        # shellcheck disable=SC2046
        meson_tests valgrind build --timeout-multiplier 40 --wrapper "valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite" \
            $(names_of build "$not_under_valgrind" --no-suite slow --no-suite ort)
    fi
    wanted fuzz && one fuzz bash tests/fuzz.sh --seconds "${AMBIENTD_FUZZ_SECONDS:-6}" --jobs 2
    wanted aarch64 && [ -f tests/aarch64.sh ] && one aarch64 bash tests/aarch64.sh
    touch "$logs/asan-ready" "$logs/tsan-ready" # or there is nothing to wait for
    echo "$passed $failed $skipped" >"$logs/background"
}

# sanitized KIND COMMAND...: with the options that make every report fatal
sanitized() {
    local kind=$1
    shift
    if [ "$kind" = tsan ]; then
        TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 "$@"
    else
        ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
            LSAN_OPTIONS=suppressions=$root/tests/lsan.supp:print_suppressions=0 "$@"
    fi
}

# sanitized_pytest KIND [ARGUMENT...]: once the background has built the programs
sanitized_pytest() {
    local kind=$1
    shift
    while [ ! -e "$logs/$kind-ready" ]; do sleep 1; done
    [ ! -x "build/$kind/daemon/ambientd" ] || sanitized "$kind" python_tests "$kind-pytest" "$root/build/$kind" tests "$@"
}

rm -f "$logs"/*-ready "$logs/background"
if wanted unit || wanted pytest || wanted bench || wanted valgrind; then
    one build bash tests/build.sh build -Dtests=enabled || { printf '%d passed, %d failed\n' $passed $failed; exit 1; }
fi
if [ "$quick" = 0 ]; then
    background &
    trap 'trap - TERM; kill 0' INT TERM
fi
if wanted static; then
    one includes "$python" tests/includes.py
    one headers bash tests/headers.sh cc
fi
wanted unit && meson_tests unit build
wanted pytest && python_tests pytest "$root/build" tests clients/python/tests
if [ "$quick" = 0 ]; then
    wanted asan && sanitized_pytest asan -m "not slow"
    wanted tsan && sanitized_pytest tsan -m threads
    wait
    read -r more_passed more_failed more_skipped <"$logs/background" || more_passed=0 more_failed=1 more_skipped=0
    passed=$((passed + more_passed)) failed=$((failed + more_failed)) skipped=$((skipped + more_skipped))
fi
if wanted bench; then # alone: they measure
    for bench in build/tests/bench/bench-*; do
        [ -f "$bench" ] && [ -x "$bench" ] && one "$(basename "$bench")" "$bench" --quick
    done
fi

[ "$skipped" = 0 ] || note "$skipped skipped, each with its reason above or in build/logs"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
