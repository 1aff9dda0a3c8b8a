"""One life of a daemon, judged at each step: batches, an import, a reload, a mint, an export, the end, and the start behind it.

Whatever fails meanwhile: an answer is right or a typed error, a batch has the bytes that it has without faults, the daemon ends
by itself only as it documents, and a start without faults behind it finds what was acknowledged.
"""

import collections
import contextlib
import hashlib
import json
import re
import shutil
import subprocess

import datasets
import wire
from conftest import Daemon, Died

FIELDS = ["x_t", "sigma_t", "label", "index"]
PATIENCE = 30.0  # seconds for an answer or an end; most take a hundredth of a second
ENDS = {1, 2, 3}  # exit codes of an end that nobody asked for: ambientd --help
CODES = re.compile("format|version|checksum|limit|changed|unsupported|config|gap|state|duplicate|exhausted|protocol|denied|quota|"
                   "not-found|busy|E[A-Z0-9]+")  # proto/README.md "Errors"


class Wrong(AssertionError):
    """The daemon did what it must not."""


def annotate(path, seed):
    """Both sides of each sample, so that a later file takes back all that an earlier one said."""
    lines = [json.loads(line) for line in open(datasets.annotate(path, 60, seed))]
    path.write_text("".join(json.dumps({"sigma_max": 0.0} | line) + "\n" for line in lines))
    return str(path)


class World:
    """Shards of every container, two files of annotations, and what a daemon without faults makes of them."""

    def __init__(self, folder):
        self.folder, self.n_lives = folder, 0
        self.shards = [datasets.tar_set(folder / "tars", 60, per_shard=30), "--source", folder / "z.zip", "--source", folder / "tree"]
        datasets.zip_set(folder / "z.zip", 20, deflated=True)
        datasets.folder_set(folder / "tree", 20)
        self.files = {name: annotate(folder / f"{name}.jsonl", seed) for seed, name in enumerate(("old", "new"))}
        self.batches, self.rows = {}, {}  # (fingerprint of annotations, step): digest; of each file
        self.state = folder / "state"  # that each life begins with: "old" is imported
        for name in ("old", "new"):
            with self.serve(folder / "clean", self.state) as one, one.client() as client:
                client.call(wire.IMPORT, {"path": self.files[name]})
                self.rows[name] = self.export(client, folder / "rows")
                self.stream(one, 8, self.batches.__setitem__)
            if name == "old":
                shutil.copytree(self.state, folder / "kept")
        shutil.rmtree(self.state)
        (folder / "kept").rename(self.state)

    @contextlib.contextmanager
    def serve(self, folder, state, *arguments, **options):
        """A daemon; at the end of the block it must stop as asked."""
        one = Daemon(folder, *self.shards, "--state-dir", state, "--workers", 2, *arguments, **options)
        try:
            yield one
            if end(one) != 0:
                raise Wrong(f"exit {one.process.returncode} where asked to stop")
        finally:
            one.process.kill()
            one.process.wait()

    def export(self, client, path):
        client.call(wire.EXPORT, {"path": str(path)})
        return path.read_text().splitlines()

    def stream(self, one, n, see):
        """n batches; see((annotations, step), digest) of those in which no sample was replaced."""
        with one.client(timeout=PATIENCE) as client:
            got = client.subscribe(batch_size=8, fields=FIELDS, slots=2, follow=False, options={"seed": 7})
            if got.reply["entries_per_pass"] != 100:
                raise Wrong(f"serves {got.reply['entries_per_pass']} of 100 samples")
            for _ in range(n):
                lend = got.next()
                if lend is None:
                    raise wire.Refused(got.end["error"])
                digest = hashlib.sha256(b"".join(array.tobytes() for array in got.batch(lend).values())).hexdigest()
                if lend.n_replaced == 0:
                    see((lend.state["annotations"], lend.step), digest)
                got.done(lend)

    def compare(self, key, digest):
        if self.batches.get(key, digest) != digest:  # of a half-made import no batch is known
            raise Wrong(f"step {key[1]} has other bytes")


def ask(one, type, body):
    with one.client(timeout=PATIENCE) as client:
        return client.call(type, body)


def end(one):
    one.process.terminate()
    try:
        return one.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise Wrong("does not stop") from None


def attempt(one, errors, step, *arguments):
    """Whether it came off. If not: a typed error, counted in errors, or the daemon hung up or is gone ("closed")."""
    try:
        step(*arguments)
        return True
    except wire.Refused as refused:
        if not CODES.fullmatch(refused.code) or not refused.error["message"]:
            raise Wrong(f"an error without a type: {refused.error}") from None
        errors[refused.code] += 1
    except TimeoutError:
        if one.process.poll() is None:
            raise Wrong(f"no answer: {step} {arguments}") from None
    except (wire.Closed, ConnectionError, FileNotFoundError):
        errors["closed"] += 1
    return False


class Life:
    """What became of a daemon: `errors` {code: n}, `acked` of the import, `ended` the exit code where it ended by itself."""

    def __init__(self, world, name, *arguments, **options):
        self.world, self.folder = world, world.folder / name
        self.errors, self.acked, self.ended = collections.Counter(), False, None
        state = self.folder / "state"
        shutil.copytree(world.state, state)
        try:
            with world.serve(self.folder, state, *arguments, **options) as one:
                self.log_path = one.log_path
                self.live(one)
        except Died as died:
            self.log_path = died.daemon.log_path
            self.judge_end(died.daemon)
        self.judge_rest(state)

    def live(self, one):
        def does(step, *arguments):
            return attempt(one, self.errors, step, *arguments)

        def imports():
            self.acked = ask(one, wire.IMPORT, {"path": self.world.files["new"]})["matched"] == 60  # else it found the file cut

        does(self.world.stream, one, 4, self.world.compare)
        does(imports)
        does(ask, one, wire.RELOAD, {})
        does(ask, one, wire.MINT, {})
        does(ask, one, wire.EXPORT, {"path": str(self.folder / "rows")})
        does(ask, one, wire.STATUS, {})
        served = any(does(self.world.stream, one, 2, self.world.compare) for _ in range(8))  # the fault may come in each thread once
        try:
            one.process.wait(0 if served else 1)  # a fault may end it between two answers
        except subprocess.TimeoutExpired:
            if not served:
                raise Wrong(f"lives and serves nobody: {dict(self.errors)}") from None
            return
        raise Died(one)

    def judge_end(self, one):
        self.ended = one.process.returncode
        if self.ended not in ENDS or "ambientd: " not in one.log():
            raise Wrong(f"exit {self.ended}: {one.log()[-400:]}")

    def judge_rest(self, state):
        """A start without faults: what was acknowledged, and else each sample as it was or as it was to be."""
        with self.world.serve(self.folder, state) as one:
            with one.client() as client:
                found = self.world.export(client, self.folder / "found")
            self.world.stream(one, 4, self.world.compare)
        allowed = zip(*(self.world.rows[name] for name in (("new",) if self.acked else ("old", "new"))), strict=True)
        lost = [row for row, good in zip(found, allowed, strict=True) if row not in good]
        if lost:
            raise Wrong(f"{len(lost)} samples are not what they were {'acknowledged' if self.acked else 'or were to be'}: {lost[0]}")
