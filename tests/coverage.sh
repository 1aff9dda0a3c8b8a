#!/usr/bin/env bash
# coverage.sh [--full] [--only STEP]: how much of the sources the tests reach (clang, llvm-cov), lines and branches.
#
#   --full        with the tests marked slow
#   --only STEP   run only one of: unit pytest; counts of the other steps are kept from the last time
#
# Builds in build/coverage. Runs the unit tests, the replay of malformed files and of the fuzz corpus, and the integration
# tests but tests/test_faults.py, whose failures the counters themselves do not survive. Counters lie in a shared map of a
# file (%c), one for each process and module, so that a process that is killed, that leaves by _exit or that lives under
# seccomp has written them all the same. Prints a line for each parser and each file of the journal, then their total and
# that of all: goals are 95 % of lines and 85 % of branches there, 85 % of lines over all.
# Exit status: 0, or 1 where tests failed or a goal is missed.
set -u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
full=0 only=""
while [ $# -gt 0 ]; do
    case "$1" in
    --full) full=1 ;;
    --only) only=${2:?--only needs a step}; shift ;;
    -h | --help) sed -n '2,12p' "$0" | cut -c3-; exit 0 ;;
    *) echo "coverage.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
    esac
    shift
done

bash tests/setup.sh --tests --coverage || exit 1
build="$root/build/coverage" python="$root/build/venv/bin/python" status=0
raw="$build/raw" counts="$build/counts"
CC=clang bash tests/build.sh build/coverage -Dtests=enabled -Dbenches=false -Dbuildtype=debugoptimized \
    -Dc_args="-fprofile-instr-generate -fcoverage-mapping -mllvm -runtime-counter-relocation" \
    -Dc_link_args=-fprofile-instr-generate || exit 1
mkdir -p "$counts"
export PYTHONPATH="$root/clients/python" PYTHONDONTWRITEBYTECODE=1 AMBIENTD_TEST_DATA="${AMBIENTD_TEST_DATA:-$root/../shared/data}"

# step NAME COMMAND...: what it runs, counted into counts/NAME.profdata
step() {
    local name=$1
    shift
    [ -z "$only" ] || [ "$only" = "$name" ] || return 0
    rm -rf "$raw" && mkdir -p "$raw"
    LLVM_PROFILE_FILE="$raw/%c%p-%m.profraw" "$@" >"$build/$name.log" 2>&1 || { tail -30 "$build/$name.log"; echo "$name: failed, see build/coverage/$name.log"; status=1; }
    # one that was killed before its file was whole is passed over
    find "$raw" -name '*.profraw' -size +0 >"$build/raw.list"
    llvm-profdata merge --failure-mode=all -o "$counts/$name.profdata" --input-files="$build/raw.list" >"$build/merge.log" 2>&1 || { cat "$build/merge.log" >&2; exit 1; }
    rm -rf "$raw"
}

step unit meson test -C build/coverage --no-rebuild --timeout-multiplier 4
step pytest env AMBIENTD_BUILD="$build" AMBIENTD_BIN="$build/daemon/ambientd" AMBIENTCTL_BIN="$build/clients/ctl/ambientctl" \
    "$python" -m pytest -q -rs -p no:cacheprovider tests --ignore tests/test_faults.py -m "$([ "$full" = 1 ] && echo "slow or not slow" || echo "not slow")"
llvm-profdata merge -o "$build/all.profdata" "$counts"/*.profdata || exit 1

objects=()
while read -r object; do
    objects+=(-object "$object")
done < <(find "$build/daemon" "$build/clients" "$build/tests" "$build/lib" -type f -executable ! -name '*.so*' ! -name '*.sh')
llvm-cov export -summary-only -instr-profile "$build/all.profdata" "${objects[@]}" >"$build/summary.json" 2>"$build/export.log" || { cat "$build/export.log" >&2; exit 1; }
"$python" - "$build/summary.json" "$root" <<'PY' || status=1
import fnmatch, json, os, sys

PARSERS = """proto/frame.c proto/message.c proto/json.c proto/json-grammar.c
    lib/shard/tar.c lib/shard/tar-read.c lib/shard/zip.c lib/shard/zip-read.c lib/shard/index.c lib/shard/label.c lib/shard/jsontext.c
    lib/shard/pattern.c lib/shard/folder-scan.c lib/shard/member.c lib/codec/npy.c lib/codec/npy-load.c lib/codec/exif.c lib/codec/decode.c
    lib/codec/jpeg.c lib/codec/png.c lib/codec/webp.c lib/annotate/jsonl.c lib/annotate/number.c lib/annotate/record.c lib/annotate/record-line.c
    lib/annotate/record-curve.c lib/annotate/grid.c lib/annotate/onnx-scan.c lib/sampler/options.c lib/sampler/state.c
    daemon/link.c daemon/key.c daemon/config.c daemon/config-dataset.c""".split()
JOURNAL = ["lib/annotate/store*.c", "lib/base/io.c"]
TESTS = ["*/test-*", "lib/annotate/fake-catalog.*", "tests/*"]

files = {os.path.relpath(row["filename"], sys.argv[2]): row["summary"] for row in json.load(open(sys.argv[1]))["data"][0]["files"]}
files = {name: row for name, row in files.items() if not any(fnmatch.fnmatch(name, pattern) for pattern in TESTS) and not name.startswith("..")}


def total(names):
    out = {}
    for kind in ("lines", "branches"):
        n, hit = (sum(files[name][kind][key] for name in names) for key in ("count", "covered"))
        out[kind] = (hit, n, 100 * hit / n if n else 100.0)
    return out


def say(what, row):
    (line_hit, lines, line), (branch_hit, branches, branch) = row["lines"], row["branches"]
    print(f"{what:<34} lines {line_hit:>6}/{lines:<6} {line:5.1f} %   branches {branch_hit:>6}/{branches:<6} {branch:5.1f} %")


journal = sorted(name for name in files if any(fnmatch.fnmatch(name, pattern) for pattern in JOURNAL))
missing = [name for name in PARSERS if name not in files]
assert not missing, f"no such files any more: {missing}"
for name in PARSERS + journal:
    say(name, total([name]))
border, everything = total(PARSERS + journal), total(files)
say("parsers", total(PARSERS))
say("journal", total(journal))
say("parsers and journal", border)
say("all", everything)
goals = [("lines of parsers and journal", border["lines"][2], 95), ("branches of parsers and journal", border["branches"][2], 85), ("lines of all", everything["lines"][2], 85)]
for what, value, goal in goals:
    if value < goal:
        print(f"missed: {what} {value:.1f} %, goal {goal} %")
sys.exit(any(value < goal for _, value, goal in goals))
PY
exit $status
