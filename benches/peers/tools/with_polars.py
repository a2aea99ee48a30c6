"""Polars: lazy scans with the streaming engine, `is_in` pushed down to the scan."""

from pathlib import Path

import polars as pl
from task import COLUMN, ROW_GROUP_ROWS, ZSTD_LEVEL, Task, main, replace

FORM = {"compression": "zstd", "compression_level": ZSTD_LEVEL, "row_group_size": ROW_GROUP_ROWS, "engine": "streaming"}


def wanted(task: Task) -> pl.Expr:
    return pl.col(COLUMN).is_in(pl.Series(task.ids).implode())


def export(task: Task) -> None:
    pl.scan_parquet(task.shards).filter(wanted(task)).sink_parquet(task.out, **FORM)


def delete(task: Task) -> None:
    goes = wanted(task)
    rows = pl.scan_parquet(task.shards, include_file_paths="shard")
    touched = rows.filter(goes).select(pl.col("shard").unique()).collect(engine="streaming")
    stays = ~goes | pl.col(COLUMN).is_null()
    for shard in sorted(touched["shard"]):
        replace(Path(shard), lambda new: pl.scan_parquet(shard).filter(stays).sink_parquet(new, **FORM))


main(export, delete)
