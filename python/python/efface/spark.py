"""The tasks of a pass on Spark.

    import efface.spark
    efface.spark.compact(spark, "/lake/events")

The driver plans the pass and commits it; each executor runs tasks. An executor may die, and a task may run twice or come
back from the dead: the first result counts. If the driver dies, the next call (or a plain `efface compact`) takes the pass
up. The executors need the package `efface` and the same path to the dataset.
"""

import logging

import efface

_log = logging.getLogger("efface.spark")


def compact(spark, uri, storage_options=None, *, max_match=None, zstd_level=None, **config):
    """Carries out everything that waits, with the tasks on Spark's executors.

    Returns the report of `Dataset.compact`. `spark` is a `SparkSession` or a `SparkContext`; the other arguments are those of
    `efface.open` and `Dataset.compact`.
    """
    context = getattr(spark, "sparkContext", spark)
    options = {"max_match": max_match, "zstd_level": zstd_level}
    dataset = efface.open(uri, storage_options, **config)
    published = dataset.publish_tasks(**{name: value for name, value in options.items() if value is not None})
    pass_id, tasks = published["pass"], published["tasks"]
    if pass_id is None:
        return dataset.compact()
    _log.info("pass %s has %d tasks", pass_id, tasks)

    def run(number):
        # Opened on the executor: a dataset is a path and what is stored there.
        return efface.open(uri, storage_options, **config).run_task(pass_id, number)["rewritten"]

    if tasks:
        rewritten = context.parallelize(range(1, tasks + 1), tasks).map(run).collect()
        _log.info("pass %s: %d shards are staged", pass_id, sum(rewritten))
    return dataset.commit(pass_id)


def delete(spark, uri, ids, storage_options=None, **options):
    """Submits a delete of `ids` and carries it out, with all that waits, on Spark's executors.

    `options` are those of `Dataset.submit`. Returns the report of `compact`.
    """
    efface.open(uri, storage_options).submit(ids, **options)
    return compact(spark, uri, storage_options)
