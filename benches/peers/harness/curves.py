"""Scaling: what efface takes against one number that grows, everything else left as it is, with `cp` beside it."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .compare import ACTIONS, lake_files
from .lake import COLUMN, Lake, Shape, read_ids, write_ids
from .measure import Meter, Run
from .tools import Tool, Work, copy, efface

IDS = [1, 5, 20, 100, 500, 2000]
SHARDS = [1, 4, 16, 64]
ROW_GROUPS = [200, 50, 10, 2]
# Of the pages of a column, in a dataset whose shards are sorted by id and have this many pages.
PAGES = 1000
SHARES = [0.001, 0.01, 0.1, 0.3, 1.0]
FEW_IDS = 20
MANY_IDS = 2000


@dataclass
class Point:
    """A dataset, ids, and options of efface, at one place of a curve."""

    x: float
    lake: Lake
    ids: Path
    more: list[str] = field(default_factory=list)
    rows: int = 0
    touched: list[Path] = field(default_factory=list)
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def as_json(self) -> dict:
        return {
            "x": self.x,
            "ids": len(read_ids(self.ids)),
            "rows": self.rows,
            "dataset": {"rows": self.lake.rows, "shards": len(self.lake.shards), "bytes": self.lake.bytes},
            "touched_shards": len(self.touched),
            "runs": {name: [run.as_json() for run in runs] for name, runs in self.runs.items()},
        }


@dataclass
class Curve:
    """Points by what is on the x axis."""

    name: str
    x_label: str
    what: str
    points: list[Point]


class Maker:
    """Makes the datasets of the curves; `scale` times as many rows as in the small ones."""

    def __init__(self, base: Lake, directory: Path, repository: Path, efface: Path, scale: int) -> None:
        self.base = base
        self.directory = directory
        self.repository = repository
        self.efface = efface
        self.scale = scale

    def curves(self) -> Iterator[Curve]:
        base = f"{len(self.base.shards)} shards, {self.base.rows:,} rows"
        yield Curve("ids", "ids", base, [Point(count, self.base, self.base.ids(count)) for count in IDS])
        yield self.shards()
        yield self.row_groups()
        threads = sorted({1, 2, len(os.sched_getaffinity(0))})
        points = [Point(count, self.base, self.base.ids(MANY_IDS), ["--threads", str(count)]) for count in threads]
        yield Curve("threads", "threads", f"{base}, {MANY_IDS} ids", points)
        yield self.pages()

    def lake(self, name: str, shape: Shape) -> Lake:
        return Lake.generate(self.directory / name, shape, self.repository, self.efface)

    def shards(self) -> Curve:
        rows = 50_000 * self.scale
        points = []
        for count in SHARDS:
            lake = self.lake(f"shards-{count}", Shape(count, rows, users=100_000))
            points.append(Point(count, lake, lake.ids(FEW_IDS)))
        return Curve("shards", "shards", f"shards of {rows:,} rows in 10 row groups, {FEW_IDS} ids", points)

    def row_groups(self) -> Curve:
        rows = 1_000_000 * self.scale
        points = []
        for count in ROW_GROUPS:
            lake = self.lake(f"row-groups-{count}", Shape(1, rows, users=100_000, row_groups=count))
            points.append(Point(rows // count, lake, lake.ids(FEW_IDS)))
        return Curve("row-groups", "rows per row group", f"1 shard of {rows:,} rows, {FEW_IDS} ids", points)

    def pages(self) -> Curve:
        rows = 1_000_000 * self.scale
        page_rows = rows // PAGES
        more = ["--sort", "user", "--page-rows", str(page_rows)]
        lake = self.lake("pages", Shape(1, rows, users=100_000 * self.scale, more=more))
        column = pq.read_table(lake.shards[0], columns=[COLUMN])[COLUMN].combine_chunks()
        points = []
        for share in SHARES:
            ids = lake.directory / f"ids-share-{share}.csv"
            write_ids(ids, spread(column, page_rows, round(PAGES * share)))
            theirs = pc.is_in(column, value_set=pa.array(read_ids(ids)))
            hit = sum(pc.any(theirs[at : at + page_rows]).as_py() for at in range(0, len(theirs), page_rows))
            points.append(Point(100 * hit / PAGES, lake, ids))
        what = f"1 shard of {rows:,} rows, sorted by id, {PAGES} pages a column, one id for each page"
        return Curve("pages", "% of pages touched", what, points)


def spread(column: pa.Array, page_rows: int, pages: int) -> list[str]:
    """For each of `pages` pages, evenly spread, one of the ids with the fewest rows in it."""
    chosen = []
    total = len(column) // page_rows
    for number in range(pages):
        page = (2 * number + 1) * total // (2 * pages)
        rows = Counter(column[page * page_rows : (page + 1) * page_rows].to_pylist())
        inner = sorted((count, name) for name, count in rows.items() if name is not None)
        chosen.append(inner[0][1] if inner else None)
    return [name for name in dict.fromkeys(chosen) if name is not None]


def measure(
    maker: Maker, names: list[str], rounds: int, meter: Meter, directory: Path, save: Path, about: dict
) -> dict:
    """Measures the curves that are named (all, if none is) and writes them to `save` as they are done."""
    result = about | {"rounds": rounds, "curves": []}
    for curve in maker.curves():
        if names and curve.name not in names:
            continue
        for point in curve.points:
            found = point.lake.theirs(point.ids)
            point.rows = sum(table.num_rows for table in found.values())
            point.touched = list(found)
            if not (point.lake.events / "_efface").exists():
                point.lake.index()
        for number in range(rounds):
            for point in curve.points:
                for action in ACTIONS:
                    run(point, action, action, efface(maker.efface, point.more), meter, directory)
                run(point, "cp", "delete", copy(), meter, directory)
                took = {name: round(runs[-1].seconds, 3) for name, runs in point.runs.items()}
                print(f"round {number + 1}: {curve.name} {point.x:g}: {took}", file=sys.stderr)
        result["curves"].append(
            {
                "name": curve.name,
                "x_label": curve.x_label,
                "what": curve.what,
                "points": [point.as_json() for point in curve.points],
            }
        )
        save.write_text(json.dumps(result, indent=1) + "\n")
    return result


def run(point: Point, name: str, action: str, tool: Tool, meter: Meter, directory: Path) -> None:
    work = Work(point.lake, action, point.ids, point.touched, directory / "run")
    work.clear()
    tree = tool.prepare(work)
    one = meter.run(tool.command(work, tree), [work.directory], lake_files(work))
    point.runs.setdefault(name, []).append(one)
    if not tool.is_copy:
        files = [work.out] if action == "export" else list(tree.glob("*.parquet"))
        rows = sum(pq.read_metadata(file).num_rows for file in files)
        expected = point.rows if action == "export" else point.lake.rows - point.rows
        if rows != expected:
            raise RuntimeError(f"{name} {point.x}: {rows} rows, not {expected}")
    work.clear()
    point.lake.check_unchanged()
