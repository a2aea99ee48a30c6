#!/usr/bin/env bash
# Runs all fuzz targets one after the other, each for some minutes of CPU time, and prints a table. A target that finds
# something is run on until its time is up. Can be left in the background: it is nice to others, and stands still while
# the file that PAUSE_WHILE names is there: libFuzzer takes long pauses for hangs, so try its "timeout" inputs again.
#   bash fuzz/long.sh MINUTES [TARGET...]
set -euo pipefail
minutes="$1"
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=fuzz/targets.sh
source fuzz/targets.sh
why="$(missing)"
if [[ -n "$why" ]]; then
    echo "$why" >&2
    exit 1
fi
if (($# > 0)); then
    TARGETS=("$@")
fi
renice -n 19 $$ >/dev/null
pause="${PAUSE_WHILE:-/nonexistent}"
mkdir -p fuzz/artifacts

# until_done PID: waits for a process, which is stopped while the file is there; gives the seconds of CPU that it took.
until_done() {
    local stat=() cpu=0
    while kill -0 "$1" 2>/dev/null; do
        if [[ -e "$pause" ]]; then
            kill -STOP "$1" 2>/dev/null || true
        else
            kill -CONT "$1" 2>/dev/null || true
        fi
        # User and system time are fields 14 and 15.
        read -ra stat < <(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || true
        if ((${#stat[@]} > 12)); then
            cpu=$((stat[11] + stat[12]))
        fi
        sleep 1
    done
    echo $((cpu / $(getconf CLK_TCK)))
}

printf '%-12s %8s %8s %12s %9s %7s\n' target seconds CPU executions findings edges
for target in "${TARGETS[@]}"; do
    log="fuzz/artifacts/$target.log"
    : >"$log"
    started=$SECONDS cpu=0 executions=0 findings=0
    while ((cpu < minutes * 60 && findings < 5)); do
        # What it is given is by the clock, so that others may leave it less.
        command_of "$target" "fuzz/corpus/$target" -max_total_time=$((minutes * 60 - cpu))
        "${COMMAND[@]}" >"$log.now" 2>&1 &
        cpu=$((cpu + $(until_done $!)))
        if ! wait $!; then
            findings=$((findings + 1))
        fi
        cat "$log.now" >>"$log"
        units="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log.now" | tail -n 1)"
        executions=$((executions + ${units:-0}))
    done
    edges="$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | sort -n | tail -n 1)"
    rm -f "$log.now"
    printf '%-12s %8s %8s %12s %9s %7s\n' "$target" "$((SECONDS - started))" "$cpu" "$executions" "$findings" "${edges:-0}"
done
