"""What the package promises, on copies of data-samples and on datasets written here."""

import copy
import datetime
import json
import logging
import multiprocessing
import os
import pathlib
import pickle
import shutil
import stat
import subprocess
import sys
import threading
import time
import traceback
import uuid

import duckdb
import efface
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SAMPLES = pathlib.Path(__file__).parents[2] / "data-samples"
ALIAS, PERSON = "anon-306bjrwl", "u224xoglc"


@pytest.fixture
def samples(tmp_path):
    shutil.copytree(SAMPLES, tmp_path / "samples")
    return tmp_path / "samples" / "events"


def held(path, ids):
    table = pq.read_table(path)
    return table.filter(pa.compute.is_in(table["distinct_id"], pa.array(ids)))


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small"
    path.mkdir()
    ids = ["ada", "bob", "ada", "cyd", "bob"]
    pages = ["/", "/", "/buy", "/", "/help"]
    pq.write_table(pa.table({"distinct_id": ids, "page": pages}), path / "day-1.parquet")
    return path


def test_a_plan_tells_its_figures_and_a_delete_does_just_that(small):
    events = efface.open(small)
    plan = events.plan(["ada"])
    assert (plan.rows, plan.dataset_rows, plan.shards, plan.kind) == (2, 5, 1, "delete")
    assert plan.subjects == [{"position": 1, "found": True, "rows": 2}]
    assert plan.to_dict()["digest"] == plan.digest
    assert "2 of 5" in repr(plan) and plan.digest in repr(plan)
    assert plan.digest in plan._repr_html_() and "<table>" in plan._repr_html_()
    done = events.delete(["ada"], plan=plan)
    assert done["rows_removed"] == 2 and done["shards_rewritten"] == 1
    assert pq.read_table(small)["distinct_id"].to_pylist() == ["bob", "cyd", "bob"]
    assert events.verify(["ada"]) == {**events.verify(["ada"]), "clean": True, "findings": []}


def test_another_plan_is_refused_with_both_digests(small):
    events = efface.open(small)
    plan = events.plan(["ada"])
    with pytest.raises(efface.RefusedError) as error:
        events.delete(["bob"], plan=plan)
    assert error.value.expected == plan.digest and error.value.found != plan.digest
    assert pq.read_table(small).num_rows == 5


def test_the_stored_configuration_counts_and_keywords_override_it(samples):
    assert efface.open(samples).plan([ALIAS]).rows < 257
    efface.open(samples, aliases="../aliases.csv").init()
    assert efface.open(samples).plan([ALIAS]).rows == 257
    assert efface.open(samples, aliases=None).plan([ALIAS]).rows < 257


def test_an_export_is_an_arrow_stream_that_others_take(samples):
    events = efface.open(samples)
    expected = held(samples, [PERSON])
    got = pa.table(events.export([PERSON]))
    assert got.column_names == expected.column_names
    assert got.sort_by("insert_id").to_pylist() == expected.sort_by("insert_id").to_pylist()
    assert polars.from_arrow(pa.table(events.export([PERSON]))).height == expected.num_rows
    assert polars.DataFrame(events.export([PERSON])).height == expected.num_rows
    assert len(pandas.DataFrame.from_arrow(events.export([PERSON]))) == expected.num_rows
    reader = pa.RecordBatchReader.from_stream(events.export([PERSON]))
    assert duckdb.sql("select count(*) from reader").fetchall() == [(expected.num_rows,)]
    assert pa.schema(events.export([PERSON])) == got.schema


def test_an_export_is_taken_once(small):
    export = efface.open(small).export(["ada"])
    assert pa.table(export).num_rows == 2
    with pytest.raises(efface.UsageError, match="taken already"):
        pa.table(export)
    assert "taken" in repr(export) and "ada" not in repr(export)


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv", "arrow"])
def test_an_export_is_written_to_a_file_of_each_format(small, tmp_path, ending):
    to = tmp_path / f"out.{ending}"
    done = efface.open(small).export(["ada"]).write(to)
    assert done["rows"] == 2 and done["bytes"] == to.stat().st_size and done["output"] == str(to)
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    read = {
        "parquet": lambda: pq.read_table(to).to_pylist(),
        "jsonl": lambda: [json.loads(line) for line in to.read_text().splitlines()],
        "csv": lambda: pandas.read_csv(to).to_dict("records"),
        "arrow": lambda: pa.ipc.open_stream(to).read_all().to_pylist(),
    }
    assert read[ending]() == [
        {"distinct_id": "ada", "page": "/"},
        {"distinct_id": "ada", "page": "/buy"},
    ]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [to.name]


