"""Reads a dataset with pyarrow and DuckDB while it is deleted from, and fails when a shard is neither old nor new.

usage: kills.py LAKE PEOPLE EVENTS, until standard input ends

People are erased in the order of their numbers, two at a time: a shard must hold EVENTS events of each person from
some even number on, and the number never falls. See faults/kills.rs.

A reader has a shard from the moment that it opens it. Given a path, DuckDB opens it more than once for one query and
tells an error if the file has been replaced in between, whoever did that and how; those errors are counted apart.
"""

import sys
import threading
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

ERASED_AT_ONCE = 2
REPORTED = 5


def person(number: int) -> str:
    return f"person~{number:05}"


class Reader:
    """One way of reading a shard, and what it has seen."""

    def __init__(self, name: str, people: int, events: int) -> None:
        self.name = name
        self.people = people
        self.events = events
        self.firsts: dict[str, int] = {}
        self.reads = 0
        self.reopened = 0
        self.wrong: list[str] = []

    def see(self, shard: str, found: Counter[str]) -> None:
        """Takes the number of events of each person that a read of a shard has found."""
        first = self.people - len(found)
        expected = {person(number): self.events for number in range(first, self.people)}
        if dict(found) != expected or first % ERASED_AT_ONCE:
            self.wrong.append(f"{self.name}: {shard} is neither old nor new")
        elif first < self.firsts.get(shard, 0):
            self.wrong.append(f"{self.name}: {shard} is older than it was")
        self.firsts[shard] = first
        self.reads += 1


QUERY = "SELECT distinct_id, count(*) FROM read_parquet(?, hive_partitioning = false) GROUP BY 1"


def with_pyarrow(shard: Path) -> Counter[str]:
    # An open file: partitions in its path are no columns here.
    with shard.open("rb") as file:
        return Counter(pq.read_table(file, columns=["distinct_id"]).column(0).to_pylist())


def with_duckdb(shard: Path) -> Counter[str]:
    with shard.open("rb") as file:
        return by_path(Path(f"/proc/self/fd/{file.fileno()}"))


def by_path(shard: Path) -> Counter[str]:
    return Counter(dict(duckdb.execute(QUERY, [str(shard)]).fetchall()))


def main() -> int:
    lake, people, events = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    ways = {"pyarrow": with_pyarrow, "DuckDB": with_duckdb, "DuckDB by path": by_path}
    readers = {name: Reader(name, people, events) for name in ways}
    while not over.is_set():
        for shard in sorted(lake.rglob("[!.]*.parquet")):
            for name, read in ways.items():
                reader = readers[name]
                try:
                    reader.see(shard.name, read(shard))
                except Exception as error:  # noqa: BLE001 - whatever the reader raises is a finding
                    if read is by_path:
                        reader.reopened += 1
                    else:
                        reader.wrong.append(f"{name}: cannot read {shard.name}: {error}")
    for reader in readers.values():
        print(f"{reader.name}: {reader.reads} reads, {len(reader.wrong)} wrong", end="")
        print(f", {reader.reopened} of files replaced between two openings" if reader.reopened else "")
        for wrong in reader.wrong[:REPORTED]:
            print(wrong)
    return int(any(reader.wrong for reader in readers.values()))


if __name__ == "__main__":
    sys.exit(main())
