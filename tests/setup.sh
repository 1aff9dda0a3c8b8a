#!/usr/bin/env bash
# setup.sh [--tests] [--torch] [--coverage]: install what is missing to build ambientd (and to test it); do nothing when all is there.
#
# Debian 12 or 13, as root or with sudo. Python packages go into a virtual environment below build/.
# Sourced or run; leaves the environment's Python at build/venv/bin/python.
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
want_tests=0 want_torch=0 want_coverage=0
for arg in "$@"; do
    case "$arg" in
    --tests) want_tests=1 ;;
    --torch) want_torch=1 ;;
    --coverage) want_coverage=1 ;;
    *) echo "setup.sh: unknown option '$arg'; known: --tests --torch --coverage" >&2; exit 2 ;;
    esac
done

packages="gcc libc6-dev meson ninja-build pkg-config python3 python3-venv
    libuv1-dev libwebp-dev libpng-dev libjpeg62-turbo-dev libcjson-dev libzstd-dev zlib1g-dev libxxhash-dev libmd-dev
    libseccomp-dev libcairo2-dev fonts-dejavu-core"
if [ "$want_tests" = 1 ]; then
    packages="$packages libcmocka-dev clang libclang-rt-dev libasan8 libubsan1 libtsan2 valgrind libc6-dbg
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user strace faketime systemd libarchive-tools"
fi

[ "$want_coverage" = 0 ] || packages="$packages clang llvm"

say() { printf 'setup: %s\n' "$*" >&2; }

missing_packages() {
    for package in $packages; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

install_packages() {
    local missing sudo=""
    if ! command -v dpkg-query >/dev/null; then
        say "this is no Debian: install by hand what stands in tests/setup.sh, then run the command again"
        return 0
    fi
    # the compiler runtime of clang is called after its release
    if [ "$want_tests" = 1 ] && ! apt-cache show libclang-rt-dev >/dev/null 2>&1; then
        packages=${packages/libclang-rt-dev/libclang-rt-14-dev}
    fi
    missing=$(missing_packages | tr '\n' ' ')
    [ -n "${missing// /}" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { say "missing: $missing- neither root nor sudo: ask an administrator"; exit 1; }
        sudo=sudo
    fi
    say "installing Debian packages: $missing"
    $sudo apt-get update -qq >/dev/null
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >"$root/build/apt.log" 2>&1 ||
        { tail -20 "$root/build/apt.log" >&2; say "apt-get failed; the whole log is build/apt.log"; exit 1; }
}

install_python() {
    local python="$root/build/venv/bin/python" wanted="numpy pillow onnxruntime" missing=""
    [ "$want_tests" = 0 ] || wanted="$wanted pytest onnx pyarrow"
    if [ ! -x "$python" ]; then
        say "creating the Python environment build/venv"
        python3 -m venv "$root/build/venv"
    fi
    for name in $wanted; do
        "$python" -c "import importlib.metadata as m; m.version('$name')" 2>/dev/null || missing="$missing $name"
    done
    if [ "$want_torch" = 1 ] && ! "$python" -c "import torch" 2>/dev/null; then
        missing="$missing torch==2.13.0"
    fi
    [ -n "$missing" ] || return 0
    say "installing Python packages into build/venv:$missing"
    # shellcheck disable=SC2086
    "$python" -m pip install -q --disable-pip-version-check $missing
}

# The oldest release that is allowed, for its library alone: whichever Python made the environment, any wheel will do.
install_oldest_runtime() {
    local target="$root/build/onnxruntime-1.19.2"
    [ ! -e "$target/onnxruntime/capi" ] || return 0
    say "installing ONNX Runtime 1.19.2 into build/onnxruntime-1.19.2"
    "$root/build/venv/bin/python" -m pip install -q --disable-pip-version-check --target "$target" --no-deps \
        --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 onnxruntime==1.19.2 ||
        say "onnxruntime 1.19.2 cannot be had: its tests are skipped"
}

mkdir -p "$root/build"
install_packages
install_python
[ "$want_tests" = 0 ] || install_oldest_runtime
