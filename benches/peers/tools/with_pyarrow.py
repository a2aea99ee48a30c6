"""pyarrow row group by row group: of each the id column first, the others only where they are needed."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from task import COLUMN, ZSTD_LEVEL, Task, main, replace

FORM = {"compression": "zstd", "compression_level": ZSTD_LEVEL}


def hits(shard: pq.ParquetFile, ids: pa.Array) -> dict[int, pa.ChunkedArray]:
    """Which rows are theirs, for each row group that has some."""
    found = {}
    for group in range(shard.num_row_groups):
        theirs = pc.is_in(shard.read_row_group(group, columns=[COLUMN])[COLUMN], value_set=ids)
        if pc.any(theirs).as_py():
            found[group] = theirs
    return found


def export(task: Task) -> None:
    ids = pa.array(task.ids)
    writer = None
    for path in task.shards:
        with pq.ParquetFile(path) as shard:
            writer = writer or pq.ParquetWriter(task.out, shard.schema_arrow, **FORM)
            for group, theirs in hits(shard, ids).items():
                writer.write_table(shard.read_row_group(group).filter(theirs))
    if writer:
        writer.close()


def delete(task: Task) -> None:
    ids = pa.array(task.ids)
    for path in task.shards:
        with pq.ParquetFile(path) as shard:
            if found := hits(shard, ids):
                replace(path, lambda new: rewrite(shard, found, new))


def rewrite(shard: pq.ParquetFile, found: dict[int, pa.ChunkedArray], new: Path) -> None:
    with pq.ParquetWriter(new, shard.schema_arrow, **FORM) as writer:
        for group in range(shard.num_row_groups):
            rows = shard.read_row_group(group)
            if group in found:
                rows = rows.filter(pc.invert(found[group]))
            writer.write_table(rows)


main(export, delete)
