#!/usr/bin/env python3
"""mutate.py [--seed N] [--random N] [--only NAME] [--list] [--keep]: do the tests notice a bug?

Plants bugs in a copy of the tree, one at a time: five by name (an fsync that is skipped, a checksum that is not compared, a
span that is off by one, a generation freed one fill early, a lease that a disconnect forgets), and N (default 10) where a
seeded choice turns a condition of the store, the guard, the sampler or the session around. For each the suites run from
the cheapest to the dearest until one of them fails, twice: once may be chance. Prints a table; exit status: the number of
bugs that none noticed. One of those may be none at all: a condition turned around that changes what is done, not what comes
of it.

  --seed N     of the choice; default 1
  --random N   how many are chosen so
  --only NAME  those whose name contains NAME
  --list       say which they are, run nothing
  --keep       leave the copy where it is, and say where

Some twenty minutes on two cores. A bug that does not compile is replaced by the next of the sequence.
"""
import argparse
import dataclasses
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMIT_S = 600  # of one suite: a bug that makes it hang is noticed too

# Where a chosen bug may lie: area, files.
AREAS = {
    "store": ["lib/annotate/store*.c"],
    "guard": ["lib/shard/guard.c", "lib/shard/map.c", "lib/shard/shard-read.c"],
    "sampler": ["lib/sampler/*.c"],
    "session": ["daemon/session.c", "daemon/stream.c", "daemon/link.c", "daemon/move.c"],
}
PYTEST = {
    "store": ["tests/test_annotate.py", "tests/test_kills.py"],
    "guard": ["tests/test_hot_reload.py", "tests/test_bad_input.py", "tests/test_determinism.py"],
    "sampler": ["tests/test_daemon_stream.py", "tests/test_statistics.py", "tests/test_determinism.py"],
    "session": ["tests/test_daemon_protocol.py", "tests/test_daemon_stream.py", "tests/test_reload.py", "tests/test_hostile.py",
                "tests/test_reconnect.py"],
}
UNITS = {"store": ["annotate"], "guard": ["shard", "base"], "sampler": ["sampler"], "session": ["daemon"]}


@dataclasses.dataclass
class Bug:
    name: str
    area: str
    path: str
    before: str
    after: str
    line: int = 0
    asan: bool = False  # shows as a wrong access: the programs are built with ASan for the integration tests


NAMED = [
    Bug("skip an fsync", "store", "lib/annotate/store-journal.c",
        "    int r = journal->io->fdatasync(journal->io->opaque, journal->fd);", "    int r = 0;"),
    Bug("drop the CRC check", "store", "lib/annotate/store-scan.c", "if (n < AMB_RECORD_HEADER_BYTES + payload_bytes || ambp_load_u32le(p + 4) != amb_record_crc(p, payload_bytes)) {",
        "if (n < AMB_RECORD_HEADER_BYTES + payload_bytes) {"),
    Bug("off by one in a span check", "guard", "lib/base/size.h", "return offset <= total && length <= total - offset;",
        "return offset <= total && length <= total - offset + 1;"),
    Bug("free a generation one fill early", "session", "daemon/stream.c", "    slot->target = ambd_target_ref(target);",
        "    slot->target = target;", asan=True),
    Bug("forget the lease on disconnect", "session", "daemon/stream.c",
        "    ambd_quota_release(&disposal->server->quota, disposal->uid, disposal->quota_bytes);\n", ""),
]


def chosen(rng):
    """An endless sequence of conditions turned around, the areas in turn."""
    conditions = []
    for area, patterns in AREAS.items():
        for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
            if path.name.startswith("test-"):
                continue
            for number, text in enumerate(path.read_text().splitlines(), 1):
                found = re.fullmatch(r"( *(?:\} else )?if \()(.*)(\) \{)", text)
                if found and found[2].count("(") == found[2].count(")"):
                    conditions.append((area, path.relative_to(ROOT), number, text, found))
    areas = list(AREAS)
    while True:
        for area in areas:
            _, path, number, text, found = rng.choice([c for c in conditions if c[0] == area])
            if " < " in found[2] and rng.random() < 0.5:
                after = found[1] + found[2].replace(" < ", " <= ", 1) + found[3]
            else:
                after = f"{found[1]}!({found[2]}){found[3]}"
            yield Bug(f"{found[2][:60]} -> {'<=' if '<=' in after and '<=' not in text else 'not'}", area, str(path), text, after, number)


