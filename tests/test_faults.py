"""Suites R7, R8 and R9 on the running daemon: calls that fail, memory that is out, disks that are full. -s prints the figures;
AMBIENTD_SOAK=1 takes a night's sizes. Inside one process: lib/annotate/test-store-crash.c, tests/fault/test-hunger.c."""

import collections
import concurrent.futures
import contextlib
import itertools
import json
import os
import random
import resource
import shutil
import subprocess

import pytest

import datasets
import wire
from conftest import Daemon, Died
from fault import hunger, life, tamper
from hostile import size

pytestmark = pytest.mark.slow  # kills no address: strace and sanitizers do not go together
SEED = int(os.environ.get("AMBIENTD_FAULT_SEED", "1"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return life.World(tmp_path_factory.mktemp("world"))


def ends_in_order(died):
    """Before it served: an exit status that --help has, and why."""
    assert died.daemon.process.returncode == 1 and "ambientd: " in died.daemon.log(), str(died)


def test_a_start_with_few_descriptors_ends_with_a_message(tmp_path, shards):
    """Every number of them from what the loader needs to what is enough to serve, and none of the two ends the process by a signal."""
    for n in range(4, 200):
        try:
            one = Daemon(tmp_path / str(n), shards, "--workers", 1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)))
        except Died as died:
            if "loading shared libraries" not in str(died):
                ends_in_order(died)
            continue
        with one.client() as client:
            client.call(wire.STATUS, {})
        assert one.stop() == 0
        break
    print(f"\n{n} descriptors are enough")


# -- R7 ----------------------------------------------------------------------------------------------------------------


def tampered(world, i, call, error, n, at_once, arguments):
    """A life with a fault: its figures, or None where nothing was injected, or what no kernel does."""
    trace = world.folder / f"trace{i}"
    what = f"retval={error}" if error.isdigit() else f"error={error}"
    name = f"fault{i}"
    try:
        got = life.Life(world, name, *arguments, **tamper.traced(trace, [call], f"{call}:{what}:when={n}", at_once))
    except life.Wrong as wrong:
        got = wrong
    calls, ends = tamper.read(trace)
    injected = [c for c in calls if c.error is not None]
    if not injected or any(c.error not in c.possible for c in injected):
        return None
    log = (world.folder / name / "log").read_text(errors="replace")
    if not isinstance(got, life.Wrong) and set(ends) - {"SIGKILL"} and any(c.name != "exe" for c in injected):  # not yet in main: the loader
        got = life.Wrong(f"ended by {ends}")
    if isinstance(got, life.Wrong):
        return f"{call} {n} {error} {' '.join(arguments)}: {got}\n  {injected}\n{log}", injected, None
    shutil.rmtree(world.folder / name)
    trace.unlink()
    return None, injected, got


