#!/usr/bin/env bash
# The array jobs here, with stand-ins for `sbatch` and `aws` that run the children on this machine, one of them twice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

efface="$PWD/${EFFACE:-target/release/efface}"
[[ -x "$efface" ]] || { echo "there is no $efface: build it first"; exit 1; }
command -v jq >/dev/null || apt-get install -y -qq jq >/dev/null
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
ln -s "$efface" "$work/bin/efface"
export PATH="$work/bin:$PATH"

cat >"$work/bin/sbatch" <<'STANDIN'
#!/bin/bash
for argument; do
    case "$argument" in --array=1-*) width="${argument#--array=1-}" ;; esac
    script="$argument"
done
for index in 1 $(seq 1 "$width"); do
    SLURM_ARRAY_TASK_ID="$index" bash -c "$script" >/dev/null
done
STANDIN
cat >"$work/bin/aws" <<'STANDIN'
#!/bin/bash
case "$2" in
submit-job)
    size=1
    while (($#)); do
        case "$1" in
        --container-overrides) overrides="$2" ;;
        --array-properties) size="${2#size=}" ;;
        esac
        shift
    done
    while IFS='=' read -r name value; do export "$name=$value"; done \
        < <(jq -r '.environment[] | "\(.name)=\(.value)"' <<<"$overrides")
    for index in 0 $(seq 0 $((size - 1))); do
        AWS_BATCH_JOB_ARRAY_INDEX="$index" bash examples/jobs/aws-batch-task.sh >/dev/null
    done
    echo job-1
    ;;
describe-jobs) echo SUCCEEDED ;;
esac
STANDIN
chmod +x "$work/bin/sbatch" "$work/bin/aws"

# A copy of the samples with one request that waits.
dataset() {
    cp -R data-samples/events "$work/$1"
    efface submit "$work/$1" --id u224xoglc --json >/dev/null
}

# The pass ended, with what one process would have removed.
ended() {
    local removed
    removed="$(efface receipts "$work/$1" --json | jq '.receipts[0].rows_removed')"
    [[ "$removed" == 128 ]] || { echo "$1: $removed rows were removed, not 128"; exit 1; }
    efface verify "$work/$1" --id u224xoglc --json >/dev/null
    echo "$1: 128 rows removed"
}

for width in 2 100; do
    dataset "slurm-$width"
    WIDTH=$width bash examples/jobs/slurm.sh "$work/slurm-$width" >/dev/null
    ended "slurm-$width"
    [[ "$(WIDTH=$width bash examples/jobs/slurm.sh "$work/slurm-$width")" == "nothing waits" ]]
done

dataset aws-batch
POLL_SECONDS=0 bash examples/jobs/aws-batch.sh "$work/aws-batch" queue definition >/dev/null
ended aws-batch

dataset kubernetes
planned="$(efface compact "$work/kubernetes" --tasks --json)"
container="$(sed -n "s/^ *args: \['\(.*\)'\]$/\1/p" examples/jobs/kubernetes.yaml)"
[[ "$container" == *JOB_COMPLETION_INDEX* ]]
DATASET="$work/kubernetes" PASS="$(jq -r .pass <<<"$planned")"
export DATASET PASS
for ((index = 0; index < $(jq -r .tasks <<<"$planned"); index++)); do
    JOB_COMPLETION_INDEX=$index sh -c "$container" >/dev/null
done
efface commit "$DATASET" "$PASS" >/dev/null
ended kubernetes

# Enough of Airflow to run the DAG's functions in their order.
mkdir -p "$work/modules/airflow"
touch "$work/modules/airflow/__init__.py"
printf 'def datetime(*_, **__): pass\n' >"$work/modules/pendulum.py"
cat >"$work/modules/airflow/sdk.py" <<'STANDIN'
class Task:
    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments):
        return self.function(*arguments)

    def expand_kwargs(self, mapped):
        return [self.function(**arguments) for arguments in mapped]


def task(function=None, **_):
    return Task(function) if function else Task


def dag(**_):
    return lambda function: function
STANDIN
dataset airflow
sed "s|^DATASET = .*|DATASET = \"$work/airflow\"|" examples/jobs/airflow_dag.py >"$work/modules/erase_dag.py"
PYTHONPATH="$work/modules" python3 -c "import erase_dag"
ended airflow
