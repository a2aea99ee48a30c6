"""Compares exports, as pyarrow and DuckDB read them, with what these select themselves from the shards.

usage: exports.py EFFACE DATA

DATA has a folder for each dataset of events. Rows are compared in their order, with pyarrow also their types.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

SUBJECTS = 3
Value = str | float | int | bool | None


def shards_of(dataset: Path) -> list[Path]:
    return sorted(path for path in dataset.rglob("*.parquet") if "_efface" not in path.parts)


def selected(shards: list[Path], ids: list[str]) -> pa.Table:
    """The rows of `ids`, as pyarrow selects them."""
    parts = []
    for shard in shards:
        table = pq.ParquetFile(shard).read()
        column = table["distinct_id"]
        wanted = pa.array([as_value(id, column.type) for id in ids], type=column.type)
        parts.append(table.filter(pc.is_in(column, value_set=wanted)))
    return pa.concat_tables(parts)


def as_value(id: str, type: pa.DataType) -> str | bytes:
    return bytes.fromhex(id.replace("-", "")) if pa.types.is_fixed_size_binary(type) else id


def as_text(value: str | bytes) -> str:
    if isinstance(value, bytes):
        text = value.hex()
        return "-".join([text[:8], text[8:12], text[12:16], text[16:20], text[20:]])
    return value


def frequent_ids(shards: list[Path]) -> list[str]:
    column = pa.chunked_array(pq.ParquetFile(shards[0]).read(columns=["distinct_id"])["distinct_id"].chunks)
    counts = sorted(column.value_counts().to_pylist(), key=lambda count: -count["counts"])
    return [as_text(count["values"]) for count in counts if count["values"] is not None][:SUBJECTS]


def export(efface: str, dataset: Path, ids: list[str], output: Path, *options: str) -> dict:
    words = [efface, "export", str(dataset), "--json", "-o", str(output), *options]
    for id in ids:
        words += ["--id", id]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{dataset.name}: {' '.join(options)}: {done.stderr}")
    return json.loads(done.stdout)


def check(what: str, found: object, expected: object) -> None:
    if found != expected:
        sys.exit(f"{what} differs:\n  found    {str(found)[:500]}\n  expected {str(expected)[:500]}")


def check_dataset(efface: str, dataset: Path, work: Path) -> int:
    shards = shards_of(dataset)
    ids = frequent_ids(shards)
    expected = selected(shards, ids)
    names = expected.column_names
    rows = expected.to_pylist()

    parquet = work / "rows.parquet"
    report = export(efface, dataset, ids, parquet)
    check("the number of rows", report["rows"], expected.num_rows)
    found = pq.ParquetFile(parquet).read()
    check("the schema", found.select(names).schema.remove_metadata(), expected.schema.remove_metadata())
    check("Parquet read by pyarrow", found.select(names).to_pylist(), rows)

    arrow = work / "rows.arrow"
    export(efface, dataset, ids, arrow)
    with pa.OSFile(str(arrow)) as file:
        check("Arrow read by pyarrow", pa.ipc.open_stream(file).read_all().select(names).to_pylist(), rows)

    files = "[" + ", ".join(f"'{shard}'" for shard in shards) + "]"
    columns = ", ".join(f'"{name}"' for name in names)
    is_wanted = " or ".join("distinct_id::varchar = ?" for _ in ids)
    connection = duckdb.connect()
    naive = connection.execute(
        f"select {columns} from read_parquet({files}, hive_partitioning=false) where {is_wanted}", ids
    ).fetchall()
    of_export = connection.execute(f"select {columns} from read_parquet('{parquet}')").fetchall()
    check("Parquet read by DuckDB", sorted(map(repr, of_export)), sorted(map(repr, naive)))

    for name, options in [("rows.csv", []), ("safe.csv", ["--csv-safe"])]:
        export(efface, dataset, ids, work / name, *options)
        with (work / name).open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        check("the lines of CSV", len(lines), len(rows))
        for column in names:
            if pa.types.is_string(expected.schema.field(column).type) and not options:
                check(f"CSV, {column}", [line[column] for line in lines], [row[column] or "" for row in rows])
    read = connection.execute(f"select count(*) from read_csv('{work / 'rows.csv'}', all_varchar=true)").fetchone()
    check("CSV read by DuckDB", read, (len(rows),))

    export(efface, dataset, ids, work / "categories.parquet", "--disclosure", "categories")
    headers = pq.read_table(work / "categories.parquet").to_pylist()
    for position, id in enumerate(ids, 1):
        own = selected(shards, [id])
        counts = {header["column"]: header["rows"] for header in headers if header["subject"] == position}
        for field in own.schema:
            if not pa.types.is_nested(field.type):
                held = len(own) - own[field.name].null_count
                check(f"rows with {field.name}", counts.get(field.name, 0), held)

    export(efface, dataset, ids, work / "sources.parquet", "--disclosure", "sources")
    sources = pq.ParquetFile(work / "sources.parquet").read()
    check("the rows of sources", sources.num_rows, len(rows))
    for column in ["distinct_id", "time", "browser", "os", "city"]:
        if column in names:
            check(f"sources, {column}", sources[column].to_pylist(), [row[column] for row in rows])
    check("columns that are no sources", {"price", "event", "duration_ms"} & set(sources.column_names), set())

    each = work / "each"
    export(efface, dataset, ids, each, "--per-subject", "--format", "parquet")
    manifest = json.loads((each / "manifest.json").read_text())
    for id, entry in zip(ids, manifest["subjects"], strict=True):
        own = selected(shards, [id])
        table = pq.ParquetFile(each / entry["file"]).read().select(names)
        check("the rows of one subject", table.to_pylist(), own.to_pylist())
    return len(rows)


def main() -> None:
    efface, data = sys.argv[1], Path(sys.argv[2])
    for dataset in sorted(path for path in data.iterdir() if path.is_dir()):
        for folder in [dataset / "events", dataset]:
            if folder.is_dir() and shards_of(folder):
                with tempfile.TemporaryDirectory() as work:
                    rows = check_dataset(efface, folder, Path(work))
                print(f"{dataset.name}: {rows} rows are the same in every format")
                break


if __name__ == "__main__":
    main()
