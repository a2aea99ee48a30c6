"""One pass as an Airflow DAG: plan, one mapped task for each shard, commit. Retries and duplicates do no harm."""

import json
import subprocess

import pendulum
from airflow.sdk import dag, task

DATASET = "/lake/events"


def efface(*arguments):
    done = subprocess.run(["efface", *arguments, "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


@dag(schedule="@daily", start_date=pendulum.datetime(2026, 1, 1), catchup=False, max_active_runs=1)
def erase():
    @task
    def plan():
        planned = efface("compact", DATASET, "--tasks")
        return [{"pass_id": planned["pass"], "number": n + 1} for n in range(planned["tasks"])]

    @task(retries=3)
    def run(pass_id, number):
        efface("task", DATASET, pass_id, str(number))
        return pass_id

    @task
    def commit(passes):
        # Each task gives the id of the pass. Without tasks, what is left to do needs no other machine.
        passes = list(passes)
        return efface("commit", DATASET, passes[0]) if passes else efface("compact", DATASET)

    commit(run.expand_kwargs(plan()))


erase()
