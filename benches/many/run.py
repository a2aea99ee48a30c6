"""Deletes of 200 ids from thousands of small shards: efface, a loop over Polars, `cp`; README.md here says more.

run.py [--shards N] [--rounds N] [--delays MS ..]     results/many.json and many.md
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
# The meter is that of the peers; this bench's own package has the same name.
sys.path.insert(0, str(HERE.parent / "peers" / "harness"))

from measure import Meter, Run

from harness import calls, tables
from harness.lake import IDS, Lake

REQUESTED_AT = "2026-07-01T00:00:00Z"


@dataclass
class Tool:
    """`prepare` makes a fresh copy at a path, and isn't measured."""

    name: str
    label: str
    prepare: Callable[[Path], Path]
    command: Callable[[Path], list]
    is_copy: bool = False
    # One run on the disk as it is says enough.
    is_once: bool = False


def tools(lake: Lake, efface: Path, zstd_level: str) -> list[Tool]:
    def delete(tree: Path) -> list:
        request = ["--ids", lake.ids, "--identity", "exact", "--unknown", "report", "--max-match", "1"]
        return [efface, "delete", tree, *request, "--zstd-level", zstd_level, "--requested-at", REQUESTED_AT]

    def polars(tree: Path) -> list:
        return [sys.executable, HERE / "with_polars.py", tree, lake.ids]

    def copied(tree: Path) -> list:
        script = 'cp -r --reflink=never "$1" "$2" && sync -f "$2"'
        return ["sh", "-c", script, "sh", tree, tree.with_name("copied")]

    return [
        Tool("efface", "efface", lambda path: lake.indexed_copy(path, efface), delete),
        Tool("polars", "Polars, four threads", lake.copy, polars),
        Tool("cp", "`cp`, one sync", lake.copy, copied, is_copy=True),
        Tool("efface-from-nothing", "efface, index from nothing", lake.copy, delete, is_once=True),
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=5_000, help="how many [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="how often each run is done [%(default)s]")
    parser.add_argument(
        "--delays", type=float, nargs="+", default=[0, 2], metavar="MS", help="what a sync takes longer [0 2]"
    )
    parser.add_argument("--tools", nargs="+", default=[], help="only these: efface polars cp efface-from-nothing [all]")
    parser.add_argument(
        "--zstd-level",
        default="auto",
        metavar="N|auto",
        help="of efface; the loop has that of the shards, 1 [%(default)s]",
    )
    parser.add_argument("--no-calls", action="store_true", help="don't count system calls")
    parser.add_argument("--no-check", action="store_true", help="don't look at the rows that are left")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="for shards and copies, on the disk to measure [target/many]"
    )
    parser.add_argument("--results", type=Path, metavar="DIR", default=HERE / "results", help="where results go")
    parser.add_argument("--name", default="many", help="of the results [%(default)s]")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="hold a lock on this file (flock) during each run")
    return parser.parse_args()


def target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()


def describe(efface: Path, work: Path) -> dict:
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    said = subprocess.run([efface, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    kind = subprocess.run(["stat", "-f", "-c", "%T", work], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "cpu": next((line.partition(":")[2].strip() for line in cpus if line.startswith("model name")), "unknown CPU"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": kind,
        "date": datetime.now(UTC).date().isoformat(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {"efface": said, "polars": version("polars"), "pyarrow": version("pyarrow")},
    }


class Bench:
    """All runs, and what came of them so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        efface = Path(os.environ.get("EFFACE", target() / "release" / "efface")).resolve()
        self.work = (options.work or target() / "many").resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        options.results.mkdir(parents=True, exist_ok=True)
        self.lake = Lake(self.work / f"lake-{options.shards}", options.shards)
        self.tools = [
            tool
            for tool in tools(self.lake, efface, options.zstd_level)
            if not options.tools or tool.name in options.tools
        ]
        self.meter = Meter(self.work / "log", options.lock, kill_after_seconds=900)
        self.checked: set[str] = set()
        self.cells = {
            (tool.name, delay): {"tool": tool.name, "delay_ms": delay, "runs": []}
            for delay in options.delays
            for tool in self.tools
        }
        self.result = {
            "machine": describe(efface, self.work),
            "dataset": {
                "shards": len(self.lake.shards),
                "touched": len(self.lake.touched),
                "bytes": self.lake.bytes,
                "rows": self.lake.rows,
                "ids": IDS,
            },
            "rounds": 0,
            "delays": options.delays,
            "zstd_level": options.zstd_level,
            "tools": {tool.name: tool.label for tool in self.tools},
            "cells": list(self.cells.values()),
            "bytes_after": {},
            "calls": {},
        }

    def prepared(self, tool: Tool) -> Path:
        shutil.rmtree(self.work / "run", ignore_errors=True)
        return tool.prepare(self.work / "run" / "tree")

    def run(self, tool: Tool, delay: float) -> Run:
        tree = self.prepared(tool)
        files = sorted(tree.glob("*.parquet"))
        # Only what the meter reads beforehand is given to it: how many bytes were written is no question here.
        took = self.meter.run([*calls.slow(delay), *tool.command(tree)], [], [*files, self.lake.ids])
        if not (tool.is_copy or tool.name in self.checked or self.options.no_check):
            self.lake.check(tree)
            self.checked.add(tool.name)
            self.result["bytes_after"][tool.name] = sum((tree / path.name).stat().st_size for path in self.lake.shards)
        return took

    def measure(self) -> None:
        for number in range(self.options.rounds):
            self.result["rounds"] = number + 1
            for delay in self.options.delays:
                for tool in self.tools:
                    if tool.is_once and (number > 0 or delay != 0):
                        continue
                    took = self.run(tool, delay)
                    self.cells[tool.name, delay]["runs"].append(took.as_json())
                    told = f"round {number + 1}, {tables.mode(delay)}: {tool.name}: {took.seconds:.2f} s"
                    print(told, file=sys.stderr, flush=True)
                    self.save()

    def count(self) -> None:
        for tool in self.tools:
            if not tool.is_once:
                command = tool.command(self.prepared(tool))
                self.result["calls"][tool.name] = calls.count(command, self.work / "calls")
                self.save()

    def save(self) -> None:
        at = self.options.results / self.options.name
        at.with_suffix(".json").write_text(json.dumps(self.result, indent=1) + "\n")
        at.with_suffix(".md").write_text(tables.full(self.result))


def main() -> None:
    options = arguments()
    bench = Bench(options)
    bench.measure()
    if not options.no_calls:
        bench.count()
    shutil.rmtree(bench.work / "run", ignore_errors=True)


if __name__ == "__main__":
    main()
