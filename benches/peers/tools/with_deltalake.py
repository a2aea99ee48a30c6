"""delta-rs: DELETE on a Delta table made of the same shards, and a VACUUM, without which the old files stay.

An export is a query of delta-rs's own engine, written by pyarrow: delta-rs doesn't write single Parquet files.
"""

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder, WriterProperties
from task import COLUMN, ROW_GROUP_ROWS, ZSTD_LEVEL, Task, main, sync


def predicate(task: Task) -> str:
    ids = ", ".join(f"'{name}'" for name in task.ids)
    return f"{COLUMN} IN ({ids})"


def export(task: Task) -> None:
    events = QueryBuilder().register("events", DeltaTable(task.dataset))
    found = pa.RecordBatchReader.from_stream(events.execute(f"SELECT * FROM events WHERE {predicate(task)}"))
    schema = pa.schema([plain(field) for field in found.schema])
    with pq.ParquetWriter(task.out, schema, compression="zstd", compression_level=ZSTD_LEVEL) as writer:
        # The batches are small, and each would be a row group.
        writer.write_table(pa.Table.from_batches(found, found.schema).cast(schema), row_group_size=ROW_GROUP_ROWS)


def plain(field: pa.Field) -> pa.Field:
    """Text as the shards have it, not as the engine's views."""
    return field.with_type(pa.string()) if pa.types.is_string_view(field.type) else field


def delete(task: Task) -> None:
    before = set(task.shards)
    form = WriterProperties(compression="ZSTD", compression_level=ZSTD_LEVEL, max_row_group_size=ROW_GROUP_ROWS)
    table = DeltaTable(task.dataset)
    table.delete(predicate(task), writer_properties=form)
    for shard in set(task.shards) - before:
        sync(shard)
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    sync(task.dataset)


main(export, delete)