def test_an_export_never_becomes_a_shard(small):
    with pytest.raises(efface.UsageError, match="count as one of its shards"):
        efface.open(small).export(["ada"]).write(small / "ada.parquet")
    with pytest.raises(efface.UsageError, match="format"):
        efface.open(small).export(["ada"]).write(small.parent / "ada")


def test_disclosures_and_windows_are_those_of_the_command(samples):
    events = efface.open(samples)
    headers = pa.table(events.export([PERSON], disclosure="categories"))
    assert headers.num_rows > 5 and "column" in " ".join(headers.column_names)
    when = datetime.datetime(2027, 1, 1, tzinfo=datetime.timezone.utc)
    year = pa.table(events.export([PERSON], regulation="ccpa", requested_at=when))
    assert 0 < year.num_rows < held(samples, [PERSON]).num_rows
    since = events.export(
        [PERSON], regulation="ccpa", requested_at=when, since=datetime.date(2025, 1, 1)
    )
    assert pa.table(since).num_rows == held(samples, [PERSON]).num_rows


NUMBERS = pa.table({"distinct_id": pa.array([1, 2, 3, 2], pa.int64()), "n": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    "ids",
    [
        [2],
        (2,),
        {2},
        iter([2]),
        (number for number in [2]),
        pa.array([2]),
        pa.chunked_array([[2], [2]]),
        pa.array([2]).dictionary_encode(),
        pandas.Series([2]),
        pandas.Series([2]).to_numpy(),
        polars.Series([2]),
        ["2"],
        "2",
        b"2".split(),
    ],
    ids=lambda ids: type(ids).__module__ + "." + type(ids).__name__,
)
def test_ids_are_any_iterable_or_arrow_array(tmp_path, ids):
    pq.write_table(NUMBERS, tmp_path / "shard.parquet")
    assert efface.open(tmp_path).plan(ids).rows == 2


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary()])
def test_texts_come_in_each_arrow_type(small, kind):
    assert efface.open(small).plan(pa.array(["ada", "bob"]).cast(kind)).rows == 4


def test_a_uuid_is_an_id(tmp_path):
    who = uuid.uuid4()
    pq.write_table(pa.table({"distinct_id": [str(who), "x"]}), tmp_path / "shard.parquet")
    assert efface.open(tmp_path).plan([who]).rows == 1


def test_ids_come_from_a_csv_file(small, tmp_path):
    csv = tmp_path / "ids.csv"
    csv.write_text("distinct_id,name\nada,Ada\n")
    assert efface.open(small).plan(csv).rows == 2
    csv.write_text("name,who\nAda,ada\n")
    with pytest.raises(efface.RefusedError):
        efface.open(small).plan(csv)
    assert efface.open(small).plan(csv, ids_column="who").rows == 2
    with pytest.raises(efface.UsageError, match="ids_column"):
        efface.open(small).plan(["ada"], ids_column="who")


SECRET = "someone-secret@example.com"


class Odd:
    def __repr__(self):
        return SECRET


@pytest.mark.parametrize(
    ("ids", "error", "positions"),
    [
        ([], efface.RefusedError, None),
        ([""], efface.RefusedError, [1]),
        (["ada", None], efface.UsageError, None),
        (["ada", 1.5], efface.UsageError, None),
        (["ada", True], efface.UsageError, None),
        ([[SECRET]], efface.UsageError, None),
        ([Odd()], efface.UsageError, None),
        (Odd(), efface.UsageError, None),
        (None, efface.UsageError, None),
        (7, efface.UsageError, None),
        (SECRET.encode(), efface.UsageError, None),
        ([b"\xff"], efface.UsageError, None),
        (["\ud800" + SECRET], efface.UsageError, None),
        (["ada", SECRET], efface.RefusedError, [2]),
        ([f"{SECRET}-{n}" for n in range(2001)], efface.RefusedError, None),
        (pa.array(["ada", None]), efface.UsageError, None),
        (pa.array([1.5]), efface.UsageError, None),
        (pa.array([[SECRET]]), efface.UsageError, None),
        (pa.table({"id": [SECRET]}), efface.UsageError, None),
        (pathlib.Path("/nowhere/" + "ids.csv"), efface.UsageError, None),
    ],
)
def test_what_is_no_id_is_refused_without_a_word_of_it(small, ids, error, positions):
    events = efface.open(small)
    before = (small / "day-1.parquet").read_bytes()
    for call in (events.delete, events.export):
        with pytest.raises(error) as raised:
            call(copy.copy(ids))
        told = "".join(traceback.format_exception(raised.value)) + repr(vars(raised.value))
        # The traceback shows the lines of this file, which hold no id.
        assert SECRET not in told.replace("SECRET", "")
        if positions:
            assert raised.value.positions == positions
    assert (small / "day-1.parquet").read_bytes() == before