class Copy:
    """A copy of the tracked files with builds of its own."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="mutate-"))
        names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        (self.root / "build").mkdir()
        for name in ("venv", "onnxruntime-1.19.2"):
            if (ROOT / "build" / name).exists():
                (self.root / "build" / name).symlink_to(ROOT / "build" / name)
        self.python = self.root / "build/venv/bin/python"
        self.env = {**os.environ, "PYTHONPATH": str(self.root / "clients/python"), "PYTHONDONTWRITEBYTECODE": "1",
                    "AMBIENTD_TEST_DATA": os.environ.get("AMBIENTD_TEST_DATA", str(ROOT.parent / "shared/data"))}

    def run(self, command, limit=LIMIT_S, env=()):
        """Exit status, or None where it took too long."""
        with open(self.root / "build/mutate.log", "wb") as log:
            process = subprocess.Popen(list(map(str, command)), cwd=self.root, env={**self.env, **dict(env)}, stdout=log,
                                       stderr=log, start_new_session=True)
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
                return None

    def log(self):
        return (self.root / "build/mutate.log").read_text(errors="replace")

    def build(self, name, *options):
        folder = self.root / "build" / name
        if not (folder / "build.ninja").exists():
            shutil.rmtree(folder, ignore_errors=True)
            if self.run(["meson", "setup", folder, "-Dtests=enabled", "-Dbenches=false", *options], 600) != 0:
                sys.exit(self.log())
        return self.run(["ninja", "-C", folder], 1200) == 0

    def plant(self, bug):
        """The bug's text in its place; False: it is not there once."""
        path = self.root / bug.path
        text = path.read_text()
        if bug.line:
            lines = text.split("\n")
            if lines[bug.line - 1] != bug.before:
                return False
            lines[bug.line - 1] = bug.after
            path.write_text("\n".join(lines))
            return True
        if text.count(bug.before) != 1:
            return False
        bug.line = text[:text.index(bug.before)].count("\n") + 1
        path.write_text(text.replace(bug.before, bug.after))
        return True

    def restore(self, bug):
        shutil.copyfile(ROOT / bug.path, self.root / bug.path)


def unit_failure(copy, status):
    if status is None:
        return "does not end"
    failed = re.findall(r"^\s*\d+/\d+ ambientd:(\S+ / \S+)\s+(?:FAIL|TIMEOUT|ERROR)", copy.log(), re.M)
    return ", ".join(failed[:3]) if status != 0 else ""


def pytest_failure(copy, status):
    if status is None:
        return "does not end"
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", copy.log(), re.M)
    return (failed[0] if failed else f"exit status {status}") if status != 0 else ""


def suites(copy, bug):
    """(what, how) from the cheapest to the dearest; how() says what failed, or nothing."""
    for suite in UNITS[bug.area]:
        yield f"unit tests of {suite}", lambda suite=suite: unit_failure(copy, copy.run(
            ["meson", "test", "-C", "build/plain", "--no-rebuild", "--suite", suite]))
    yield "all unit tests", lambda: unit_failure(copy, copy.run(["meson", "test", "-C", "build/plain", "--no-rebuild"]))
    name = "plain"
    if bug.asan:
        name = "asan"
        if not copy.build("asan", "-Db_sanitize=address,undefined", "-Dbuildtype=debugoptimized"):
            yield "building with ASan", lambda: "fails"
    build = copy.root / "build" / name
    env = {"AMBIENTD_BUILD": build, "AMBIENTD_BIN": build / "daemon/ambientd", "AMBIENTCTL_BIN": build / "clients/ctl/ambientctl",
           "ASAN_OPTIONS": "abort_on_error=1:allocator_may_return_null=1", "LSAN_OPTIONS": f"suppressions={copy.root}/tests/lsan.supp"}
    for path in PYTEST[bug.area]:
        if (copy.root / path).exists():
            yield f"{path}{' under ASan' if bug.asan else ''}", lambda path=path: pytest_failure(copy, copy.run(
                [copy.python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", path], env={k: str(v) for k, v in env.items()}))


def hunt(copy, bug):
    """What noticed the bug, "" for nothing, None if it does not compile."""
    if not copy.build("plain"):
        return None
    for what, how in suites(copy, bug):
        failed = how() and how()
        if failed:
            return f"{what}: {failed}"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", type=int, default=10)
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    sequence = chosen(random.Random(args.seed))
    copy = Copy()
    survivors, rows, n_chosen, pending = 0, [], 0, list(NAMED)
    try:
        if not args.list and not copy.build("plain"):
            sys.exit(copy.log())
        while pending or n_chosen < args.random:
            bug = pending.pop(0) if pending else next(sequence)
            is_chosen = bug not in NAMED
            if not copy.plant(bug):
                sys.exit(f"mutate: '{bug.name}' has no place: {bug.path} does not hold its text once; adjust it in {__file__}")
            began = time.monotonic()
            try:
                wanted = args.only in bug.name
                noticed = hunt(copy, bug) if wanted and not args.list else "-"
            finally:
                copy.restore(bug)
            if noticed is None and is_chosen:
                continue
            n_chosen += is_chosen
            if not wanted:
                continue
            survivors += not noticed
            rows.append(bug)
            print(f"{'-' if args.list else 'noticed' if noticed else 'SURVIVED':8}  {bug.name:60}  {bug.path}:{bug.line}  {time.monotonic() - began:4.0f} s  "
                  f"{noticed}", flush=True)
    finally:
        if args.keep:
            print(f"the copy lies in {copy.root}")
        else:
            shutil.rmtree(copy.root, ignore_errors=True)
    print(f"{len(rows)} bugs" + ("" if args.list else f", {survivors} survived"))
    return survivors


if __name__ == "__main__":
    sys.exit(main())
