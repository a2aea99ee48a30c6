#!/usr/bin/env bash
# Mutated files through the built command (see mutants.py): 500 by default, which takes a minute or two.
#   bash fuzz/mutants.sh [COUNT [SEED]]      e.g. 20000 7
# The files of EFFACE_FOREIGN if it names a folder, and data-samples/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
efface="${EFFACE:-target/release/efface}"
[[ -x "$efface" ]] || cargo build --quiet --release
source tests/python.sh pyarrow
"$python" fuzz/mutants.py "$efface" data-samples ${EFFACE_FOREIGN:+"$EFFACE_FOREIGN"} --count "${1:-500}" --seed "${2:-1}"
