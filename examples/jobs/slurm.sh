#!/bin/bash
# One pass as a Slurm array: `bash slurm.sh /lake/events`. Plan here, run the tasks anywhere, commit when all have ended.
# An array has a bound (MaxArraySize): each element runs its tasks one after the other, so any number of tasks fits.
set -euo pipefail
dataset="$1"
width="${WIDTH:-100}"

planned="$(efface compact "$dataset" --tasks --json)"
pass="$(jq -r '.pass // empty' <<<"$planned")"
tasks="$(jq -r .tasks <<<"$planned")"
if [[ -z "$pass" ]]; then
    echo "nothing waits"
    exit 0
fi
if ((tasks > 0)); then
    ((width <= tasks)) || width="$tasks"
    # `--wait` ends when the array has; a task that failed shows when `commit` names it.
    sbatch --wait --array="1-$width" --wrap "
        for ((n = \$SLURM_ARRAY_TASK_ID; n <= $tasks; n += $width)); do
            efface task '$dataset' $pass \$n || exit
        done" || true
fi
exec efface commit "$dataset" "$pass"
