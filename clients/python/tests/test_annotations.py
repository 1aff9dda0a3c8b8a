"""Annotations as numpy columns and as Parquet."""
import dataclasses
import json
import math

import numpy as np
import pytest

import ambientd
from ambientd import annotations as columns
from ambientd import parquet


def table(total, **more):
    return {"total": total, "sigma_min": lambda i: math.inf if i % 5 == 4 else i / 8, "min_origin": lambda i: 3 * (i % 2),
            "lo": lambda i: math.nan if i % 2 == 0 else i / 16, "state": lambda i: i % 2, "label": lambda i: i - 1,
            "source": lambda i: i % 2, "model": lambda i: i % 2, "evaluations": lambda i: 2**32 - 1 - i, **more}


def test_columns_come_with_their_dtypes_and_values(daemon):
    daemon.table = table(10)
    got = ambientd.Client(daemon.path).annotations()
    assert len(got) == got.total == 10 and got.keys == [f"k{i}" for i in range(10)]
    assert {name: got[name].dtype for name in columns.COLUMNS} == columns._DTYPES
    assert got.sigma_min.tolist() == [math.inf if i % 5 == 4 else i / 8 for i in range(10)]
    assert np.isnan(got.lo).tolist() == [i % 2 == 0 for i in range(10)]
    assert got.evaluations[0] == 2**32 - 1 and got.label.tolist() == list(range(-1, 9))
    assert got.origins().tolist() == ["default", "classifier"] * 5 and set(got.origins("sigma_max")) == {"default"}
    assert got.states()[:2].tolist() == ["unknown", "annotated"] and got.source_names()[:2].tolist() == ["main", "web"]
    assert got.generation == {"number": 1, "fingerprint": "00" * 16} and got.models == ["ab" * 32]
    got.sigma_min[0] = 7  # the arrays are the caller's
    assert "10 samples, 5 set" in repr(got)


def test_more_samples_than_one_answer_carries_are_read_in_pages(daemon):
    daemon.table = table(columns.PAGE + 3)
    got = ambientd.Client(daemon.path).annotations(generation="11" * 16)
    assert (got.index == np.arange(columns.PAGE + 3)).all() and got.keys[-1] == f"k{columns.PAGE + 2}"
    assert (got.label == got.index - 1).all() and got.generation["fingerprint"] == "11" * 16


@pytest.mark.parametrize("start,count,expected", [
    (7, None, [7, 8, 9]), (2, 3, [2, 3, 4]), (8, 100, [8, 9]), (10, None, []), (50, 2, [])])
def test_a_part_of_the_samples_can_be_asked_for(daemon, start, count, expected):
    daemon.table = table(10)
    got = ambientd.Client(daemon.path).annotations(start=start, count=count)
    assert got.index.tolist() == expected == got.index.tolist() and len(got.keys) == len(expected)
    assert got.origins().tolist() == [["default", "classifier"][i % 2] for i in expected] and got.total == 10


def test_a_reload_between_pages_makes_all_be_read_anew(daemon):
    daemon.table = table(columns.PAGE + 5, then=table(columns.PAGE + 2))
    assert len(ambientd.Client(daemon.path).annotations()) == columns.PAGE + 2
    daemon.table = table(columns.PAGE + 5, dataset="aa" * 16, then=table(columns.PAGE + 5, dataset="bb" * 16, sigma_min=lambda i: 7.0))
    assert (ambientd.Client(daemon.path).annotations().sigma_min == 7).all()  # as many samples, but others
    sizes = [table(columns.PAGE + 1 + i % 2) for i in range(12)]
    for one, other in zip(sizes, sizes[1:]):
        one["then"] = other
    daemon.table = sizes[0]
    with pytest.raises(ambientd.BusyError, match="changed under each"):
        ambientd.Client(daemon.path).annotations()


def test_rows_are_taken_by_masks_slices_and_numbers(daemon):
    daemon.table = table(10)
    got = ambientd.Client(daemon.path).annotations()
    assert got[got.state == 1].keys == ["k1", "k3", "k5", "k7", "k9"]
    assert got[-2:].index.tolist() == [8, 9] and got[[3, 1]].keys == ["k3", "k1"]
    assert len(got[got.state == 3].origins()) == 0
    assert list(got.columns()) == ["keys", *columns.COLUMNS]
    with pytest.raises(KeyError, match="no column 'sigma'"):
        got["sigma"]
    with pytest.raises(IndexError):
        got[3]


def test_usable_is_the_rule_of_both_sides(daemon):
    daemon.table = table(3, sigma_min=lambda i: (0.5, 0.5, math.inf)[i], sigma_max=lambda i: (0, 0.2, math.inf)[i])
    got = ambientd.Client(daemon.path).annotations()
    assert got.usable(0.1).tolist() == [False, True, True]
    assert got.usable(0.5).tolist() == [False, False, True]  # strictly above
    assert got.usable(0.51).tolist() == [True, True, True]
    assert got.usable(0.51, buffer=1.1).tolist() == [False, False, True]


@pytest.mark.parametrize("broken,message", [
    ({"keys": ["one"]}, "entries for 1 keys"), ({"columns": {}}, "no column sigma_min"), ({"columns": 3}, "lacks"),
    ({"columns": {"sigma_min": {"dtype": "f33", "data": ""}}}, "dtype 'f33'"),
    ({"columns": {"sigma_min": {"dtype": "f32", "data": "AAA="}}}, "no base64 of f32"),
    ({"columns": {"sigma_min": {"dtype": "f32", "data": "A!"}}}, "no base64 of f32")])
