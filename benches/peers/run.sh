#!/usr/bin/env bash
# Makes a virtual environment with the pinned packages, unless PEERS_VENV names one that is there, and runs run.py in it.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

venv="${PEERS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/efface-peers}"
if [[ ! -x "$venv/bin/python" ]]; then
    python3 -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
exec "$venv/bin/python" "$here/run.py" "$@"
