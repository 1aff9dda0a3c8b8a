#!/usr/bin/env bash
# soak.sh [--minutes N] [SUITE...]: the suites of crashes, faults, hostile clients, reloads and endurance, for as long as you like.
#
#   --minutes N   in all, about; 40 by default. 800 are the sizes of a release, see tests/hostile/__init__.py
#   SUITE         some of: store kills faults fuzz files clients reload life soak; all without one
#
# Prints each suite's figures as it ends, with the time that is left, and behind the last a table: suite, verdict, seconds,
# and what it had to show. Logs lie in build/soak; exit status: the number of suites that failed. A suite that takes three
# times the whole and ten minutes is ended and has failed. tests/run.sh runs the same suites in the sizes of every day.
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
[[ $minutes =~ ^[1-9][0-9]*$ ]] || { echo "soak.sh: --minutes: found '$minutes', allowed: a whole number from 1" >&2; exit 2; }
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
n_fuzzers=$(grep -c "^  '[a-z]*': \[\[" tests/fuzz/meson.build)
fuzz_seconds=$((minutes * 60 / 4 * 2 / n_fuzzers + 1)) # of each, two at a time
export AMBIENTD_SOAK

limited() { timeout -k 30 $((minutes * 180 + 600)) "$@"; }
tests_of() { limited build/venv/bin/python -m pytest -q -s -p no:cacheprovider "$@"; }
run_store() { limited bash tests/store-crash.sh --share "$AMBIENTD_SOAK"; }
run_kills() { tests_of tests/test_kills.py; }
run_faults() { tests_of tests/test_faults.py; }
run_files() { tests_of tests/test_malformed.py tests/test_index_differential.py tests/test_bombs.py; }
run_clients() { tests_of tests/test_hostile.py tests/test_requests.py; }
run_reload() { tests_of tests/test_hot_reload.py; }
run_life() { tests_of tests/test_daemon_lifecycle.py tests/test_service.py tests/test_reconnect.py; }
run_fuzz() { limited bash tests/fuzz.sh --seconds "$fuzz_seconds" --jobs 2; }
# the last one takes the time that is left
run_soak() {
    local seconds=$((minutes * 60 - $(date +%s) + began))
    AMBIENTD_SOAK_SECONDS=$((seconds > minutes * 15 ? seconds : minutes * 15)) tests_of tests/test_soak.py
}

# goal SUITE: what it fails without, in sizes of every day at least.
goal() {
    case "$1" in
    store) echo "R1-R4, R6, R8, R9: prefixes, flips, power losses, kills, failed calls, failed allocations, full disks: 0 wrong" ;;
    kills) echo "R5: kill -9 under trainers, a job and reloads: 0 acknowledged lost, trainers go on with the same bytes" ;;
    faults) echo "R7-R9: failed system calls, failed allocations, full disks: typed error or an end in order, 0 signal deaths" ;;
    files) echo "S2-S4: malformed files, index against tarfile, zipfile and bsdtar, bombs: as expected, 0 unexplained" ;;
    clients) echo "S5, C1-C3: attacks on slots, thousands of clients, hostile sets, descriptors, any request: nothing left, trainer unharmed" ;;
    reload) echo "H1-H3: reloads, bad reloads, shards attacked: 0 wrong, missing, duplicated, mixed; files and maps as before" ;;
    life) echo "P1: starts, stops, locks, signals, activation, watchdog, reconnects: one daemon serves, exit codes as documented" ;;
    fuzz) echo "S1: every target: 0 crash, leak, input above 1 s or 512 MiB" ;;
    soak) echo "L1: a day's work: slope <= 1 KiB a 1,000 batches from 400 s on, <= 2 MiB a day, files and maps as before, 0 wrong" ;;
    esac
}

# What a suite prints for people, without the noise of its runner.
figures() { grep -vE '^(\.|=|tests/|$|SKIPPED|warning)|^[.sFE]+ *(\[ *[0-9]+%\])?$|passed in' "$1" | sed 's/^\.*//' | grep -v '^$' | tail -40; grep -E '^[0-9]+ (passed|failed).* in ' "$1" | tail -1; }

began=$(date +%s) failed=0 table=""
for suite in $suites; do
    started=$(date +%s)
    printf '%5d s  %-8s runs; %d s of %d are left\n' $((started - began)) "$suite" $((minutes * 60 - started + began)) $((minutes * 60))
    if "run_$suite" >"$logs/$suite.log" 2>&1; then verdict=ok; else verdict=FAILED failed=$((failed + 1)); fi
    table+=$(printf '%-8s %-6s %5d s  %s' "$suite" "$verdict" $(($(date +%s) - started)) "$(goal "$suite")")$'\n'
    figures "$logs/$suite.log" | tee -a "$logs/figures"
done
printf '\n%sall of it, %d s, %d failed; figures in build/soak/figures\n' "$table" $(($(date +%s) - began)) "$failed"
exit "$failed"
