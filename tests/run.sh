#!/usr/bin/env bash
# run.sh [--with-torch] [--quick] [--only STEP] [--lanes N]: build ambientd and run every test; closes with "N passed, N failed".
#
#   --with-torch   also the tests that need torch (installed into build/venv, some 200 MB)
#   --quick        without the sanitizer, valgrind and cross builds
#   --only STEP    one of: unit pytest static clang asan tsan valgrind aarch64 fuzz bench
#   --lanes N      steps at a time, 1 for one after the other; by default one more than there are cores, since tests wait much
#
# Installs what is missing (tests/setup.sh). Logs lie in build/logs. What compares speeds (pytest.mark.alone) comes last,
# with the machine to itself.
set -u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
with_torch="" quick=0 only="" lanes=$(($(nproc) + 1))
while [ $# -gt 0 ]; do
    case "$1" in
    --with-torch) with_torch=--torch ;;
    --quick) quick=1 ;;
    --only) only=${2:?--only needs a step}; shift ;;
    --lanes) lanes=${2:?--lanes needs a number}; shift ;;
    -h | --help) sed -n '2,10p' "$0" | cut -c3-; exit 0 ;;
    *) echo "run.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
    esac
    shift
done

# shellcheck disable=SC2086
bash tests/setup.sh --tests $with_torch || exit 1
python="$root/build/venv/bin/python"
logs="$root/build/logs"
counts="$logs/counts" # a line for each step that ended: passed, failed, skipped
mkdir -p "$logs"
: >"$counts"
SECONDS=0
if [ -n "$only" ] || [ "$lanes" = 1 ]; then jobs=$(nproc); else jobs=1; fi # processes of a step that can use more
export PYTHONPATH="$root/clients/python" PYTHONDONTWRITEBYTECODE=1
export AMBIENTD_TEST_DATA="${AMBIENTD_TEST_DATA:-$root/../shared/data}"

# -- running and counting -------------------------------------------------------------------------------------------

note() { printf '%4ds  %s\n' "$SECONDS" "$*"; }

# count BEGAN PASSED FAILED SKIPPED NAME
count() {
    echo "$2 $3 $4" >>"$counts"
    note "$5: $2 passed, $3 failed$([ "$4" = 0 ] || echo ", $4 skipped") in $((SECONDS - $1)) s"
}

wanted() {
    case "$quick $1" in "1 asan" | "1 clang" | "1 tsan" | "1 valgrind" | "1 fuzz" | "1 aarch64") return 1 ;; esac
    [ -z "$only" ] || [ "$only" = "$1" ]
}

# one NAME COMMAND...: a command that is one test; exit status 77 skips
one() {
    local name=$1 began=$SECONDS status
    shift
    "$@" >"$logs/$name.log" 2>&1
    status=$?
    case $status in
    0) count "$began" 1 0 0 "$name" ;;
    77) count "$began" 0 0 1 "$name ($(tail -1 "$logs/$name.log"))" ;;
    *) tail -30 "$logs/$name.log"; count "$began" 0 1 0 "$name (build/logs/$name.log)" ;;
    esac
    return $status
}

# meson_tests NAME DIR [ARGUMENT...]: every unit test of a build
meson_tests() {
    local name=$1 dir=$2 began=$SECONDS
    shift 2
    meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes "$jobs" "$@" >"$logs/$name.log" 2>&1
    # shellcheck disable=SC2046
    set -- "$name" $(awk '/^(Ok|Expected Fail):/ {ok += $NF} /^(Fail|Unexpected Pass|Timeout):/ {bad += $NF} /^Skipped:/ {skip = $NF} END {print ok + 0, bad + 0, skip + 0}' "$logs/$name.log")
    [ "$2" != 0 ] || [ "$3" != 0 ] || set -- "$1" 0 1 0
    [ "$3" = 0 ] || grep -vE '^ *[0-9]+/[0-9]+ .* OK ' "$logs/$name.log" | tail -60
    count "$began" "$2" "$3" "$4" "$1"
}

# python_tests NAME BINARIES ARGUMENT...: pytest against the programs of a build directory
python_tests() {
    local name=$1 build=$2 began=$SECONDS status
    shift 2
    AMBIENTD_BUILD="$build" AMBIENTD_BIN="$build/daemon/ambientd" AMBIENTCTL_BIN="$build/clients/ctl/ambientctl" \
        timeout -k 30 900 "$python" -m pytest -q -rs -p no:cacheprovider --junitxml "$logs/$name.xml" "$@" >"$logs/$name.log" 2>&1
    status=$?
    # shellcheck disable=SC2046
    set -- "$name" $("$python" - "$logs/$name.xml" "$status" <<'PY'
import sys, xml.etree.ElementTree as tree
try:
    suites = list(tree.parse(sys.argv[1]).getroot().iter("testsuite"))
except (OSError, tree.ParseError):
    suites = []
total, bad, skip = (sum(int(s.get(k, 0)) for s in suites) for k in ("tests", "failures", "skipped"))
bad += sum(int(s.get("errors", 0)) for s in suites)
# a run that was interrupted, took too long or found nothing to run has failed, whatever it counted until then
print(total - bad - skip, max(bad, int(sys.argv[2] != "0")), skip)
PY
    )
    [ "$3" = 0 ] || tail -80 "$logs/$name.log"
    [ "$4" = 0 ] || grep '^SKIPPED' "$logs/$name.log" | head -20
    count "$began" "$2" "$3" "$4" "$1"
}

