#!/usr/bin/env bash
# Runs the tests of the modules around the only `unsafe`, the mapped files of `file_system/disk/map.rs`, under
# AddressSanitizer: the files, what is built on them, and the index, which reads its segments in place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=fuzz/targets.sh
source fuzz/targets.sh
why="$(missing)"
if [[ -n "$why" ]]; then
    echo "skipped: $why"
    exit
fi
# Code of the host (build scripts, macros) has no sanitizer, since a target is named.
RUSTFLAGS=-Zsanitizer=address cargo +nightly test --locked --target "$HOST" --target-dir fuzz/target/sanitized \
    --package efface --lib -- file_system:: state:: table:: testing:: index::
RUSTFLAGS=-Zsanitizer=address cargo +nightly test --locked --target "$HOST" --target-dir fuzz/target/sanitized \
    --package efface --test index