def test_a_malformed_answer_is_a_protocol_error(daemon, broken, message):
    daemon.table, daemon.broken = table(4), broken
    with pytest.raises(ambientd.ProtocolError, match=message):
        ambientd.Client(daemon.path).annotations()


def test_an_origin_of_the_future_is_its_number(daemon):
    daemon.table = table(2, min_origin=lambda i: 6 + i)
    assert ambientd.Client(daemon.path).annotations().origins().tolist() == ["6", "7"]


# -- Parquet --------------------------------------------------------------------------------------------------


@pytest.fixture
def pq():
    return pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


def test_parquet_holds_what_the_page_promises(daemon, tmp_path, pq):
    daemon.table = table(10)
    client = ambientd.Client(daemon.path)
    path = tmp_path / "a.parquet"
    assert client.annotations_to_parquet(path) == 10
    got = pq.read_table(path)
    page = parquet.__doc__.split("Columns that are written")[1].split("The file's metadata")[0]
    promised = {name for line in page.splitlines() if line.startswith("    ")
                for name in line.split("  ")[2].split(", ")}
    assert set(got.schema.names) == promised
    row = got.slice(1, 1).to_pylist()[0]
    assert row == {"index": 1, "source": "web", "key": "k1", "label": 0, "sigma_min": 0.125, "sigma_max": 0.0,
                   "sigma_min_origin": "classifier", "sigma_max_origin": "default", "state": "annotated", "lo": 0.0625, "hi": 0.0,
                   "evaluations": 2**32 - 2, "model": "ab" * 32}
    row = got.slice(4, 1).to_pylist()[0]
    assert (row["sigma_min"], row["lo"], row["model"]) == (math.inf, None, None)
    assert got.slice(0, 1).to_pylist()[0]["label"] is None
    assert got.schema.metadata[b"ambientd.fingerprint"] == b"00" * 16
    assert [file.name for file in tmp_path.iterdir() if file.name not in ("s", "a.parquet")] == []
    assert daemon.orders == []


def test_parquet_goes_to_the_daemon_as_the_lines_that_were_set(daemon, tmp_path, pq):
    """What nobody set, samples 0, 2, 4, is set by nobody; of sample 3 only the side that was set goes along."""
    daemon.table = table(6, max_origin=lambda i: 4 * (i == 5), sigma_max=lambda i: math.inf * (i == 5))
    client = ambientd.Client(daemon.path)
    client.annotations_to_parquet(tmp_path / "a.parquet")
    answer = client.annotations_from_parquet(tmp_path / "a.parquet", dataset="main")
    assert [json.loads(line) for line in answer["lines"].splitlines()] == [
        {"key": "web/k1", "sigma_min": 0.125}, {"key": "web/k3", "sigma_min": 0.375},
        {"key": "web/k5", "sigma_min": 0.625, "sigma_max": "inf"}]
    assert answer["asked"]["dataset"] == "main"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.parquet", "s"]  # the lines are gone


def test_foreign_parquet_is_read_by_key_or_index(daemon, tmp_path, pq):
    import pyarrow
    path = tmp_path / "a.parquet"
    pq.write_table(pyarrow.table({"index": [4, 5, 6], "sigma_min": [0.5, None, math.nan], "more": ["x", "y", "z"]}), path)
    lines = ambientd.Client(daemon.path).annotations_from_parquet(path)["lines"]
    assert lines == '{"index": 4, "sigma_min": 0.5}\n'
    pq.write_table(pyarrow.table({"key": ["a", "ü"], "sigma_max": [0.25, math.inf]}), path)
    lines = ambientd.Client(daemon.path).annotations_from_parquet(path)["lines"]
    assert [json.loads(line) for line in lines.splitlines()] == [{"key": "a", "sigma_max": 0.25}, {"key": "ü", "sigma_max": "inf"}]


def test_parquet_that_does_not_fit_is_refused_and_leaves_nothing(daemon, tmp_path, pq):
    import pyarrow
    client, path = ambientd.Client(daemon.path), tmp_path / "a.parquet"
    for made, message in [(pyarrow.table({"key": ["a"], "s": [1.0]}), "has the columns key s; needed:"),
                          (pyarrow.table({"sigma_min": [1.0]}), "key or index"),
                          (pyarrow.table({"key": [None], "sigma_min": [1.0]}), "row 0 names no sample")]:
        pq.write_table(made, path)
        with pytest.raises(ambientd.FormatError, match=message):
            client.annotations_from_parquet(path)
    newer = pyarrow.table({"key": ["a"], "sigma_min": [1.0]}).replace_schema_metadata({"ambientd.format": "2"})
    pq.write_table(newer, path)
    with pytest.raises(ambientd.VersionError, match="ambientd.format 2"):
        client.annotations_from_parquet(path)
    path.write_bytes(b"PAR?")
    with pytest.raises(ambientd.FormatError, match="no Parquet file"):
        client.annotations_from_parquet(path)
    daemon.table = table(2)
    found = client.annotations()
    bad = dataclasses.replace(found, keys=["a", "b\ufffd"])
    with pytest.raises(ambientd.FormatError, match="no UTF-8"):
        parquet.write(bad, path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.parquet", "s"] and daemon.orders == []


def test_without_pyarrow_the_error_says_what_to_install(daemon, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    daemon.table = table(2)
    client = ambientd.Client(daemon.path)
    for action in (client.annotations_to_parquet, client.annotations_from_parquet):
        with pytest.raises(ambientd.UnsupportedError, match="pip install pyarrow"):
            action(tmp_path / "a.parquet")