# -- the steps ------------------------------------------------------------------------------------------------------

step_static() {
    one includes "$python" tests/includes.py
    one headers bash tests/headers.sh cc
}

step_unit() { meson_tests unit build; }

step_pytest() { python_tests pytest "$root/build" tests -m "not alone"; }

step_pytest_clients() { python_tests pytest-clients "$root/build" clients/python/tests; }

step_asan() {
    export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
    export LSAN_OPTIONS=suppressions=$root/tests/lsan.supp:print_suppressions=0
    one asan-build bash tests/build.sh build/asan -Db_sanitize=address,undefined -Doptimization=1 -Dbenches=false || return
    meson_tests asan-unit build/asan --timeout-multiplier 8
    python_tests asan-pytest "$root/build/asan" tests -m "not slow and not alone"
}

# the other compiler's warnings; what it would optimise is of no account
step_clang() {
    one clang env CC=clang bash tests/build.sh build/clang -Doptimization=0 -Dbenches=false -Dwerror=true || return
    one headers-clang bash tests/headers.sh clang
}

step_tsan() {
    export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$root/tests/tsan.supp
    one tsan-build bash tests/build.sh build/tsan -Db_sanitize=thread -Doptimization=1 -Dbenches=false || return
    AMBIENTD_TEST_STRIDE=8 meson_tests tsan-unit build/tsan --timeout-multiplier 12 --no-suite fault --no-suite slow
    python_tests tsan-pytest "$root/build/tsan" tests -m "threads and not alone"
}

# but numeric loops, which take minutes there, and the sandbox, whose processes it does not follow
step_valgrind() {
    local names
    names=$(meson test -C build --no-rebuild --list --no-suite slow --no-suite ort --no-suite fault 2>/dev/null |
        sed -n 's/.* \/ //p' | grep -vxE 'boxmuller|statistics|apply|orders|permutation|sandbox|ort-search')
    # ort: valgrind finds fault with the inside of ONNX Runtime (overlapping memcpy while it loads), and with ld.so's search
    # shellcheck disable=SC2086
    AMBIENTD_TEST_STRIDE=8 meson_tests valgrind build --timeout-multiplier 40 \
        --wrapper "valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite" $names
}

step_fuzz() { one fuzz bash tests/fuzz.sh --seconds "${AMBIENTD_FUZZ_SECONDS:-4}" --jobs "$jobs"; }

step_aarch64() { one aarch64 bash tests/aarch64.sh; }

step_pytest_alone() { python_tests pytest-alone "$root/build" tests -m alone; }

step_bench() {
    for bench in build/tests/bench/bench-*; do
        [ -f "$bench" ] && [ -x "$bench" ] && one "$(basename "$bench")" "$bench" --quick
    done
}

# -- the lanes ------------------------------------------------------------------------------------------------------

set -m # a process group for each step, so that ending this script ends them all
trap 'for pid in $(jobs -p); do kill -- "-$pid" 2>/dev/null; done' EXIT
n_running=0

# reap: wait for one step to end; one that was killed counts as failed
reap() {
    wait -n || [ $? -lt 128 ] || count "$SECONDS" 0 1 0 "a step that was killed"
    n_running=$((n_running - 1))
}

# start STEP...: run them one after the other beside what already runs, once a lane is free
start() {
    [ "$n_running" -lt "$lanes" ] || reap
    (for step; do "step_$step"; done) </dev/null &
    n_running=$((n_running + 1))
}

finish() { while [ "$n_running" -gt 0 ]; do reap; done; }

# total: the last line, and the exit status
total() {
    local passed failed skipped
    read -r passed failed skipped < <(awk '{p += $1; f += $2; s += $3} END {print p + 0, f + 0, s + 0}' "$counts")
    [ "$skipped" = 0 ] || note "$skipped skipped, each with its reason above or in build/logs"
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" = 0 ]
    exit
}

if wanted unit || wanted pytest || wanted valgrind || wanted bench; then
    one build bash tests/build.sh build -Dtests=enabled || total
fi
export AMBIENTD_BUILD_JOBS=$jobs

# the longest first
wanted asan && start asan
wanted pytest && start pytest
wanted tsan && start tsan
wanted clang && start clang
wanted valgrind && start valgrind
wanted fuzz && start fuzz
wanted unit && start unit
wanted pytest && start pytest_clients
wanted static && start static
wanted aarch64 && start aarch64
wanted bench && start bench
finish
wanted pytest && step_pytest_alone
total
