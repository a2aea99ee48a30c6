"""Compares what pyarrow, DuckDB and Polars read after deletes with what they read before, without the deleted rows.

usage: readers.py EFFACE DATA [FOREIGN]

DATA has a folder for each dataset of events, FOREIGN single Parquet files of other writers. Every shard is read
whole, as dictionaries, and through filters that the readers push down: one that believes wrong statistics or a
wrong bloom filter loses rows there. What a reader can't read before a delete is printed and left out.
"""

import itertools
import json
import operator
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

UNSUPPORTED = 5
USAGE = 2
SUBJECTS_PER_FILE = 2
Dictionaries = dict[str, tuple[pd.Series, set[str]]]
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"=": operator.eq, ">=": operator.ge}


@dataclass
class Filter:
    """Rows whose `column` stands to `value` as `sign` says, and the columns of them to read."""

    column: str
    sign: str
    value: pa.Scalar
    columns: list[str]

    def __str__(self) -> str:
        return f"{self.column} {self.sign} {self.value}"


class Arrow:
    """pyarrow: row-group statistics; checks the CRCs of pages as well."""

    @staticmethod
    def read(path: Path) -> pa.Table:
        return pq.ParquetFile(path, page_checksum_verification=True).read()

    @staticmethod
    def read_where(path: Path, where: Filter) -> pa.Table:
        condition = Arrow.condition(where)
        return pq.read_table(path, columns=where.columns, partitioning=None, filters=condition)

    @staticmethod
    def keep(rows: pa.Table, where: Filter) -> pa.Table:
        return rows.select(where.columns).filter(Arrow.condition(where))

    @staticmethod
    def condition(where: Filter) -> pc.Expression:
        return OPERATORS[where.sign](pc.field(where.column), where.value)


class Duck:
    """DuckDB: row-group statistics and bloom filters."""

    @staticmethod
    def read(path: Path) -> pa.Table:
        return Duck.query("select * from read_parquet($path)", path=str(path))

    @staticmethod
    def read_where(path: Path, where: Filter) -> pa.Table:
        query = f"select {Duck.names(where)} from read_parquet($path) where {Duck.condition(where)}"
        return Duck.query(query, path=str(path), value=where.value.as_py())

    @staticmethod
    def keep(rows: pa.Table, where: Filter) -> pa.Table:
        query = f"select {Duck.names(where)} from rows where {Duck.condition(where)}"
        return duckdb.sql(query, params={"value": where.value.as_py()}).to_arrow_table()

    @staticmethod
    def query(query: str, **params: Any) -> pa.Table:
        return duckdb.sql(query, params=params).to_arrow_table()

    @staticmethod
    def names(where: Filter) -> str:
        return ", ".join(f'"{name}"' for name in where.columns)

    @staticmethod
    def condition(where: Filter) -> str:
        return f'"{where.column}" {where.sign} $value'


class Polars:
    """Polars: row-group statistics."""

    @staticmethod
    def read(path: Path) -> pa.Table:
        return pl.read_parquet(path).to_arrow()

    @staticmethod
    def read_where(path: Path, where: Filter) -> pa.Table:
        rows = pl.scan_parquet(path, use_statistics=True).filter(Polars.condition(where))
        return rows.select(where.columns).collect().to_arrow()

    @staticmethod
    def keep(rows: pa.Table, where: Filter) -> pa.Table:
        return pl.DataFrame(rows.select(where.columns)).filter(Polars.condition(where)).to_arrow()

    @staticmethod
    def condition(where: Filter) -> pl.Expr:
        return OPERATORS[where.sign](pl.col(where.column), pl.lit(where.value.as_py()))


READERS = [Arrow, Duck, Polars]


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_scalar(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_null(kind))


def differ(left: pa.Table, right: pa.Table) -> bool:
    """Whether two tables hold other rows, columns or types; NaN equals itself."""
    if left.schema.equals(right.schema, check_metadata=True) and left.equals(right):
        return False
    return left.schema != right.schema or repr(left.to_pylist()) != repr(right.to_pylist())


