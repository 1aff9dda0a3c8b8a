#!/usr/bin/env bash
# run.sh [DIR]: see ambientd work in two minutes: make data, start the daemon, annotate, look, train, draw.
#
# Installs what is missing (tests/setup.sh), builds into build/, writes into DIR (default build/demo).
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
case "${1:-}" in
"") out=build/demo ;;
-h | --help) sed -n '2,4p' "$0" | cut -c3-; exit 0 ;;
-*) echo "run.sh: unknown option '$1'; known: --help" >&2; exit 2 ;;
/*) out=$1 ;;
*) out=$PWD/$1 ;;
esac
cd "$root"

began=$(date +%s)
say() { printf '\n[%3d s] %s\n' "$(($(date +%s) - began))" "$*"; }

say "Looking for what the build needs"
bash tests/setup.sh
say "Building ambientd"
bash tests/build.sh build
python=build/venv/bin/python
ctl=build/clients/ctl/ambientctl
export PYTHONPATH=$root/clients/python

say "Drawing 3,200 small pictures, four in ten of them blurred or noisy"
"$python" clients/demo/make_images.py "$out/shards"

socket_dir=$(mktemp -d)
export AMBIENTD_SOCKET=$socket_dir/ambientd.sock
daemon=
stop() {
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
    rm -rf "$socket_dir"
}
trap stop EXIT

say "Starting the daemon: ambientd serve '$out/shards/demo-{000000..000007}.tar' --size 64 --state-dir $out/state"
rm -rf "$out/state"
VIRTUAL_ENV=$root/build/venv build/daemon/ambientd serve "$out/shards/demo-{000000..000007}.tar" --size 64 \
    --socket "$AMBIENTD_SOCKET" --state-dir "$out/state" 2>"$out/ambientd.log" &
daemon=$!
for _ in $(seq 100); do
    "$ctl" ping --count 1 >/dev/null 2>&1 && break
    kill -0 "$daemon" 2>/dev/null || { cat "$out/ambientd.log" >&2; exit 1; }
    sleep 0.1
done
"$ctl" status

say "Finding out at which noise levels each picture may be used (ambientctl annotate --model clients/demo/classifier.onnx)"
"$ctl" annotate main --model clients/demo/classifier.onnx --curves --follow
echo "What it found, by what was done to the pictures:"
"$python" clients/demo/annotation_table.py "$AMBIENTD_SOCKET" "$out/shards"
"$ctl" annotations stats
"$ctl" annotations grid -o "$out/grid.png"
"$ctl" annotations show boat-01645 -o "$out/curve.png"

say "How many pictures may be used at each noise level (ambientctl coverage)"
"$ctl" coverage --points 16

say "Training from it: clients/demo/train.py"
"$python" clients/demo/train.py "$AMBIENTD_SOCKET" 6

say "How fast it can stream (ambientctl bench): every byte of each batch is read once"
"$ctl" bench --seconds 4

say "A picture of one batch (ambientctl preview)"
"$ctl" preview -o "$out/preview.png" --seed 4 --count 24 --columns 12

say "Stopping the daemon"
stop
daemon=
cat <<END

Look at $out/preview.png, $out/grid.png and $out/curve.png. Next, with your own data:

    build/daemon/ambientd serve 'your/shards-{000000..000099}.tar' --size 64 --state-dir your-state
    build/clients/ctl/ambientctl annotate --model your-classifier.onnx --follow   # or: import annotations.jsonl
    build/clients/ctl/ambientctl status          # and: coverage, preview -o x.png, sample KEY, bench
    python clients/python/examples/five_lines.py # five lines of Python; pip install ./clients/python for good

Zip files as EDM's dataset_tool writes them and folders of pictures work the same. README.md goes on from here.
END
