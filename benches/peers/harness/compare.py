"""Peers side by side: the same exports and deletes with every tool, in turns."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from . import prints
from .lake import Lake
from .measure import Failed, Meter, Run
from .prints import Print
from .tools import ZSTD_LEVEL, Tool, Work

ACTIONS = ["export", "delete"]


@dataclass
class Cell:
    """The runs of one tool for one request. `note` says why there are fewer than asked for."""

    tool: str
    action: str
    ids: int
    runs: list[Run] = field(default_factory=list)
    same_rows: bool | None = None
    note: str | None = None

    def as_json(self) -> dict:
        return self.__dict__ | {"runs": [run.as_json() for run in self.runs]}


@dataclass
class Request:
    """Ids, and what pyarrow says that their rows are."""

    ids: int
    file: Path
    rows: int
    touched: list[Path]
    theirs: Print
    others: Print


@dataclass
class Options:
    """How often, and how long."""

    rounds: int
    slow_seconds: float
    ids: list[int]


def requests(lake: Lake, counts: list[int]) -> list[Request]:
    schema = prints.schema_of(lake.shards[0])
    everything = prints.of_files(lake.shards, schema)
    made = []
    for count in counts:
        theirs = Print(0, 0, 0)
        found = lake.theirs(lake.ids(count))
        prints.canary(next(iter(found.values())))
        for table in found.values():
            one = prints.of_table(table)
            theirs = Print(theirs.rows + one.rows, theirs.first + one.first, theirs.second + one.second)
        made.append(Request(count, lake.ids(count), theirs.rows, list(found), theirs, everything - theirs))
    return made


def compare(
    lake: Lake, tools: list[Tool], options: Options, meter: Meter, directory: Path, save: Path, about: dict
) -> dict:
    """Measures all of it, and writes what there is to `save` after each run."""
    lake.index()
    asked = requests(lake, options.ids)
    cells = [Cell(tool.name, action, request.ids) for action in ACTIONS for request in asked for tool in tools]
    starts = {tool.name: Cell(tool.name, "start", 0) for tool in tools if tool.start}
    index = Cell("efface", "index", 0)
    result = about | {
        "dataset": {
            "rows": lake.rows,
            "shards": len(lake.shards),
            "row_group_rows": lake.row_group_rows,
            "bytes": lake.bytes,
            "zstd_level": ZSTD_LEVEL,
        },
        "options": {"rounds": options.rounds, "slow_seconds": options.slow_seconds},
        "tools": {tool.name: tool.label for tool in tools},
        "requests": [
            {"ids": request.ids, "rows": request.rows, "touched_shards": len(request.touched)} for request in asked
        ],
    }
    env = {"PEERS_ZSTD_LEVEL": str(ZSTD_LEVEL), "PEERS_ROW_GROUP_ROWS": str(lake.row_group_rows)}
    by_name = {tool.name: tool for tool in tools}
    by_count = {request.ids: request for request in asked}
    for number in range(options.rounds):
        for name, cell in starts.items():
            cell.runs.append(meter.run(by_name[name].start, [], [], env))
        index.runs.append(index_run(lake, meter, directory))
        for cell in cells:
            if cell.note is None:
                request = by_count[cell.ids]
                work = Work(lake, cell.action, request.file, request.touched, directory / "run")
                measure(cell, by_name[cell.tool], request, work, options, meter, env)
                tell(number, cell)
                work.clear()
                lake.check_unchanged()
                result["cells"] = [cell.as_json() for cell in [*starts.values(), index, *cells]]
                save.write_text(json.dumps(result, indent=1) + "\n")
    return result


def index_run(lake: Lake, meter: Meter, directory: Path) -> Run:
    tree = lake.tree(directory / "run" / "tree")
    return meter.run([lake.efface, "index", tree], [tree], lake.shards)


def measure(cell: Cell, tool: Tool, request: Request, work: Work, options: Options, meter: Meter, env: dict) -> None:
    work.clear()
    tree = tool.prepare(work)
    try:
        run = meter.run(tool.command(work, tree), [work.directory], lake_files(work), env)
    except Failed as failed:
        cell.note = f"failed: {failed}"
        cell.same_rows = False
        return
    cell.runs.append(run)
    if run.is_killed:
        cell.note = "killed"
    elif run.seconds > options.slow_seconds:
        cell.note = "slow"
    if cell.same_rows is None and not tool.is_copy and not run.is_killed:
        schema = prints.schema_of(work.lake.shards[0])
        files = [work.out] if cell.action == "export" else sorted(tree.glob("*.parquet"))
        expected = request.theirs if cell.action == "export" else request.others
        cell.same_rows = prints.of_files(files, schema) == expected


def lake_files(work: Work) -> list[Path]:
    return [*work.lake.shards, work.ids]


def tell(number: int, cell: Cell) -> None:
    took = f"{cell.runs[-1].seconds:.2f} s" if cell.runs else "no run"
    rows = {True: "same rows", False: "OTHER ROWS", None: ""}[cell.same_rows]
    print(f"round {number + 1}: {cell.action} {cell.ids} {cell.tool}: {took} {rows} {cell.note or ''}", file=sys.stderr)