def test_a_failed_call_of_the_system_is_a_typed_error_or_an_end_in_order(world):
    """A life for each point (call, number of it in its thread, errno), drawn from what a life without faults calls, by a seed;
    every call in turn. A point counts where strace says that it was injected, and only into calls that can answer so."""
    if shutil.which("strace") is None or subprocess.run(["strace", "-qqo", "/dev/null", "true"], check=False).returncode != 0:
        pytest.skip("strace cannot trace here")
    loaded = tamper.loads(world.folder / "loader")
    choices = ([], ["--no-sandbox"])
    places = []
    for i, arguments in enumerate(choices):
        life.Life(world, f"plain{i}", *arguments, **tamper.traced(world.folder / f"plain{i}.trace", tamper.ERRORS))
        places.append(tamper.places(tamper.read(world.folder / f"plain{i}.trace")[0]))
    rng, wanted = random.Random(SEED), size(200, 4000)
    n, kinds, ends, errors, wrong = 0, collections.Counter(), collections.Counter(), collections.Counter(), []

    def draw(i):
        """First a socket that is full for a moment, at each frame; then every second point the calls in turn, the others from all
        that is called; three of four with decoders of their own."""
        if i < 8:
            return i, "sendmsg", "EAGAIN", i + 1, True, choices[0]
        sandboxed = rng.random() < 0.75
        found = places[0 if sandboxed else 1]
        every = [(call, at) for call in sorted(found) for at in sorted(found[call])]
        turn = sorted(found)[i // 2 % len(found)]
        call, at = rng.choice([place for place in every if i % 2 == 1 or place[0] == turn])
        return i, call, rng.choice(sorted(found[call][at])), at, call not in loaded, choices[0 if sandboxed else 1]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        numbers = itertools.count()
        while n < wanted and len(wrong) < 10:
            batch = [draw(next(numbers)) for _ in range(min(wanted - n, 32))]
            for point, outcome in zip(batch, pool.map(lambda point: tampered(world, *point), batch), strict=True):
                if outcome is None:
                    continue
                n += 1
                failure, injected, got = outcome
                decoders = sum(c.name in ("exe", "ambientd-decode") for c in injected)
                kinds[point[1], "decoder" if decoders == len(injected) else "both" if decoders else "daemon"] += 1
                if failure:
                    wrong.append(failure)
                else:
                    ends[got.ended] += 1
                    errors.update(got.errors)
            assert point[0] < 4 * wanted + 200, f"only {n} of {point[0]} faults were injected"
    print(f"\nR7: {n} points of seed {SEED} ({point[0] + 1 - n} drawn in vain): {len(wrong)} wrong; {ends[None]} served on, "
          f"ended with {dict((k, v) for k, v in ends.items() if k is not None)}; answers {dict(errors.most_common())}")
    print("  " + ", ".join(f"{call} {'/'.join(str(kinds[call, who]) for who in ('daemon', 'decoder', 'both'))}"
                           for call in tamper.ERRORS), "(in the daemon/in a decoder/in both)")
    assert not wrong, "\n".join(wrong)
    assert not [call for call in tamper.ERRORS if not any(kinds[call, who] for who in ("daemon", "decoder", "both"))]


# -- R8 ----------------------------------------------------------------------------------------------------------------


def fed(world, one):
    """It serves as any other does."""
    world.stream(one, 2, world.compare)
    with one.client() as client:
        assert world.export(client, one.log_path.parent / "rows") == world.rows["old"]


def test_a_start_without_memory_ends_with_a_message_or_serves(world, tmp_path):
    """The n-th allocation of the process fails, libuv's, cJSON's and the C library's too, once or from then on, for n = 1, 2, ... to
    the end of the start: exit status 1 and a message, or a daemon with the same batches and annotations as any other."""
    ended, served, step = collections.Counter(), collections.Counter(), size(4, 1)
    with hunger.Hunger(tmp_path / "hunger") as hungry:
        for for_ever in (False, True):
            for n in itertools.count(1 + for_ever * step // 2, step):
                for old in ("state", "one"):
                    shutil.rmtree(tmp_path / old, ignore_errors=True)
                shutil.copytree(world.state, tmp_path / "state")
                hungry.begin(n, for_ever)
                try:
                    with world.serve(tmp_path / "one", tmp_path / "state", env=hungry.env) as one:
                        n_failed = hungry.end()
                        fed(world, one)
                        if n_failed == 0:
                            break
                        served[for_ever] += 1
                except Died as died:
                    hungry.end()
                    ends_in_order(died)
                    ended[for_ever] += 1
    print(f"\nR8, starts: {sum(ended.values()) + sum(served.values())} points; failing once {ended[False]} ended and {served[False]} served, "
          f"failing for ever {ended[True]} and {served[True]}")
    assert ended[False] > 10 and ended[True] > 10


def shape(value):
    """Keys and kinds of a JSON value: the same in every answer to one question."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else None


QUESTIONS = [
    (wire.STATUS, {}), (wire.LIST, {"what": "samples", "count": 20}), (wire.LIST, {"what": "shards"}), (wire.SAMPLE, {"key": "main/000007"}),
    (wire.COVERAGE, {"points": 5}), (wire.QUARANTINE, {}), (wire.GENERATIONS, {}), (wire.ANNOTATIONS, {}), (wire.CURVE, {"index": 7}),
    (wire.STATS, {}), (wire.PICTURES, {"index": [1, 70]}), (wire.JOBS, {}), (wire.VERIFY, {}), (wire.RELOAD, {}),
    (wire.RELOAD, {"check": True}), (wire.MINT, {}),
]


def test_a_daemon_that_serves_survives_what_memory_it_cannot_get(world, tmp_path):
    """In a daemon that serves, the n-th allocation fails, once or until the answer is there, for n = 1, 2, ... until the answer needs
    no more. A stream has its bytes, an import is kept, an answer is whole, or there is a typed error, or the daemon hangs up; then
    it serves on. What was acknowledged is there at once and, at the end, over a new start."""
    errors, points, came_off = collections.Counter(), collections.Counter(), 0
    shutil.copytree(world.state, tmp_path / "state")
    with hunger.Hunger(tmp_path / "hunger") as hungry, world.serve(tmp_path / "one", tmp_path / "state", env=hungry.env) as one:

        def asks(question, whole):
            answer = life.ask(one, *question)
            assert shape(answer) == whole, f"{question}: {answer}"

        def streams():
            world.stream(one, 2, world.compare)

        def imports():
            life.ask(one, wire.IMPORT, {"path": world.files["new"]})

        def exports():
            life.ask(one, wire.EXPORT, {"path": str(tmp_path / "rows")})

        def settle(acked):
            """Behind an import: its rows, or each as it was or was to be; then the old ones again."""
            with one.client() as client:
                found = world.export(client, tmp_path / "found")
                assert all(row in (new,) if acked else row in (new, old)
                           for row, new, old in zip(found, world.rows["new"], world.rows["old"], strict=True))
                client.call(wire.IMPORT, {"path": world.files["old"]})
                assert world.export(client, tmp_path / "found") == world.rows["old"]

        steps = [(asks, question) for question in QUESTIONS] + [(streams,), (imports,), (exports,)]
        for for_ever, (step, *question), _ in itertools.product((False, True), steps, range(size(1, 20))):
            arguments = [*question, *(shape(life.ask(one, *q)) for q in question)]
            for n in itertools.count(1):
                hungry.begin(n, for_ever)
                done = life.attempt(one, errors, step, *arguments)
                n_failed = hungry.end()
                if step == imports:
                    settle(done)
                if n_failed == 0:
                    assert done, f"{step.__name__} {question} behind {n - 1} failed allocations: {dict(errors)}"
                    break
                came_off += done
                points[step.__name__, for_ever] += 1
    with world.serve(tmp_path / "two", tmp_path / "state") as one:
        fed(world, one)
    print(f"\nR8, a daemon that serves: {sum(points.values())} points, {came_off} of them answered all the same; {dict(errors.most_common())}; "
          f"{ {f'{name}{chr(42) * for_ever}': n for (name, for_ever), n in points.items()} } (*: for ever)")
    assert len(points) == 8 and set(errors) == {"ENOMEM", "closed"}


# -- R9 ----------------------------------------------------------------------------------------------------------------


class Disk:
    """A file system in memory, of so many bytes, that only annotations are kept on."""

    def __init__(self, path, n_bytes):
        self.path, self.ballast = path, path / "ballast"
        path.mkdir()
        self.mount(n_bytes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.path], check=True)  # of a test that failed a daemon may still hold files
        self.path.rmdir()

    def mount(self, n_bytes, options=""):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={n_bytes}{options}", "tmpfs", self.path], capture_output=True, text=True)
        if done.returncode != 0:
            self.path.rmdir()
            pytest.skip(f"no tmpfs can be mounted: {done.stderr.strip()}")

    def fill(self, left):
        """All but `left` bytes are taken by something else."""
        free = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize
        self.ballast.write_bytes(bytes(max(0, free - left)))


def test_a_full_disk_costs_annotations_that_are_refused_and_nothing_else(world, tmp_path):
    """Disks of 64 KiB to 4 MiB are filled by imports, or almost by something else and then by imports. Every import is kept or
    refused with ENOSPC; a batch comes behind each of them; there is room again, and imports go on; and whether the daemon is
    stopped or killed, the next one has what was acknowledged last."""
    n_disks, n_kept, n_refused, n_batches = size(50, 500), 0, 0, 0
    rng = random.Random(SEED)
    for i in range(n_disks):
        with Disk(tmp_path / "disk", 65536 + (4194304 - 65536) * i // (n_disks - 1) // 4096 * 4096) as disk:
            kept = None
            with contextlib.ExitStack() as stack:
                one = stack.enter_context(world.serve(tmp_path / f"{i}", disk.path / "state"))
                client = stack.enter_context(one.client(timeout=life.PATIENCE))
                owner = stack.enter_context(one.client(timeout=life.PATIENCE))
                got = client.subscribe(batch_size=8, fields=["index"], slots=2)

                def imports(name):
                    """Whether it was kept; and a batch."""
                    nonlocal kept, n_kept, n_refused, n_batches
                    errors = collections.Counter()
                    done = life.attempt(one, errors, owner.call, wire.IMPORT, {"path": world.files[name]})
                    assert done or set(errors) == {"ENOSPC"}, errors
                    kept = name if done else kept
                    n_kept, n_refused = n_kept + done, n_refused + (not done)
                    got.done(got.next())
                    n_batches += 1
                    assert done or kept is None or world.export(owner, tmp_path / "rows") == world.rows[kept]
                    return done

                imports("old")
                if i * 10 >= n_disks:  # the smaller ones are full of imports alone
                    disk.fill(rng.randrange(32768))
                n_in_row = 0
                for name in itertools.cycle(("new", "old")):
                    n_in_row = 0 if imports(name) else n_in_row + 1
                    if n_in_row == 4:
                        break
                disk.ballast.unlink(missing_ok=True)
                disk.mount(16 << 20, ",remount")
                assert imports("new") and imports("old") and imports("new" if i % 3 else "old")
                if i % 2 == 0:
                    one.process.kill()
                    one.process.wait()
                    stack.pop_all()
            with world.serve(tmp_path / f"{i}", disk.path / "state") as one, one.client() as client:
                assert world.export(client, tmp_path / "rows") == world.rows[kept]
            shutil.rmtree(tmp_path / f"{i}")
    print(f"\nR9: {n_disks} disks: {n_kept} imports kept, {n_refused} refused, {n_batches} batches meanwhile")
    assert n_refused >= 4 * n_disks


def test_a_large_import_is_kept_whole_or_not_at_all(daemon, tmp_path):
    """2,000 rows in place of others, on a disk with room for some of them: refused, and none of them is seen, neither at once,
    nor with the next import, nor after a restart."""
    n = 2000
    png = datasets.encode(datasets.picture(1, 8))
    shards = datasets.write_tar(tmp_path / "a.tar", [(f"{i:06d}", {"png": png}) for i in range(n)])

    def lines(name, rows):
        (tmp_path / name).write_text("".join(json.dumps({"filename": f"{i:06d}", "sigma_min": value}) + "\n" for i, value in rows))
        return {"path": str(tmp_path / name)}

    def values(client):
        client.call(wire.EXPORT, {"path": str(tmp_path / "rows")})
        return {row["sigma_min"] for row in map(json.loads, open(tmp_path / "rows"))}

    with Disk(tmp_path / "disk", 4 << 20) as disk:
        one = daemon(shards, "--state-dir", disk.path / "state", "--size", 8)
        with one.client() as client:
            client.call(wire.IMPORT, lines("old", [(i, 0.5) for i in range(n)]))
            assert values(client) == {0.5}
            disk.fill(0)
            while True:  # the journal has taken room ahead
                try:
                    client.call(wire.IMPORT, lines("same", [(i, 0.5) for i in range(100)]))
                except wire.Refused as refused:
                    assert refused.code == "ENOSPC"
                    break
            with open(disk.ballast, "r+b") as ballast:  # for some 700 rows, and for what else an import writes
                ballast.truncate(disk.ballast.stat().st_size - (40 << 10))
            with pytest.raises(wire.Refused) as refused:
                client.call(wire.IMPORT, lines("new", [(i, 1.5) for i in range(n)]))
            assert refused.value.code == "ENOSPC" and values(client) == {0.5}
            disk.ballast.unlink()
            disk.mount(16 << 20, ",remount")
            client.call(wire.IMPORT, lines("one", [(7, 0.25)]))
            assert values(client) == {0.5, 0.25}
        one.process.kill()
        one.process.wait()
        one = daemon(shards, "--state-dir", disk.path / "state", "--size", 8)
        with one.client() as client:
            assert values(client) == {0.5, 0.25}
        assert one.stop() == 0


def test_a_generation_that_was_not_recorded_cuts_no_way_back(daemon, tmp_path):
    """The disk is full when a reload brings other annotations: they are served, but not recorded. With room again the next
    ones are, and a state of the first is drawn as before, in this life and in the next."""
    shards = datasets.tar_set(tmp_path / "tars", 40, per_shard=20)
    lines = tmp_path / "a.jsonl"

    def write(value, more=()):
        (tmp_path / "tmp").write_text("".join(json.dumps({"filename": f"{i:06d}", "sigma_min": value}) + "\n" for i in (*range(0, 40, 2), *more)))
        (tmp_path / "tmp").rename(lines)

    def draw(one, **options):
        with one.client() as client:
            return [(lend.state, batch["x_t"].tobytes()) for lend, batch in
                    client.subscribe(batch_size=8, fields=["x_t"], slots=2, follow=False, options={"seed": 5}, **options).take(4)]

    write(0.5)
    with Disk(tmp_path / "disk", 1 << 20) as disk:
        arguments = (shards, "--annotations", lines, "--state-dir", disk.path / "state", "--size", 8)
        one = daemon(*arguments)
        first = draw(one)
        disk.fill(0)
        write(0.75)
        with one.client() as client:
            for i in itertools.count():  # the journal has taken room ahead
                client.call(wire.RELOAD, {})
                if "store.unrecorded" in one.log():
                    break
                write(0.75 + i / 64, [2 * i % 40 + 1])  # a sample that only this one sets
            disk.ballast.unlink()
            disk.mount(16 << 20, ",remount")
            write(0.25)
            client.call(wire.RELOAD, {})
        for life_is_last in (False, True):
            assert draw(one, state=first[0][0]) == first[1:] + draw(one, state=first[3][0])[:1]
            assert one.stop() == 0
            one = one if life_is_last else daemon(*arguments)
