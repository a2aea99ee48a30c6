"""Many small shards, the same bytes for the same arguments and versions, and fresh copies of them.

Each run gets a copy of its own, not links: a tool that looks at link counts must see what it would see in use.
"""

import csv
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

COLUMN = "distinct_id"
USERS = 5_000
IDS = 200
# With these a shard has about 40 KB and rows of some 40 of the ids.
SHARD_ROWS = 1_200
# So many shards have no row of any of the ids: one in 50.
FREE_EVERY = 50
ZSTD_LEVEL = 1
START_MS = 1_767_225_600_000
# A shard that changed just now is looked at again by efface each time.
SETTLED_SECONDS = 2.1
CHECKED_WHOLE = 40

EVENTS = ["page view", "sign up", "add to cart", "purchase", "search", "share", "log out"]
BROWSERS = ["Chrome", "Firefox", "Safari", "Edge", None]
SYSTEMS = ["Android", "iOS", "Linux", "macOS", "Windows"]
CITIES = [f"City {number}" for number in range(200)]


def user(number: int) -> str:
    return f"user-{number:05d}@example.com"


def shard_table(number: int) -> pa.Table:
    """The events of one shard: an hour each, users drawn evenly."""
    draw = np.random.Generator(np.random.PCG64(number))
    is_free = number % FREE_EVERY == FREE_EVERY - 1
    users = draw.integers(IDS if is_free else 0, USERS, SHARD_ROWS)
    times = START_MS + 3_600_000 * number + np.sort(draw.integers(0, 3_600_000, SHARD_ROWS))

    def one_of(values: list) -> pa.Array:
        return pa.array([values[place] for place in draw.integers(0, len(values), SHARD_ROWS)])

    return pa.table(
        {
            COLUMN: [user(one) for one in users],
            "time": pa.array(times, pa.timestamp("ms", tz="UTC")),
            "event": one_of(EVENTS),
            "$browser": one_of(BROWSERS),
            "$os": one_of(SYSTEMS),
            "city": one_of(CITIES),
            "price": draw.integers(0, 100_000, SHARD_ROWS) / 100,
            "screen_width": pa.array(draw.integers(320, 3840, SHARD_ROWS), pa.int32()),
            "insert_id": [f"{one:016x}" for one in draw.integers(0, 1 << 62, SHARD_ROWS)],
            "url": [f"https://example.com/item/{one}" for one in draw.integers(0, 10_000, SHARD_ROWS)],
        }
    )


class Lake:
    """A dataset in a directory of its own."""

    def __init__(self, directory: Path, shards: int) -> None:
        self.directory = directory
        self.events = directory / "events"
        self.ids = directory / "ids.csv"
        made = directory / "made.json"
        # Also of this file: other shards would follow from another one.
        shape = {"shards": shards, "maker": Path(__file__).read_text(), "pyarrow": pa.__version__}
        if not made.exists() or json.loads(made.read_text()) != shape:
            shutil.rmtree(directory, ignore_errors=True)
            self.events.mkdir(parents=True)
            for number in range(shards):
                table = shard_table(number)
                path = self.events / f"part-{number:05}.parquet"
                pq.write_table(table, path, compression="zstd", compression_level=ZSTD_LEVEL, store_schema=False)
            with self.ids.open("w", newline="") as file:
                csv.writer(file).writerows([[COLUMN], *([user(number)] for number in range(IDS))])
            made.write_text(json.dumps(shape))
        self.shards = sorted(self.events.glob("*.parquet"))
        self.touched = [path for number, path in enumerate(self.shards) if number % FREE_EVERY != FREE_EVERY - 1]
        self.bytes = sum(path.stat().st_size for path in self.shards)
        self.rows = SHARD_ROWS * len(self.shards)

    def copy(self, to: Path) -> Path:
        """Fresh copies of all shards, old enough to be believed unchanged once they are indexed."""
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        for path in self.shards:
            shutil.copyfile(path, to / path.name)
        os.sync()
        return to

    def indexed_copy(self, to: Path, efface: Path) -> Path:
        tree = self.copy(to)
        time.sleep(SETTLED_SECONDS)
        command = [efface, "index", tree]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return tree

    def check(self, tree: Path) -> None:
        """Makes sure that all rows of the ids are gone and nothing else: of each shard by ids, of some by all values."""
        gone = pa.array([user(number) for number in range(IDS)])
        whole = set(self.shards[:: max(1, len(self.shards) // CHECKED_WHOLE)])
        for path in self.shards:
            columns = None if path in whole else [COLUMN]
            before, after = (pq.read_table(one, columns=columns) for one in (path, tree / path.name))
            expected = before.filter(pc.invert(pc.is_in(before[COLUMN], gone)))
            if not after.select(expected.column_names).cast(expected.schema).equals(expected):
                raise RuntimeError(f"{path.name} has other rows than it should have")