def test_too_many_ids_say_how_many(small):
    with pytest.raises(efface.RefusedError) as error:
        efface.open(small).plan(str(n) for n in range(2001))
    assert (error.value.found, error.value.limit) == (2001, 2000)


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda path: efface.open(path / "nowhere"), efface.UsageError, "no directory"),
        (lambda path: efface.open("s3://bucket/prefix"), efface.UsageError, "s3://"),
        (lambda path: efface.open(path, {"a": "b"}), efface.UsageError, "storage_options"),
        (lambda path: efface.open(path, subjects="x"), efface.UsageError, "subjects"),
        (lambda path: efface.open(path, subject=7), efface.UsageError, "subject"),
        (lambda path: efface.open(path, memory="much"), efface.UsageError, "memory"),
        (lambda path: efface.open(path, subject="nobody").plan(["ada"]), efface.UsageError, "nobody"),
        (lambda path: efface.open(path).plan(["ada"], regulation="dsgvo"), efface.UsageError, "gdpr"),
        (lambda path: efface.open(path).plan(["ada"], regulatoin="gdpr"), efface.UsageError, "regulatoin"),
        (lambda path: efface.open(path).plan(["ada"], kind="forget"), efface.UsageError, "kind"),
        (lambda path: efface.open(path).delete(["ada", "bob"]), efface.RefusedError, "max_match"),
        (lambda path: efface.open(path).delete(["ada"], requested_at=7), efface.UsageError, "requested_at"),
        (
            lambda path: efface.open(path).delete(["ada"], requested_at=datetime.datetime(2026, 1, 1)),
            efface.UsageError,
            "time zone",
        ),
        (lambda path: efface.open(path).export(["ada"], regulation="ccpa"), efface.UsageError, "time"),
        (lambda path: efface.open(path).status("ada"), efface.UsageError, "tracking id"),
        (lambda path: efface.open(path).compact(max_match=2.0), efface.UsageError, "max_match"),
        (lambda path: efface.open(path).delete(["ada"], zstd_level="best"), efface.UsageError, "zstd_level"),
    ],
)
def test_bad_calls_end_in_the_class_that_says_what_to_do(small, call, error, word):
    with pytest.raises(error, match=word):
        call(small)
    assert pq.read_table(small).num_rows == 5


def test_a_damaged_shard_is_named(small):
    (small / "bad.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(efface.DamagedError) as error:
        efface.open(small).plan(["ada"])
    assert error.value.path == "bad.parquet"
    assert isinstance(error.value, efface.Error)


def test_the_queue(samples):
    events = efface.open(samples, aliases="../aliases.csv")
    due = datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)
    one = events.submit([PERSON], due=due)
    assert one["state"] == "PENDING" and not one["joined"] and one["due"].startswith("2099-01-01")
    assert events.submit([PERSON])["tracking_id"] == one["tracking_id"]
    other = events.submit(["device-nobody"])
    assert len(events.status()) == 2
    assert events.cancel(other["tracking_id"])["state"] == "REVOKED"
    done = events.compact()
    assert done["rows_removed"] > 0 and done["requests"][0]["state"] == "SUCCESS"
    assert events.status(one["tracking_id"])["state"] == "SUCCESS"
    assert events.status(str(uuid.UUID(int=0)).replace("0000-0000-0000", "0000-7000-8000", 1))["state"] == "NOT_FOUND"
    with pytest.raises(efface.RefusedError):
        events.cancel(one["tracking_id"])
    receipts = events.receipts()
    assert receipts["intact"] and receipts["count"] == 2
    assert PERSON not in json.dumps(receipts)
    assert held(samples, [PERSON]).num_rows == 0


def test_tasks_run_anywhere_and_twice(samples):
    events = efface.open(samples)
    assert events.publish_tasks() == {"pass": None, "tasks": 0}
    events.submit([PERSON])
    published = events.publish_tasks()
    assert published["tasks"] > 0
    with pytest.raises(efface.ConflictError):
        events.commit(published["pass"])
    numbers = list(range(1, published["tasks"] + 1))
    for number in numbers + numbers[:1]:
        worker = pickle.loads(pickle.dumps(events))
        assert worker.run_task(published["pass"], number)["rewritten"]
    assert events.commit(published["pass"])["requests"][0]["state"] == "SUCCESS"
    assert events.commit(published["pass"])["receipts"][0]["rows_removed"] > 0
    assert held(samples, [PERSON]).num_rows == 0
    with pytest.raises(efface.UsageError):
        events.run_task(published["pass"], 1)


