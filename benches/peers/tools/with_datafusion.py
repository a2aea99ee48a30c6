"""DataFusion: COPY of a query with an IN list, filters pushed down into the Parquet scan."""

from pathlib import Path

from datafusion import SessionConfig, SessionContext
from task import COLUMN, ROW_GROUP_ROWS, ZSTD_LEVEL, Task, main, replace

SETTINGS = {
    "datafusion.execution.parquet.pushdown_filters": "true",
    "datafusion.execution.parquet.reorder_filters": "true",
    "datafusion.execution.parquet.compression": f"zstd({ZSTD_LEVEL})",
    "datafusion.execution.parquet.max_row_group_size": str(ROW_GROUP_ROWS),
}


def connect(task: Task) -> tuple[SessionContext, str]:
    config = SessionConfig()
    for name, value in SETTINGS.items():
        config = config.set(name, value)
    ids = ", ".join(f"'{name}'" for name in task.ids)
    return SessionContext(config), f"{COLUMN} IN ({ids})"


def export(task: Task) -> None:
    context, wanted = connect(task)
    context.register_parquet("events", str(task.dataset))
    context.sql(f"COPY (SELECT * FROM events WHERE {wanted}) TO '{task.out}' STORED AS PARQUET").collect()


def delete(task: Task) -> None:
    context, goes = connect(task)
    for shard in task.shards:
        context.register_parquet("shard", str(shard))
        if context.sql(f"SELECT {COLUMN} FROM shard WHERE {goes} LIMIT 1").to_arrow_table().num_rows > 0:
            replace(shard, lambda new: rewrite(context, goes, new))
        context.deregister_table("shard")


def rewrite(context: SessionContext, goes: str, new: Path) -> None:
    stays = f"NOT ({goes}) OR {COLUMN} IS NULL"
    # A path with another ending would be a directory.
    file = new.with_name(f"{new.name}.parquet")
    context.sql(f"COPY (SELECT * FROM shard WHERE {stays}) TO '{file}' STORED AS PARQUET").collect()
    file.rename(new)


main(export, delete)
