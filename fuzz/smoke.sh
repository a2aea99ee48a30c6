#!/usr/bin/env bash
# Runs each fuzz target for some seconds, and the canary, which must be found: under two minutes, once they are built.
#   bash fuzz/smoke.sh [SECONDS]
set -euo pipefail
seconds="${1:-6}"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=fuzz/targets.sh
source fuzz/targets.sh
why="$(missing)"
if [[ -n "$why" ]]; then
    echo "skipped: $why"
    exit
fi
begin=$SECONDS
build
echo "built in $((SECONDS - begin)) s"

begin=$SECONDS
EVENTS="${EVENTS:-none}" bash fuzz/seeds.sh
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
command_of canary "$scratch/canary" -max_total_time=60 -seed=1 "-artifact_prefix=$scratch/"
if "${COMMAND[@]}" >"$scratch/log" 2>&1; then
    grep '^stat::number' "$scratch/log" >&2 || true
    echo "the canary was not found: the targets can find nothing" >&2
    exit 1
fi
grep -q 'row groups\|rows differ' "$scratch/log" || { tail -n 30 "$scratch/log" >&2; exit 1; }
echo "canary: found after $((SECONDS - begin)) s"
for target in "${TARGETS[@]}"; do
    # shellcheck disable=SC2046 # no folder is no word
    command_of "$target" "$scratch/$target" -max_total_time="$seconds" -seed=1 $(ls -d "fuzz/corpus/$target" 2>/dev/null)
    if ! "${COMMAND[@]}" >"$scratch/log" 2>&1; then
        tail -n 60 "$scratch/log" >&2
        echo "$target: a find, see fuzz/artifacts" >&2
        exit 1
    fi
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/log") executions"
done
echo "all run in $((SECONDS - begin)) s"
