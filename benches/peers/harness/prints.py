"""Whether two sets of rows are the same: their number, and sums over the rows of a hash of all columns.

A print doesn't depend on the order of rows nor on how they are spread over files, and those of two sets of rows add up
to that of both together. Every column counts, as the type that the dataset has: text by its bytes, time in microseconds
since 1970, integers and floats by value, null as itself.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Print:
    """Rows, and the sums of two independent hashes of each."""

    rows: int
    first: int
    second: int

    def __sub__(self, other: "Print") -> "Print":
        return Print(self.rows - other.rows, self.first - other.first, self.second - other.second)


def of_files(files: list[Path], schema: pa.Schema) -> Print:
    """That of Parquet files. `schema` is the dataset's: a column that is missing or of another type is an error."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return summed(connection, f"read_parquet({[str(file) for file in files]}, union_by_name = true)", schema)


def of_table(table: pa.Table) -> Print:
    """That of a table."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows_of_table", table)
        return summed(connection, "rows_of_table", table.schema)


def canary(table: pa.Table) -> None:
    """Makes sure that a print sees one row less, one row twice, and another value in any column.

    Raises `AssertionError` otherwise.
    """
    whole = of_table(table)
    assert of_table(table.take(list(reversed(range(table.num_rows))))) == whole, "the order of rows counts"
    assert of_table(table.slice(1)) != whole, "a missing row isn't seen"
    assert of_table(pa.concat_tables([table, table.slice(0, 1)])) != whole, "a row that is there twice isn't seen"
    for place, name in enumerate(table.column_names):
        values = table[name].to_pylist()
        other = "" if pa.types.is_string(table[name].type) else pa.scalar(0, pa.int64()).cast(table[name].type).as_py()
        values[0] = other if values[0] is None else None
        changed = pa.array(values, table[name].type)
        # Null in a column that can't hold one is still another value here.
        field = table.schema.field(place).with_nullable(True)
        assert of_table(table.set_column(place, field, changed)) != whole, f"another value of {name} isn't seen"


def schema_of(shard: Path) -> pa.Schema:
    return pq.read_schema(shard).remove_metadata()


def summed(connection: duckdb.DuckDBPyConnection, source: str, schema: pa.Schema) -> Print:
    columns = ", ".join(plain(field) for field in schema)
    rows, first, second = connection.execute(
        f"SELECT count(*), coalesce(sum(hash({columns})::HUGEINT), 0), "
        f"coalesce(sum((hash('another', {columns}) >> 1)::HUGEINT), 0) FROM {source}"
    ).fetchone()
    return Print(rows, int(first), int(second))


def plain(field: pa.Field) -> str:
    name = f'"{field.name}"'
    if pa.types.is_timestamp(field.type):
        return f"epoch_us({name})"
    if pa.types.is_integer(field.type):
        return f"{name}::BIGINT"
    if pa.types.is_floating(field.type):
        return f"{name}::DOUBLE"
    return f"{name}::VARCHAR"
