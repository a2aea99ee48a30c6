"""What a tool is asked to do, from the command line, and how a shard is replaced: the same for every tool.

usage: with_TOOL.py export|delete|start DATASET IDS OUT

`export` writes the rows of the ids to the one Parquet file OUT; `delete` rewrites just those shards of DATASET that
hold such rows; `start` does nothing: what the interpreter and the imports take.
"""

import csv
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

COLUMN = "distinct_id"
# As the dataset has them.
ZSTD_LEVEL = int(os.environ.get("PEERS_ZSTD_LEVEL", "1"))
ROW_GROUP_ROWS = int(os.environ.get("PEERS_ROW_GROUP_ROWS", "100000"))


@dataclass
class Task:
    """Paths, and the ids that are asked for."""

    dataset: Path
    ids_file: Path
    out: Path

    @property
    def shards(self) -> list[Path]:
        return sorted(self.dataset.glob("*.parquet"))

    @property
    def ids(self) -> list[str]:
        with self.ids_file.open(newline="") as file:
            return [record[COLUMN] for record in csv.DictReader(file)]


def sync(path: Path) -> None:
    """Makes a file or directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace(shard: Path, write: Callable[[Path], None]) -> None:
    """Swaps a shard for what `write` puts into another file, by one durable rename, as efface does."""
    new = shard.with_name(f".{shard.name}.new")
    write(new)
    sync(new)
    new.rename(shard)
    sync(shard.parent)


def main(export: Callable[[Task], None], delete: Callable[[Task], None]) -> None:
    """Runs the action that the command line names."""
    action, dataset, ids, out = sys.argv[1:]
    task = Task(Path(dataset), Path(ids), Path(out))
    if action == "export":
        export(task)
        sync(task.out)
    elif action == "delete":
        delete(task)
