# To be sourced, with names of packages: sets `python` to one that has them, and `work` to a directory that goes away at
# the end. Ends the script with a message where that can't be had.

skip() {
    printf 'skipped: %s\n' "$*"
    exit 0
}

command -v python3 >/dev/null || skip "there is no python3"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

python="${EFFACE_PYTHON:-python3}"
if ! "$python" -c "import $(IFS=, && echo "$*")" 2>/dev/null; then
    python="$work/venv/bin/python"
    if ! { python3 -m venv "$work/venv" && "$python" -m pip install --quiet "$@"; } >"$work/pip.log" 2>&1; then
        tail -n 3 "$work/pip.log"
        skip "the packages $* can't be installed"
    fi
fi
