#!/bin/bash
# What a child of the array runs: its tasks, WIDTH apart.
set -euo pipefail
for ((n = ${AWS_BATCH_JOB_ARRAY_INDEX:-0} + 1; n <= TASKS; n += WIDTH)); do
    efface task "$DATASET" "$PASS" "$n"
done