def filters(rows: pa.Table, subject: str, deleted: list[pa.Scalar]) -> Iterator[Filter]:
    """Values at the edges of chunks, which is where statistics go wrong, and values that are gone."""
    for value in deleted[:3]:
        yield Filter(subject, "=", value, [subject])
    for field in rows.schema:
        column = rows[field.name]
        if not is_scalar(field.type) or column.null_count == len(column):
            continue
        column = column.drop_null().unique()
        try:
            order = pc.sort_indices(column)
        except pa.ArrowNotImplementedError:
            continue
        least, middle, most = (column[order[place].as_py()] for place in (0, len(order) // 2, -1))
        columns = list(dict.fromkeys([subject, field.name]))
        yield Filter(field.name, "=", least, columns)
        yield Filter(field.name, "=", middle, columns)
        yield Filter(field.name, ">=", most, columns)


def dictionaries(path: Path) -> Dictionaries:
    """The text columns as pandas gets them from the file's own dictionaries, and what is there but in no row."""
    names = [field.name for field in pq.read_schema(path) if is_text(field.type)]
    frame = pq.read_table(path, columns=names, partitioning=None, read_dictionary=names).to_pandas()
    return {name: (frame[name].astype(object), unused(frame[name])) for name in names}


def dictionaries_agree(before: Dictionaries, after: Dictionaries, stays: pa.ChunkedArray) -> bool:
    """Whether the same values are left, and no dictionary holds a value that lost its rows."""
    mask = stays.to_numpy()
    return before.keys() == after.keys() and all(
        values[mask].reset_index(drop=True).equals(after[name][0]) and after[name][1] <= gaps
        for name, (values, gaps) in before.items()
    )


def unused(column: pd.Series) -> set[str]:
    return set(column.cat.categories) - set(column.unique())


def structures(path: Path) -> dict[str, set[tuple[bool, bool, bool]]]:
    """Whether the chunks of each column have a column index, an offset index and a bloom filter."""
    found: dict[str, set[tuple[bool, bool, bool]]] = {}
    metadata = pq.read_metadata(path)
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(number)
            has = (chunk.has_column_index, chunk.has_offset_index, chunk.bloom_filter_offset is not None)
            found.setdefault(chunk.path_in_schema, set()).add(has)
    return found


class Comparison:
    """Counts what agreed and collects what didn't."""

    def __init__(self) -> None:
        self.agreed: Counter[str] = Counter()
        self.problems: list[str] = []

    def shard(self, label: str, old: Path, new: Path, subject: str, deleted: list[pa.Scalar]) -> int:
        """Compares one shard through every reader; gives the number of rows that should be gone."""
        stays = pc.invert(pc.is_in(pq.ParquetFile(old).read([subject])[subject], pa.array(deleted)))
        what = f"{label} without some {subject}"
        for reader in READERS:
            name = reader.__name__
            try:
                whole = reader.read(old)
                expected = whole.filter(stays)
            except Exception as error:
                print(f"  {name} can't read {label} itself: {first_line(error)}")
                continue
            self.note(name, what, lambda: not differ(expected, reader.read(new)))
            for where in filters(expected, subject, deleted):
                try:
                    rows = reader.keep(expected, where)
                    is_wrong = differ(reader.keep(whole, where), reader.read_where(old, where))
                except Exception as error:
                    print(f"  {name} can't filter {label} itself by {where.column}: {first_line(error)}")
                    continue
                if is_wrong:
                    print(f"  {name} filters {label} wrongly itself: {where}")
                    continue
                self.note(name, f"{what} where {where}", lambda: not differ(rows, reader.read_where(new, where)))
        try:
            before = dictionaries(old)
        except Exception as error:
            print(f"  pyarrow can't read the dictionaries of {label} itself: {first_line(error)}")
        else:
            self.note("dictionaries", what, lambda: dictionaries_agree(before, dictionaries(new), stays))
        if pc.any(stays).as_py():
            self.note("structures", what, lambda: structures(old) == structures(new))
        return len(stays) - pc.sum(stays).as_py()

    def note(self, reader: str, what: str, agree: Callable[[], bool]) -> None:
        try:
            problem = None if agree() else "other rows"
        except Exception as error:
            problem = first_line(error)
        if problem is None:
            self.agreed[reader] += 1
        else:
            self.problems.append(f"{reader}, {what}: {problem}")


def first_line(error: Exception) -> str:
    return f"{type(error).__name__} {str(error).strip()}".splitlines()[0][:150]


def delete(efface: str, dataset: Path, subject: str, ids: list[pa.Scalar]) -> dict[str, Any] | None:
    """Deletes these ids; `None` when the column can't be a subject, or the file isn't supported."""
    words = [efface, "delete", str(dataset), "--json", "--max-match", "1", "--subject", subject]
    words += [f"--id={as_id(value)}" for value in ids]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    if run.returncode in (USAGE, UNSUPPORTED):
        return None
    assert run.returncode == 0, f"{words[1:]}: {run.stderr}"
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def ids_of(shards: list[Path], subject: str) -> list[pa.Scalar]:
    """The most frequent id, the least and the largest one, and one in the middle; at most half of all."""
    column = pa.chunked_array([chunk for shard in shards for chunk in pq.ParquetFile(shard).read([subject])[subject].chunks])
    counts = column.drop_null().value_counts()
    if len(counts) == 0:
        return []
    values = counts.field("values")
    order = pc.sort_indices(values).to_pylist()
    places = [pc.index(counts.field("counts"), pc.max(counts.field("counts"))).as_py()]
    places += [order[0], order[-1], order[len(order) // 2]]
    ids = [values[place] for place in dict.fromkeys(places) if as_id(values[place])]
    return ids[: max(1, len(values) // 2)]


def as_id(value: pa.Scalar) -> str:
    """A value as a subject id, empty if it can't be one."""
    plain = value.as_py()
    if isinstance(plain, bytes):
        return plain.decode() if plain.isascii() else ""
    return str(plain) if isinstance(plain, str | int | Decimal) and not isinstance(plain, bool) else ""


def compare_dataset(comparison: Comparison, efface: str, dataset: Path, subject: str, room: Path) -> bool:
    """Deletes some ids from a copy of a dataset, or of a single shard, and compares; whether that could be done."""
    base = dataset if dataset.is_dir() else dataset.parent
    shards = [path.relative_to(base) for path in sorted(dataset.rglob("*.parquet"))] or [Path(dataset.name)]
    ids = ids_of([base / shard for shard in shards], subject)
    if not ids:
        return False
    copy = Path(tempfile.mkdtemp(dir=room))
    for shard in shards:
        (copy / shard).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(base / shard, copy / shard)
    report = delete(efface, copy, subject, ids)
    if report is None:
        return False
    removed = 0
    for shard in shards:
        label = f"{base.parent.name}/{shard.name}"
        removed += comparison.shard(label, base / shard, copy / shard, subject, ids)
    if removed != report["rows_removed"]:
        comparison.problems.append(f"{dataset}: {report['rows_removed']} rows removed instead of {removed}")
    return True


def compare_foreign(comparison: Comparison, efface: str, file: Path, room: Path) -> bool:
    """Compares after deletes by the first columns of a file that can be subjects; whether there is one."""
    try:
        names = [field.name for field in pq.read_schema(file) if is_scalar(field.type)]
    except (OSError, pa.ArrowException) as error:
        print(f"  pyarrow can't read {file.name} itself: {first_line(error)}")
        return False
    tries = (compare_dataset(comparison, efface, file, name, room) for name in names)
    tried = len(list(itertools.islice(filter(None, tries), SUBJECTS_PER_FILE)))
    if tried == 0:
        print(f"  no column of {file.name} can be a subject here")
    return tried > 0


def main() -> int:
    efface, data, *foreign = sys.argv[1:]
    comparison = Comparison()
    with tempfile.TemporaryDirectory() as room:
        datasets = sorted(Path(data).glob("*/events"))
        for dataset in datasets:
            assert compare_dataset(comparison, efface, dataset, "distinct_id", Path(room)), dataset
        files = sorted(path for folder in foreign for path in Path(folder).glob("*.parquet"))
        compared = sum(compare_foreign(comparison, efface, file, Path(room)) for file in files)
    agreed = ", ".join(f"{reader} {count}" for reader, count in comparison.agreed.items())
    print(f"{len(datasets)} datasets of events and {compared} files of other writers; what agreed: {agreed}")
    for problem in comparison.problems:
        print(f"PROBLEM: {problem}")
    has_nothing_compared = not datasets or (files and not compared)
    return 1 if comparison.problems or has_nothing_compared else 0


if __name__ == "__main__":
    sys.exit(main())
