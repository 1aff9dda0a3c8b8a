#!/usr/bin/env bash
# fuzz.sh [--seconds N] [--jobs N] [--keep] [TARGET...]: run the fuzzers of tests/fuzz (clang, ASan, UBSan), one line each.
#
#   --seconds N   for each target; 30 by default, 0 only replays the corpus
#   --jobs N      targets at a time; 1 by default
#   --keep        minimise what was new into tests/fuzz/corpus (-merge=1)
#
# Builds in build/fuzz. A target fails on any find, on an input that takes more than a second of CPU time, and above
# 512 MiB; what failed lies in build/fuzz/finds, and belongs into tests/fuzz/finds with its fix. Exit status: the
# number of targets that failed.
set -u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
seconds=30 jobs=1 keep=0
while [ $# -gt 0 ]; do
    case "$1" in
    --seconds) seconds=${2:?--seconds needs a number}; shift ;;
    --jobs) jobs=${2:?--jobs needs a number}; shift ;;
    --keep) keep=1 ;;
    -h | --help) sed -n '2,10p' "$0" | cut -c3-; exit 0 ;;
    -*) echo "fuzz.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
    *) break ;;
    esac
    shift
done
all=$(sed -n "s/^  '\([a-z]*\)': \[\[.*/\1/p" tests/fuzz/meson.build)
build=build/fuzz
for target in "$@"; do
    grep -qx "$target" <<<"$all" || { echo "fuzz.sh: no target '$target'; there are:" $all >&2; exit 2; }
done

export ASAN_OPTIONS=abort_on_error=0:detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
configure() {
    mkdir -p "$build"
    [ -f "$build/build.ninja" ] || CC=clang meson setup "$build" -Dfuzz=true -Dtests=disabled -Dpictures=disabled \
        -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
        -Dc_args="-fsanitize=fuzzer-no-link -fno-sanitize-recover=all" >"$build/setup.log" 2>&1 || { tail -30 "$build/setup.log" >&2; return 1; }
    ninja -C "$build" ${AMBIENTD_BUILD_JOBS:+-j "$AMBIENTD_BUILD_JOBS"} fuzzers lib/shard/shard-dump >"$build/ninja.log" 2>&1 || { tail -40 "$build/ninja.log" >&2; return 1; }
}
configure || { rm -f "$build/build.ninja"; exit 1; }
python=build/venv/bin/python
[ -x "$python" ] || python=python3
"$python" tests/fuzz/make_seeds.py "$build/seeds" "$build/lib/shard/shard-dump" >"$build/seeds.log" 2>&1 || { cat "$build/seeds.log" >&2; exit 1; }

# cpu_ms COMMAND...: user and system time; slow inputs are judged by it, because the machine may be busy
cpu_ms() {
    local TIMEFORMAT='%U %S'
    { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{printf "%d", ($1 + $2) * 1000}'
}

# one TARGET: fuzz it and print its line
one() {
    local name=$1 bin="$build/tests/fuzz/fuzz-$1" new="$build/new/$1" finds="$build/finds/$1" log="$build/$1.log" status dict=() bytes=4096
    rm -rf "$finds"
    mkdir -p "$new" "$finds" "tests/fuzz/corpus/$name" "$build/seeds/$name"
    local known=("tests/fuzz/corpus/$name" "$build/seeds/$name")
    [ ! -d "tests/fuzz/finds/$name" ] || known+=("tests/fuzz/finds/$name")
    [ ! -f "$build/seeds/$name.dict" ] || dict=(-dict="$build/seeds/$name.dict")
    case "$name" in tar | zip) bytes=16384 ;; decode) bytes=8192 ;; esac
    local run=(-max_total_time="$seconds")
    [ "$seconds" != 0 ] || run=(-runs=0)
    nice -n 19 "$bin" "$new" "${known[@]}" "${run[@]}" "${dict[@]}" -max_len="$bytes" -timeout=20 -report_slow_units=1 \
        -rss_limit_mb=512 -malloc_limit_mb=512 -print_final_stats=1 -artifact_prefix="$finds/" -use_value_profile=0 >"$log" 2>&1
    status=$?
    for slow in "$finds"/slow-unit-*; do
        [ -f "$slow" ] || continue
        if [ "$(cpu_ms "$bin" -runs=1 "$slow")" -gt 1000 ]; then status=1; else rm -f "$slow"; fi
    done
    awk -v name="$name" -v ok="$status" '
        /cov: / {for (i = 1; i < NF; i++) {if ($i == "cov:") cov = $(i + 1); if ($i == "corp:") corp = $(i + 1)}}
        /stat::number_of_executed_units/ {n = $2} /stat::average_exec_per_sec/ {rate = $2} /stat::peak_rss_mb/ {rss = $2}
        /stat::new_units_added/ {new = $2}
        END {sub("/.*", "", corp); printf "%-8s %9d execs %7d/s  %5d edges  corpus %4d (%d new)  %4d MiB  %s\n", name, n, rate, cov, corp, new, rss, ok ? "FAILED" : "ok"}' "$log"
    [ "$status" = 0 ] || { grep -m1 -A12 -E 'ERROR:|runtime error:|not so:|SUMMARY' "$log"; ls "$finds"; }
    if [ "$keep" = 1 ]; then
        mkdir -p "$build/merged/$name" && rm -f "$build/merged/$name"/*
        nice -n 19 "$bin" -merge=1 -max_len="$bytes" "$build/merged/$name" "${known[@]}" "$new" >>"$log" 2>&1 &&
            rm -rf "tests/fuzz/corpus/$name" && cp -r "$build/merged/$name" "tests/fuzz/corpus/$name"
    fi
    return "$status"
}

failed=0 running=0
for target in ${*:-$all}; do
    if [ "$running" = "$jobs" ]; then
        wait -n || failed=$((failed + 1))
        running=$((running - 1))
    fi
    one "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    wait -n || failed=$((failed + 1))
    running=$((running - 1))
done
exit "$failed"
