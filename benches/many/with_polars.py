"""The naive loop: each shard read, filtered, written beside the old one, synced and renamed over it, on four threads.

usage: with_polars.py DATASET IDS
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

COLUMN = "distinct_id"
THREADS = 4
# As the dataset has it.
ZSTD_LEVEL = 1


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main() -> None:
    dataset, ids_file = Path(sys.argv[1]), sys.argv[2]
    ids = pl.read_csv(ids_file)[COLUMN].implode()

    def delete(shard: Path) -> None:
        rows = pl.read_parquet(shard, hive_partitioning=False)
        left = rows.filter(~pl.col(COLUMN).is_in(ids) | pl.col(COLUMN).is_null())
        if left.height == rows.height:
            return
        new = shard.with_name(f".{shard.name}.new")
        left.write_parquet(new, compression="zstd", compression_level=ZSTD_LEVEL)
        sync(new)
        new.rename(shard)

    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(delete, sorted(dataset.glob("*.parquet"))):
            pass
    sync(dataset)


main()
