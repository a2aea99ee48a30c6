#!/usr/bin/env bash
# After deletes, pyarrow, DuckDB and Polars read shards as they read the old ones without the deleted rows.
# Generated events, data-samples/ and, if EFFACE_FOREIGN names a folder, other writers' files.
# Exports are what pyarrow and DuckDB select themselves.
# What tools/check_receipts.py says of true and forged receipts.
# Skips with a message where Python or its packages can't be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tests/python.sh pyarrow duckdb polars pandas blake3

target="${CARGO_TARGET_DIR:-target}"
# The profile and the features of `cargo test`, so that nothing is compiled for the generator alone.
cargo build --quiet --profile test --workspace --exclude efface-python --exclude efface-server --bin events
events() {
    local name="$1"
    shift
    "$target/debug/events" "$work/data/$name" --shards 2 --rows-per-shard 6000 \
        --row-groups 3 --users 400 --page-rows 250 "$@" >/dev/null
}

cargo build --quiet --release
efface="$target/release/efface"
mkdir "$work/data"
events zstd-v1-bloom --bloom
events snappy-v2-bloom-by-user --codec snappy --page-version 2 --bloom --sort user
events gzip-v2-uuid --codec gzip --page-version 2 --ids uuid
events lz4-v1-uuid-by-user-bloom --codec lz4 --ids uuid --sort user --bloom
events none-v2-partitioned-bloom --codec none --page-version 2 --partitioned --bloom
events brotli-v1-by-user --codec brotli --sort user
mkdir -p "$work/data/data-samples"
cp -R data-samples/events "$work/data/data-samples/events"

# The checker of receipts, which auditors run without efface.
"$python" tests/receipts.py "$efface" "$work"
# Exports first: the other one deletes.
"$python" tests/exports.py "$efface" "$work/data"
"$python" tests/readers.py "$efface" "$work/data" ${EFFACE_FOREIGN:+"$EFFACE_FOREIGN"}
