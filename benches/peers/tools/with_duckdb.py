"""DuckDB: COPY of a semi or an anti join with the ids; one scan of the id column finds the shards to rewrite."""

from pathlib import Path

import duckdb
from task import COLUMN, ROW_GROUP_ROWS, ZSTD_LEVEL, Task, main, replace

FORM = f"FORMAT parquet, CODEC zstd, COMPRESSION_LEVEL {ZSTD_LEVEL}, ROW_GROUP_SIZE {ROW_GROUP_ROWS}"


def connect(task: Task) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "CREATE TABLE ids AS SELECT distinct_id FROM read_csv(?, all_varchar = true)", [str(task.ids_file)]
    )
    return connection


def export(task: Task) -> None:
    connection = connect(task)
    connection.execute(
        f"COPY (SELECT * FROM read_parquet({[str(shard) for shard in task.shards]}) SEMI JOIN ids USING ({COLUMN})) "
        f"TO '{task.out}' ({FORM})"
    )


def delete(task: Task) -> None:
    connection = connect(task)
    touched = connection.execute(
        f"SELECT DISTINCT filename FROM read_parquet({[str(shard) for shard in task.shards]}, filename = true) "
        f"SEMI JOIN ids USING ({COLUMN})"
    ).fetchall()
    for (shard,) in sorted(touched):
        replace(
            Path(shard),
            lambda new: connection.execute(
                f"COPY (SELECT * FROM read_parquet('{shard}') ANTI JOIN ids USING ({COLUMN})) TO '{new}' ({FORM})"
            ),
        )


main(export, delete)