def test_suppressed_ids_do_not_come_back(small):
    events = efface.open(small)
    assert events.suppress(["ada"]) == 1 and events.suppress(["ada"]) == 0
    assert events.compact()["rows_suppressed"] == 2
    assert events.unsuppress(["ada"]) == 1


def test_logs_go_to_logging_without_ids(small, caplog):
    with caplog.at_level(logging.DEBUG, logger="efface"):
        efface.open(small).delete(["ada"])
    assert "ada" not in caplog.text


def test_progress_is_told(samples):
    seen = []
    events = efface.open(samples, progress=lambda stage, done, total: seen.append((stage, done, total)))
    events.delete([PERSON])
    assert seen and all(isinstance(stage, str) and total >= 0 for stage, _, total in seen)


def test_a_callback_that_fails_stops_the_work_and_is_raised(samples):
    def callback(stage, done, total):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        efface.open(samples, progress=callback).delete([PERSON])
    # The pass is carried on.
    efface.open(samples).compact()
    efface.open(samples).delete([PERSON], unknown="report")
    assert held(samples, [PERSON]).num_rows == 0


def test_the_interpreter_is_free_while_a_call_works(tmp_path):
    ids = [f"user-{n % 5000}" for n in range(400_000)]
    text = [f"{n:x}" * 9 for n in range(400_000)]
    pq.write_table(pa.table({"distinct_id": ids, "text": text}), tmp_path / "shard.parquet")
    counted, stop = 0, threading.Event()

    def count():
        nonlocal counted
        while not stop.is_set():
            counted += 1
            time.sleep(0)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = counted
        efface.open(tmp_path).delete([f"user-{n}" for n in range(1000)])
        assert counted - before > 100
    finally:
        stop.set()
        thread.join()


def test_threads_share_a_dataset(samples):
    events = efface.open(samples)
    events.index()
    expected = held(samples, [PERSON]).num_rows
    rows = []
    threads = [
        threading.Thread(target=lambda: rows.append(pa.table(events.export([PERSON])).num_rows))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows == [expected] * 8


def planned(events):
    return events.plan([PERSON]).rows


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_dataset_goes_to_other_processes(samples, how):
    events = efface.open(samples, threads=2, progress=print)
    expected = planned(events)
    with multiprocessing.get_context(how).Pool(2) as pool:
        assert pool.map_async(planned, [events] * 4).get(timeout=120) == [expected] * 4


def test_a_forked_process_has_threads_of_its_own(samples):
    events = efface.open(samples)
    expected = planned(events)
    child = os.fork()
    if child == 0:
        os._exit(0 if planned(events) == expected else 1)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return
        time.sleep(0.1)
    os.kill(child, 9)
    pytest.fail("the child hangs")


def test_ctrl_c_stops_and_the_same_call_takes_up(tmp_path):
    dataset = tmp_path / "many"
    dataset.mkdir()
    table = pa.table({"distinct_id": [f"user-{n % 50}" for n in range(2000)], "n": range(2000)})
    for number in range(1500):
        pq.write_table(table, dataset / f"{number}.parquet")
    efface.open(dataset).index()
    script = (
        "import efface, sys\n"
        "events = efface.open(sys.argv[1])\n"
        "print('go', flush=True)\n"
        "try:\n    events.delete(['user-7'])\n"
        "except KeyboardInterrupt:\n    sys.exit(42)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(dataset)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "go\n"
    time.sleep(0.3)
    process.send_signal(2)
    assert process.wait(timeout=60) == 42
    left = held(dataset, ["user-7"]).num_rows
    efface.open(dataset).compact()
    efface.open(dataset).delete(["user-7"], unknown="report")
    assert left > 0 and held(dataset, ["user-7"]).num_rows == 0
    assert pq.read_table(dataset).num_rows == 1500 * 1960


def test_the_name_of_a_dataset_shows_no_secret(small):
    assert repr(efface.open(small)) == f'efface.open("{small}")'
    assert efface.open(str(small)).uri == str(small)
    assert efface.open(f"file://{small}").plan(["ada"]).rows == 2
