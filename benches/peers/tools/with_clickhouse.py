"""ClickHouse, embedded (chdb): INSERT INTO FUNCTION file(...) of a query with the ids as a set."""

from pathlib import Path

import chdb
from task import COLUMN, ROW_GROUP_ROWS, ZSTD_LEVEL, Task, main, replace

FORM = (
    f"SETTINGS output_format_parquet_compression_method = 'zstd', output_format_compression_level = {ZSTD_LEVEL}, "
    f"output_format_parquet_row_group_size = {ROW_GROUP_ROWS}, engine_file_truncate_on_insert = 1"
)


def wanted(task: Task) -> str:
    return f"{COLUMN} IN (SELECT {COLUMN} FROM file('{task.ids_file}', 'CSVWithNames', '{COLUMN} String'))"


def write(query: str, out: Path) -> None:
    chdb.query(f"INSERT INTO FUNCTION file('{out}', 'Parquet') {query} {FORM}")


def export(task: Task) -> None:
    write(f"SELECT * FROM file('{task.dataset}/*.parquet', 'Parquet') WHERE {wanted(task)}", task.out)


def delete(task: Task) -> None:
    goes = wanted(task)
    touched = chdb.query(f"SELECT DISTINCT _path FROM file('{task.dataset}/*.parquet', 'Parquet') WHERE {goes}", "TSV")
    stays = f"NOT ({goes}) OR {COLUMN} IS NULL"
    for shard in sorted(str(touched).split()):
        replace(Path(shard), lambda new: write(f"SELECT * FROM file('{shard}', 'Parquet') WHERE {stays}", new))


main(export, delete)
