#!/bin/bash
# One pass as an AWS Batch array job: `bash aws-batch.sh /lake/events QUEUE DEFINITION`. The job definition's container has
# `efface` and the dataset under the same path, and runs aws-batch-task.sh. An array has 2 to 10,000 children.
set -euo pipefail
dataset="$1" queue="$2" definition="$3"

planned="$(efface compact "$dataset" --tasks --json)"
pass="$(jq -r '.pass // empty' <<<"$planned")"
tasks="$(jq -r .tasks <<<"$planned")"
if [[ -z "$pass" ]]; then
    echo "nothing waits"
    exit 0
fi
width="$tasks"
((width <= 10000)) || width=10000
environment="$(jq -nc --arg dataset "$dataset" --arg pass "$pass" --arg tasks "$tasks" --arg width "$width" \
    '{environment: [{name: "DATASET", value: $dataset}, {name: "PASS", value: $pass}, {name: "TASKS", value: $tasks}, {name: "WIDTH", value: $width}]}')"
array=()
((width < 2)) || array=(--array-properties "size=$width")
job="$(aws batch submit-job --job-name "efface-$pass" --job-queue "$queue" --job-definition "$definition" \
    --retry-strategy attempts=3 --container-overrides "$environment" "${array[@]}" --query jobId --output text)"
while :; do
    state="$(aws batch describe-jobs --jobs "$job" --query 'jobs[0].status' --output text)"
    [[ "$state" != SUCCEEDED && "$state" != FAILED ]] || break
    sleep "${POLL_SECONDS:-15}"
done
exec efface commit "$dataset" "$pass"
