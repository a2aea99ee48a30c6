"""A pass on real Spark: two executors, a task that runs twice, an executor that dies."""

import os
import pathlib
import shutil
import signal
import sys

import efface
import efface.spark
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

SAMPLES = pathlib.Path(__file__).parents[2] / "data-samples"
PERSON = "u224xoglc"


@pytest.fixture(scope="module")
def spark():
    os.environ.update(SPARK_LOCAL_IP="127.0.0.1", PYSPARK_PYTHON=sys.executable)
    session = (
        SparkSession.builder.master("local-cluster[2,1,1024]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.fixture
def copies(tmp_path):
    for name in ("spark", "one"):
        shutil.copytree(SAMPLES, tmp_path / name)
    return tmp_path / "spark" / "events", tmp_path / "one" / "events"


def shards(path):
    return {shard.name: shard.read_bytes() for shard in sorted(path.glob("*.parquet"))}


def test_spark_makes_the_shards_that_one_process_makes(spark, copies):
    on_spark, here = copies
    done = efface.spark.delete(spark, str(on_spark), [PERSON])
    assert done["requests"][0]["state"] == "SUCCESS"
    efface.open(here).delete([PERSON])
    assert shards(on_spark) == shards(here)
    assert efface.open(on_spark).receipts()["count"] == 1
    assert efface.spark.compact(spark, str(on_spark))["tracking_id"] is None


def test_executors_may_die_and_tasks_run_twice(spark, copies):
    on_spark, here = copies
    events = efface.open(on_spark)
    events.submit([PERSON])
    published = events.publish_tasks()
    uri, pass_id, killed = str(on_spark), published["pass"], str(on_spark.parent / "killed")

    def run(number):
        done = efface.open(uri).run_task(pass_id, number)["rewritten"]
        if number == 1 and not os.path.exists(killed):
            open(killed, "w").close()
            # The executor is the parent of this worker's daemon.
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    numbers = list(range(1, published["tasks"] + 1)) * 2
    assert all(spark.sparkContext.parallelize(numbers, len(numbers)).map(run).collect())
    assert os.path.exists(killed)
    assert events.commit(pass_id)["requests"][0]["state"] == "SUCCESS"
    efface.open(here).delete([PERSON])
    assert shards(on_spark) == shards(here)
    assert pq.read_table(on_spark).num_rows == pq.read_table(here).num_rows
