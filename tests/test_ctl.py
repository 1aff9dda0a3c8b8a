"""ambientctl and libambient-client as a user meets them: every command, its help, its errors."""

import json
import os
import pathlib
import subprocess

import numpy
import pytest
from PIL import Image

import ambientd
import datasets

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("AMBIENTD_BUILD", ROOT / "build"))
CTL = os.environ.get("AMBIENTCTL_BIN", str(BUILD / "clients/ctl/ambientctl"))
COMMANDS = ["status", "ls", "sample", "coverage", "preview", "quarantine", "generations", "import", "bench", "state", "ping"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ctl")
    pattern = datasets.tar_set(folder / "shards", 60, bad=(7,))
    with ambientd.start(pattern, size=16, annotations=datasets.annotate(folder / "a.jsonl", 60)) as server:
        server.folder = folder
        yield server


AWKWARD = {1: "ключ-" + "я" * 60, 2: "x" + "ключ-" * 20, 3: "bad\udcff\udcfe", 4: "日本" * 40, 5: "y" * 39 + "é" + "z" * 60}


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """Keys that are long, in other scripts, and not UTF-8; job 1 has annotated these and kept their curves, and no others,
    which may be used at every noise level."""
    folder = tmp_path_factory.mktemp("annotated")
    rows = [datasets.sample(i, cls=b"1" if i in AWKWARD else b"0") for i in range(24)]
    datasets.write_tar(folder / "a.tar", [(AWKWARD.get(i, key), members) for i, (key, members) in enumerate(rows)])
    with ambientd.start(folder / "a.tar", size=16, state_dir=folder / "state", jobs_share=True) as server:
        ok(server, "annotate", "--model", "fake:edge", "--where", "label=1", "--curves", "--follow")
        server.folder = folder
        yield server


def ctl(server, *arguments, cwd=None):
    done = subprocess.run([CTL, *map(str, arguments), "--socket", server.address], capture_output=True, text=True, timeout=60, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("arguments", [["jobs"], ["jobs", "--json"]])
def test_a_closed_output_is_no_place_for_a_socket(server, arguments):
    """Its number is not taken by the connection, which would get what is printed."""
    command = " ".join([CTL, *arguments, "--socket", str(server.address)])
    done = subprocess.run(["bash", "-c", f"{command} >&-"], stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "ambientctl: cannot write standard output: Bad file descriptor\n")


def ok(server, *arguments):
    status, out, err = ctl(server, *arguments)
    assert status == 0, err
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_page(command):
    done = subprocess.run([CTL, command, "--help"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0
    for part in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS"):
        assert part in done.stdout


def test_overview_lists_every_command():
    done = subprocess.run([CTL, "--help"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0 and all(f"    {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("arguments, word", [
    (["statsu"], "'status'"),
    (["help", "nosuch"], "no command 'nosuch'; there are: status, ls, "),
    (["--help", "statsu"], "did you mean 'status'?"),
    (["bench", "--batch-sise", "3"], "--batch-size"),
    (["sample"], "KEY"),
    (["ls", "--count", "many"], "whole number"),
    (["preview", "--count", "0"], "1 to 96"),
    (["preview", "--columns", "4294967296"], "--columns is 4294967296, allowed: 1 to 96"),
    (["bench", "--batch-size", "4294967297"], "--batch-size is 4294967297, allowed: 1 to 4294967295"),
    (["bench", "--slots", "4294967297"], "--slots is 4294967297, allowed: 1 to 64"),
    (["bench", "--seconds", "0"], "--seconds is 0, allowed: 1 to"),
    (["bench", "--fields", ",".join(["index"] * 33)], "more than 32 names"),
    (["annotate", "-m", "fake:edge", "--part", "4294967297/2"], "--part is '4294967297/2', allowed: k/n"),
    (["annotate", "-m", "fake:edge", "--part", "-1/2"], "--part is '-1/2', allowed: k/n"),
    (["annotate", "-m", "fake:edge", "--where", "label=nan"], "allowed: a whole number"),
    (["annotate", "-m", "fake:edge", "--where", "sauce=web"], "--where has 'sauce=web', allowed: source=NAME"),
    (["annotate", "--crops", "8"], "--crops has '8', allowed: SIZE=MODEL,..."),
    (["annotate", "--crops", "8=fake:edge", "--crop-table", "8=inf"], "--crop-table has '8=inf', allowed: SIZE=SIGMA,..."),
    (["annotate", "-m", "fake:edge", "--crop-threshold", "0.3"], "--crop-threshold without --crops"),
    (["coverage", "--buffer", "nan"], "--buffer is 'nan', allowed: a finite number"),
    (["coverage", "--points", "18446744073709551616"], "allowed: a whole number below 2^64"),
    (["job", "pause", "+1"], "job '+1', expected its number"),
    (["sample", "#"], "'#' is no sample number"),
    (["sample", "#-1"], "'#-1' is no sample number"),
    (["sample", "#99999999999999999999"], "is no sample number"),
    (["annotations", "show", "#"], "'#' is no sample number"),
    (["annotations", "show", "#abc"], "'#abc' is no sample number"),
    (["ping", "-xj"], "unknown option '-x'"),
    (["ping", "-jx"], "unknown option '-x'"),
    (["ping", "-é"], "unknown option '-\\xc3'"),
    (["ping", "-jn"], "option '-n' needs a value"),
    (["ping", "--count"], "option '--count' needs a value"),
    (["ping", "--json=1"], "'--json=1' has a value"),
    (["ping", "extra"], "expected none"),
])
def test_wrong_arguments_exit_with_2(arguments, word):
    done = subprocess.run([CTL, *arguments], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and word in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["ping", "--help"], ["annotations"], ["ls"]])
def test_output_that_cannot_be_written_is_told(server, arguments):
    """ls prints more than a buffer: its first write fails before the end."""
    ask = {"AMBIENTD_SOCKET": server.address}
    with open("/dev/full", "w") as full:
        done = subprocess.run([CTL, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=os.environ | ask, timeout=10)
    assert done.returncode == (2 if arguments == ["annotations"] else 1)
    assert "cannot write standard output: No space left on device" in done.stderr


def test_no_daemon_is_said_with_what_to_do(tmp_path):
    done = subprocess.run([CTL, "ping", "--socket", str(tmp_path / "none.sock")], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "ambientd serve" in done.stderr


def test_empty_variable_names_no_socket(tmp_path):
    """The default is taken, as the Python client does: here that of an empty runtime folder."""
    env = os.environ | {"AMBIENTD_SOCKET": "", "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run([CTL, "ping"], capture_output=True, text=True, env=env, timeout=10)
    assert done.returncode == 1 and f"no daemon at {tmp_path}/ambientd/ambientd.sock:" in done.stderr


def test_status_names_what_there_is(server):
    out = ok(server, "status")
    assert "60 samples" in out and "import 60" in out and "nobody streams" in out
    assert json.loads(ok(server, "status", "--json"))["datasets"]["main"]["samples"] == 60


def test_dataset_that_there_is_not_is_refused_with_those_there_are(server):
    """status asks for all of them: it looks by itself."""
    for command in (["status"], ["status", "--json"], ["coverage"]):
        status, out, err = ctl(server, *command, "--dataset", "nosuch")
        assert (status, out, err) == (1, "", "ambientctl: no dataset 'nosuch'; there are: main\n")
    assert "dataset main" in ok(server, "status", "--dataset", "main")


def test_ls_and_sample(server):
    assert "000059" in ok(server, "ls", "--start", 59)
    assert "shard-000000.tar" in ok(server, "ls", "--what", "shards")
    out = ok(server, "sample", "000017")
    assert "number       17" in out and "sigma_min" in out and "(import)" in out
    assert "000017" in ok(server, "sample", "#17")
    status, _, err = ctl(server, "sample", "elephant")
    assert status == 1 and "elephant" in err


def test_numbers_that_the_daemon_refuses_reach_it_whole(annotated):
    for arguments, word in [(["--grid", "0.1:80:4294967300"], "n from 2 to 65536"), (["--trials", "0"], "'trials' is 0"), (["--span", "0"], "'span' is 0")]:
        status, _, err = ctl(annotated, "annotate", "--model", "fake:edge", "--dry-run", *arguments)
        assert status == 1 and word in err


def test_coverage_draws_bars(server):
    out = ok(server, "coverage", "--points", 8)
    assert out.count("%") == 8 and "█" in out


def test_preview_writes_a_picture(server, tmp_path):
    ok(server, "preview", "-o", tmp_path / "p.png", "--count", 6, "--columns", 3, "--process", "flow")
    image = Image.open(tmp_path / "p.png").convert("RGB")
    assert image.width > 400 and image.height > 600
    assert len(image.getcolors(1 << 24)) > 1000  # pictures, not a blank page


def test_pictures_name_samples_of_any_key(annotated, tmp_path):
    """Cut between characters, and what is no character replaced: cairo draws nothing of a text that is not UTF-8."""
    ok(annotated, "preview", "-o", tmp_path / "p.png", "--count", 96, "--policy", "uniform")
    assert "5 images written" in ok(annotated, "annotations", "grid", "-o", tmp_path / "g.png")
    for i in AWKWARD:
        ok(annotated, "annotations", "show", f"#{i}", "-o", tmp_path / f"{i}.png")
    assert all(Image.open(path).width > 400 for path in tmp_path.glob("*.png")) and len(list(tmp_path.iterdir())) == 7


@pytest.mark.parametrize("grid,figures", [
    ("0.004:25:64", ["0.01", "0.1", "1", "10"]), ("0.5:0.63:8", ["0.5", "0.6"]), ("0.11:0.19:8", ["0.11", "0.19"])])
def test_a_curve_has_figures_on_both_axes(annotated, tmp_path, grid, figures):
    """In the terminal, eighty columns wide, as text; in the picture any grid, the narrow and those without a round number."""
    ok(annotated, "annotate", "--model", "fake:edge", "--mode", "dense", "--trials", 1, "--grid", grid, "--where", "key=y*,annotated=any", "--curves", "-f")
    lines = ok(annotated, "annotations", "show", "#5").splitlines()[3:]
    assert "threshold 0.55" in lines[0] and max(map(len, lines)) <= 80
    assert [line.split("┤")[0].strip() for line in lines if "┤" in line] == ["1.00", "0.75", "0.50", "0.25", "0.00"]
    assert set(figures) <= set(lines[-1].split()) and "●" in "".join(lines)
    ok(annotated, "annotations", "show", "#5", "-o", tmp_path / "c.png")
    assert Image.open(tmp_path / "c.png").size == (1280, 860)


def test_a_grid_of_samples_without_pictures_says_why(tmp_path):
    """Latents: once a blank page, and so many images written."""
    for i in range(3):
        numpy.save(tmp_path / f"{i}.npy", numpy.random.default_rng(i).standard_normal((4, 8, 8), dtype=numpy.float32))
    with ambientd.start(tmp_path, state_dir=tmp_path.with_name("state")) as server:
        ok(server, "annotate", "--model", "fake:edge", "--mode", "dense", "--grid", "0.1:1:4", "-f")
        status, _, err = ctl(server, "annotations", "grid", "-o", tmp_path / "g.png")
        assert status == 1 and err == "ambientctl: none of 3 samples has a picture: the samples are latents, which are no pictures\n"


def test_picture_that_cannot_be_written_says_why(annotated):
    for command in (["preview", "--count", 2], ["annotations", "grid"], ["annotations", "show", "#1"]):
        status, _, err = ctl(annotated, *command, "-o", "/dev/full")
        assert status == 1 and err == "ambientctl: cannot write /dev/full: No space left on device\n"


def test_common_options_may_stand_before_the_command(server):
    for words in (["-s", server.address, "ls", "-n", 1], [f"--socket={server.address}", "-d", "main", "ls"],
                  ["-j", "-s", server.address, "sample", "--", "000003"], ["--json", "--socket", server.address, "annotations", "stats"]):
        done = subprocess.run([CTL, *map(str, words)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout, (words, done.stderr)
        assert ("-j" not in words and "--json" not in words) or json.loads(done.stdout.splitlines()[0])
    for words, status, message in ((["-s"], 2, "no command '-s'"), (["-s", "x"], 2, "COMMANDS"), (["-j", "lss"], 2, "did you mean 'ls'"),
                                   (["-s", "x", "help"], 0, "COMMANDS"), (["-j", "-h"], 0, "COMMANDS"), (["-s", "x", "--version"], 0, "ambientctl "),
                                   (["-s", "x", "annotate", "--model"], 2, "--model' needs a value"),
                                   (["-s", "x", "annotations"], 2, "ambientctl annotations"), (["-s", "x", "ls", "-s", "y"], 1, "y")):
        done = subprocess.run([CTL, *words], capture_output=True, text=True, timeout=60)
        assert (done.returncode, True) == (status, message in done.stdout + done.stderr), (words, done)


def test_quarantine_lists_and_exports(server, tmp_path):
    with ambientd.Loader(server.address, batch_size=60, fields=["index"], policy="sequential", schedule=None) as loader:
        list(loader)
    out = ok(server, "quarantine")
    assert "main/000007" in out and "1 samples in quarantine" in out
    ok(server, "quarantine", "--export", tmp_path / "exclude.txt")
    assert (tmp_path / "exclude.txt").read_text() == "main/000007\n"


def test_no_name_commands_the_terminal(tmp_path):
    """ESC, DEL and C1 of a key are shown as '?'; programs and files get it as it is."""
    key = "a\x1b[2J\x7f\x9bz"
    datasets.write_tar(tmp_path / "a.tar", [("good", datasets.sample(0)[1]), (key, {"png": b"no picture"})])
    with ambientd.start(tmp_path / "a.tar", size=16) as server:
        assert "a?[2J???z" in (out := ok(server, "ls")) and "\x1b" not in out
        assert key in ok(server, "ls", "--json").encode().decode("unicode_escape").encode("latin-1").decode()
        with ambientd.Loader(server.address, batch_size=2, fields=["index"], policy="sequential", schedule=None) as loader:
            list(loader)
        ok(server, "quarantine", "--export", tmp_path / "exclude.txt")
        assert (tmp_path / "exclude.txt").read_text() == f"main/{key}\n" and "a?[2J???z" in ok(server, "quarantine")
        status, _, err = ctl(server, "sample", "no" + key)
        assert status == 1 and "noa?[2J???z" in err


def test_import_mints_a_generation_that_streams_adopt(server, tmp_path):
    (tmp_path / "new.jsonl").write_text('{"key": "000001", "sigma_min": 2.5}\n')
    with ambientd.Loader(server.address, batch_size=8, fields=["index"]) as loader:
        batches = iter(loader)
        before = next(batches).state["annotations"]
        out = ok(server, "import", tmp_path / "new.jsonl")
        assert "1 lines, 1 matched by key" in out and "annotation generation 2 (" in out
        for batch in batches:
            if batch.state["annotations"] != before:
                break
            assert batch.step < 500
    assert "2.5" in ok(server, "sample", "000001")
    lines = ok(server, "generations").splitlines()
    assert lines[0].startswith("generation 1 ") and lines[0].endswith("current") and len(lines) >= 3
    assert lines[-1].startswith("  annotations 2 ") and lines[-1].endswith("current")


def test_bench_says_rate_and_stalls(server):
    out = ok(server, "bench", "--seconds", 1, "--batch-size", 16)
    assert "images/s" in out and "waited for the daemon" in out
    assert json.loads(ok(server, "bench", "--seconds", 1, "--json"))["images"] > 0


def test_state_says_whether_it_resumes(server, tmp_path):
    with ambientd.Loader(server.address, batch_size=8, steps=3) as loader:
        state = [batch.state for batch in loader][-1]
    (tmp_path / "s.json").write_text(json.dumps(state))
    out = ok(server, "state", tmp_path / "s.json")
    assert "step         3" in out and "can be resumed here" in out
    state["dataset"] = "0" * 32
    (tmp_path / "s.json").write_text(json.dumps(state))
    status, out, _ = ctl(server, "state", tmp_path / "s.json")
    assert status == 1 and "can be resumed here only if" in out
    for text, words in [("{}", "no stream state"), ("[" + " " * (1 << 20), "1048576 bytes or more")]:
        (tmp_path / "s.json").write_text(text)
        status, _, err = ctl(server, "state", tmp_path / "s.json")
        assert status == 1 and words in err
    assert f"cannot read {tmp_path}: Is a directory" in ctl(server, "state", tmp_path)[2]


JSON_COMMANDS = [
    ["status"], ["ls"], ["sample", "#1"], ["coverage", "--points", 3], ["quarantine", "--export", "exclude"], ["generations"], ["ping"],
    ["preview", "-n", 2, "-o", "preview.png"], ["reload", "--check"], ["import", "lines"], ["state", "state"], ["state", "state", "--offline"],
    ["jobs"], ["job", "follow", 1], ["annotate", "-m", "fake:edge", "--dry-run"],
    ["annotations", "stats"], ["annotations", "show", "#1"], ["annotations", "show", "#1", "-o", "curve.png"],
    ["annotations", "grid", "-o", "grid.png"], ["annotations", "export", "export.jsonl"], ["annotations", "verify"], ["annotations", "mint"],
]
JSON_FAILURES = [["state", "other"], ["annotate", "-m", "fake:nosuch", "--follow"], ["annotations", "show", "#0", "-o", "none.png"]]


@pytest.fixture(scope="module")
def folders(annotated):
    """One for text and one for JSON, with what the commands read."""
    with ambientd.Loader(annotated.address, batch_size=8, steps=1) as loader:
        state = next(iter(loader)).state
    for folder in (annotated.folder / "text", annotated.folder / "json"):
        folder.mkdir()
        (folder / "lines").write_text('{"key": "000020", "sigma_min": 2.5}\n')
        (folder / "state").write_text(json.dumps(state))
        (folder / "other").write_text(json.dumps(state | {"dataset": "0" * 32}))
    return annotated.folder / "text", annotated.folder / "json"


@pytest.mark.parametrize("arguments", JSON_COMMANDS + JSON_FAILURES, ids=lambda words: "-".join(map(str, words)))
def test_json_is_all_that_is_printed_and_changes_nothing_else(annotated, folders, arguments):
    """With --json: the same exit status, and the file that the last word names, if it is written."""
    text, in_json = (ctl(annotated, *arguments, *more, cwd=folder) for more, folder in zip(([], ["--json"]), folders))
    assert text[0] == in_json[0] == int(arguments in JSON_FAILURES), (text, in_json)
    assert all(json.loads(line) is not None for line in in_json[1].splitlines())
    assert in_json[1] or in_json[2]
    written = [(folder / str(arguments[-1])).exists() for folder in folders]
    assert written[0] == written[1]


def test_json_of_a_job_is_the_job_until_it_ends(annotated):
    status, out, _ = ctl(annotated, "annotate", "-m", "fake:nosuch", "--follow", "--json")
    jobs = [json.loads(line) for line in out.splitlines()]
    assert status == 1 and len({job["id"] for job in jobs}) == 1 and jobs[-1]["state"] == "failed"
    job = json.loads(ok(annotated, "job", "follow", 1, "--json"))
    assert (job["id"], job["state"]) == (1, "done")


def test_json_of_a_state_says_whether_it_resumes(annotated, folders):
    assert json.loads(ok(annotated, "state", folders[0] / "state", "--json"))["resumes"]
    said = json.loads(ctl(annotated, "state", folders[0] / "other", "--json")[1])
    assert said["known"] == {"dataset": False, "annotations": True} and not said["resumes"]
    assert said["state"] == json.loads((folders[0] / "other").read_text())


def test_ping(server):
    assert ok(server, "ping").count("answered in") == 3


def test_c_client_streams_the_same_batches(server):
    """The example trainer in C: twenty steps, and the power of the clean images as Python measures it on x0."""
    done = subprocess.run([BUILD / "clients/c/example-trainer", server.address, "5"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    keys = [line.rsplit(" ", 1)[1] for line in done.stdout.splitlines()]
    with ambientd.Loader(server.address, batch_size=64, fields=["key"], seed=1, steps=5) as loader:
        assert keys == [batch.key[0] for batch in loader]


def test_installed_client_builds_from_pkg_config(server, tmp_path):
    """meson install into an empty folder, then cc with pkg-config alone, as the example's comment says."""
    if os.environ.get("ASAN_OPTIONS") or os.environ.get("TSAN_OPTIONS"):
        pytest.skip("a sanitized library needs a sanitized program")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", tmp_path], check=True, capture_output=True)
    pc = next(tmp_path.rglob("ambient-client.pc"))
    env = os.environ | {"PKG_CONFIG_PATH": str(pc.parent), "PKG_CONFIG_SYSROOT_DIR": str(tmp_path)}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "ambient-client"], check=True, capture_output=True, text=True, env=env).stdout.split()
    subprocess.run(["cc", ROOT / "clients/c/example-trainer.c", *flags, "-o", tmp_path / "trainer"], check=True)
    library = next(tmp_path.rglob("libambient-client.so")).parent
    done = subprocess.run([tmp_path / "trainer", server.address, "2"], env=os.environ | {"LD_LIBRARY_PATH": str(library)}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stdout.count("step") == 2
