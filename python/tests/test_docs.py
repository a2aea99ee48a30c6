"""The examples of the docstrings and of the README run."""

import doctest
import pathlib
import re

import efface
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def events(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events").mkdir()
    ids = ["ada", "bob", "ada", "cyd", "bob"]
    pq.write_table(pa.table({"distinct_id": ids, "n": range(5)}), "events/day-1.parquet")


def test_docstrings(events):
    done = doctest.testmod(efface)
    assert done.attempted > 0 and done.failed == 0


def test_readme(events):
    readme = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    exec(block, {})
    assert pq.read_table("events")["distinct_id"].to_pylist() == ["bob", "cyd", "bob"]
