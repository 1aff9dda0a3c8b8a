#!/usr/bin/env bash
# soak.sh [--minutes N] [SUITE...]: the suites of crashes, faults, hostile clients, reloads and endurance, for as long as you like.
#
#   --minutes N   in all, about; 40 by default. 800 are the sizes of a release, see tests/hostile/__init__.py
#   SUITE         some of: store kills faults fuzz files clients reload life soak; all without one
#
# Prints each suite's figures as it ends, with the time that is left, and all of them once more behind the last. Logs lie in
# build/soak; exit status: the number of suites that failed. tests/run.sh runs the same suites in the sizes of every day.
set -u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
minutes=40
while [ $# -gt 0 ]; do
    case "$1" in
    --minutes) minutes=${2:?--minutes needs a number}; shift ;;
    -h | --help) sed -n '2,8p' "$0" | cut -c3-; exit 0 ;;
    -*) echo "soak.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
    *) break ;;
    esac
    shift
done
all="store kills faults files clients reload life fuzz soak"
for suite in "$@"; do
    case " $all " in *" $suite "*) ;; *) echo "soak.sh: no suite '$suite'; there are: $all" >&2; exit 2 ;; esac
done
suites=${*:-$all}

bash tests/setup.sh --tests || exit 1
bash tests/build.sh build -Dtests=enabled || exit 1
logs=build/soak
mkdir -p "$logs"
rm -f "$logs"/*.log "$logs"/figures
export PYTHONPATH="$root/clients/python" PYTHONDONTWRITEBYTECODE=1
export AMBIENTD_TEST_DATA="${AMBIENTD_TEST_DATA:-$root/../shared/data}"
AMBIENTD_SOAK=$(awk -v m="$minutes" 'BEGIN {print (m < 800 ? m / 800 : 1)}')
AMBIENTD_SOAK_SECONDS=$((minutes * 60 / 4)) # of the last suite
n_fuzzers=$(grep -c "^  '[a-z]*': \[\[" tests/fuzz/meson.build)
fuzz_seconds=$((minutes * 60 / 4 * 2 / n_fuzzers + 1)) # of each, two at a time
export AMBIENTD_SOAK AMBIENTD_SOAK_SECONDS

tests_of() { build/venv/bin/python -m pytest -q -s -p no:cacheprovider "$@"; }
run_store() { if [ "$minutes" -ge 400 ]; then bash tests/store-crash.sh --full; else bash tests/store-crash.sh; fi; }
run_kills() { tests_of tests/test_kills.py; }
run_faults() { tests_of tests/test_faults.py; }
run_files() { tests_of tests/test_malformed.py tests/test_index_differential.py tests/test_bombs.py; }
run_clients() { tests_of tests/test_hostile.py; }
run_reload() { tests_of tests/test_hot_reload.py; }
run_life() { tests_of tests/test_daemon_lifecycle.py tests/test_service.py tests/test_reconnect.py; }
run_fuzz() { bash tests/fuzz.sh --seconds "$fuzz_seconds" --jobs 2; }
run_soak() { tests_of tests/test_soak.py; }

# What a suite prints for people, without the noise of its runner.
figures() { grep -vE '^(\.|=|tests/|$|SKIPPED|warning)|^[.sFE]+ *(\[ *[0-9]+%\])?$|passed in' "$1" | sed 's/^[.sF]*//' | grep -v '^$' | tail -40; grep -E '[0-9]+ (passed|failed)' "$1" | tail -1; }

began=$(date +%s) failed=0
for suite in $suites; do
    started=$(date +%s)
    printf '%5d s  %-8s runs; %d s of %d are left\n' $((started - began)) "$suite" $((minutes * 60 - started + began)) $((minutes * 60))
    if "run_$suite" >"$logs/$suite.log" 2>&1; then verdict=ok; else verdict=FAILED failed=$((failed + 1)); fi
    {
        printf '== %s: %s, %d s\n' "$suite" "$verdict" $(($(date +%s) - started))
        figures "$logs/$suite.log"
    } | tee -a "$logs/figures"
done
printf '\nall of it, %d s, %d failed\n' $(($(date +%s) - began)) "$failed"
cat "$logs/figures"
exit "$failed"
