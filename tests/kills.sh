#!/usr/bin/env bash
# Kills the command 200 times (or as often as the first argument says) at random moments of deletes, while pyarrow and
# DuckDB read the dataset in a loop and must never see anything but old or new shards.
# Skips with a message where Python or its packages can't be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tests/python.sh pyarrow duckdb

export EFFACE_KILLS="${1:-200}" EFFACE_READER="$work/reader"
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$python" "$PWD/tests/kills.py" >"$EFFACE_READER"
chmod +x "$EFFACE_READER"
cargo test --quiet --package efface-cli --test faults -- --nocapture kills
