"""The tools that are measured: what is made ready for a run of each, and its command."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deltalake import convert_to_deltalake

from .lake import Lake

SCRIPTS = Path(__file__).parent.parent / "tools"
ZSTD_LEVEL = 1
REQUESTED_AT = "2026-07-01T00:00:00Z"


@dataclass
class Work:
    """One run to come: rows of `ids` are exported to `out`, or deleted; the shards `touched` hold some."""

    lake: Lake
    action: str
    ids: Path
    touched: list[Path]
    directory: Path

    @property
    def out(self) -> Path:
        return self.directory / "out.parquet"

    @property
    def tree(self) -> Path:
        return self.directory / "tree"

    def clear(self) -> None:
        """Removes what the run before left."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)


@dataclass
class Tool:
    """`prepare` isn't measured; it returns the directory that the command works on."""

    name: str
    label: str
    prepare: Callable[[Work], Path]
    command: Callable[[Work, Path], list]
    # A run that does nothing, where there is another than that of `efface`.
    start: list | None = None
    # Whether it makes no result that can be checked.
    is_copy: bool = False


def whole(work: Work) -> Path:
    """The dataset for those who read it, links to its shards for those who replace some."""
    return work.lake.events if work.action == "export" else work.lake.tree(work.tree)


def indexed(work: Work) -> Path:
    if work.action == "export":
        work.lake.index()
        return work.lake.events
    return work.lake.tree(work.tree, with_index=True)


def whole_without_index(work: Work) -> Path:
    return work.lake.tree(work.tree)


def delta_table(work: Work) -> Path:
    tree = work.lake.tree(work.tree)
    convert_to_deltalake(tree)
    return tree


def efface_command(efface: Path, more: list[str]) -> Callable[[Work, Path], list]:
    def command(work: Work, tree: Path) -> list:
        # The shape of the request is the peers': just these ids, since none of them knows the alias table.
        request = ["--ids", work.ids, "--identity", "exact", "--requested-at", REQUESTED_AT]
        if work.action == "export":
            request += ["--format", "parquet", "-o", work.out]
        else:
            request += ["--zstd-level", str(ZSTD_LEVEL)]
        return [efface, work.action, tree, *request, *more]

    return command


def efface(binary: Path, more: list[str]) -> Tool:
    """efface with a fresh index, and `more` options."""
    return Tool("efface", "efface", indexed, efface_command(binary, more), [binary, "--version"])


def copy() -> Tool:
    """The shards that hold such rows copied, and made durable: the limit."""
    script = 'out="$1"; shift; mkdir "$out" && cp --reflink=never -t "$out" "$@" && sync "$out"/*'

    def command(work: Work, _: Path) -> list:
        return ["sh", "-c", script, "sh", work.directory / "copied", *work.touched]

    return Tool("cp", "`cp` of the touched shards", lambda work: work.lake.events, command, is_copy=True)


def peer(name: str, label: str, prepare: Callable[[Work], Path] = whole) -> Tool:
    script = [sys.executable, SCRIPTS / f"with_{name}.py"]
    return Tool(
        name,
        label,
        prepare,
        lambda work, tree: [*script, work.action, tree, work.ids, work.out],
        [*script, "start", os.devnull, os.devnull, os.devnull],
    )


def everyone(binary: Path) -> list[Tool]:
    from_nothing = Tool(
        "efface-from-nothing", "efface, index from nothing", whole_without_index, efface_command(binary, [])
    )
    return [
        efface(binary, []),
        from_nothing,
        peer("duckdb", "DuckDB"),
        peer("polars", "Polars"),
        peer("datafusion", "DataFusion"),
        peer("pyarrow", "pyarrow, row group by row group"),
        peer("deltalake", "delta-rs", delta_table),
        peer("clickhouse", "ClickHouse (chdb)"),
        copy(),
    ]
