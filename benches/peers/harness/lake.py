"""The dataset that is measured on, and trees of hard links to its shards, which cost nothing to make.

Every tool swaps shards by a rename, so the dataset itself never changes; that is checked.
"""

import csv
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

COLUMN = "distinct_id"
# A shard that changed just now is looked at again by efface each time: `index::changes`.
SETTLED_SECONDS = 2.1


@dataclass
class Shape:
    """Arguments of the generator."""

    shards: int
    rows_per_shard: int
    users: int
    row_groups: int = 10
    more: list[str] = field(default_factory=list)

    def arguments(self) -> list[str]:
        return [
            *("--shards", str(self.shards)),
            *("--rows-per-shard", str(self.rows_per_shard)),
            *("--users", str(self.users)),
            *("--row-groups", str(self.row_groups)),
            *self.more,
        ]


class Lake:
    """A dataset in a directory of its own, with the index of efface."""

    def __init__(self, directory: Path, efface: Path) -> None:
        self.directory = directory
        self.events = directory / "events"
        self.efface = efface
        self.shards = sorted(self.events.glob("*.parquet"))
        self.before = self.state()
        metadata = [pq.read_metadata(shard) for shard in self.shards]
        self.rows = sum(shard.num_rows for shard in metadata)
        self.row_group_rows = max(shard.row_group(0).num_rows for shard in metadata)
        self.bytes = sum(shard.stat().st_size for shard in self.shards)

    @classmethod
    def generate(cls, directory: Path, shape: Shape, repository: Path, efface: Path) -> "Lake":
        """The dataset of a shape; one that is there already is taken."""
        made = directory / "shape.json"
        if not made.exists() or json.loads(made.read_text()) != shape.arguments():
            shutil.rmtree(directory, ignore_errors=True)
            build = ["cargo", "build", "--quiet", "--release", "--workspace", "--bin", "events"]
            subprocess.run(build, cwd=repository, check=True)
            events = repository / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "events"
            subprocess.run([events, directory, *shape.arguments()], check=True, stdout=subprocess.DEVNULL)
            made.write_text(json.dumps(shape.arguments()))
        return cls(directory, efface)

    @classmethod
    def copy(cls, directory: Path, source: Path, efface: Path) -> "Lake":
        """A copy of what the generator wrote to `source`; one that is there already is taken."""
        made = directory / "copied"
        if not made.exists():
            shutil.rmtree(directory, ignore_errors=True)
            (directory / "events").mkdir(parents=True)
            for path in [*source.glob("ids*.csv"), *source.glob("events/*.parquet")]:
                shutil.copyfile(path, directory / path.relative_to(source))
            made.touch()
        return cls(directory, efface)

    def ids(self, count: int) -> Path:
        """A file of `count` ids, drawn evenly from those that occur; one alone has the median number of rows."""
        exact = self.directory / f"ids-{count}.csv"
        if not exact.exists():
            write_ids(exact, read_ids(self.directory / "ids-2000.csv")[:count])
        return exact

    def theirs(self, ids: Path) -> dict[Path, pa.Table]:
        """The rows of the ids, for each shard that has some: what pyarrow finds, to compare with."""
        wanted = pa.array(read_ids(ids))
        found = {}
        for shard in self.shards:
            table = pq.read_table(shard, filters=pc.field(COLUMN).isin(wanted))
            if table.num_rows > 0:
                found[shard] = table
        return found

    def state(self) -> list[tuple[int, int]]:
        return [(shard.stat().st_size, shard.stat().st_mtime_ns) for shard in self.shards]

    def index(self, tree: Path | None = None) -> None:
        """Makes the index of a tree fresh, so that no shard of it has to be looked at again."""
        time.sleep(SETTLED_SECONDS)
        command = [self.efface, "index", tree or self.events]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def tree(self, path: Path, with_index: bool = False) -> Path:
        """A directory with links to the shards, in place of what was there."""
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        for shard in self.shards:
            os.link(shard, path / shard.name)
        if with_index:
            shutil.copytree(self.events / "_efface", path / "_efface")
            self.index(path)
        return path

    def check_unchanged(self) -> None:
        """A tool that wrote into a shard instead of replacing it would spoil all that follows."""
        if self.state() != self.before:
            raise RuntimeError(f"{self.directory} was changed by what was measured on it: remove it")


def read_ids(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return [record[COLUMN] for record in csv.DictReader(file)]


def write_ids(path: Path, ids: list[str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[COLUMN], *([name] for name in ids)])
