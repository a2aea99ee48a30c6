#!/usr/bin/env bash
# Builds the wheel and tests it in a fresh virtual environment. Fails where Python or its packages can't be had.
# With `--spark` also on Spark (needs Java 17).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target="${CARGO_TARGET_DIR:-target}"
venv="$target/python-venv"
packages=(maturin==1.16.0 pytest pyarrow polars pandas duckdb mypy typing_extensions)
if [[ "${1:-}" == --spark ]]; then
    packages+=(pyspark==4.2.0)
    # Debian 12 has Java 17, later ones have 21: Spark runs on both.
    command -v java >/dev/null || { apt-get update -qq && apt-get install -y -qq default-jre-headless >/dev/null; }
fi
[[ -x "$venv/bin/python" ]] || python3 -m venv "$venv"
python="$venv/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check "${packages[@]}"

rm -rf "$target/wheels-tested"
"$venv/bin/maturin" build --quiet --release --manifest-path python/Cargo.toml --interpreter "$python" --out "$target/wheels-tested"
"$python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$target"/wheels-tested/efface-*.whl

"$venv/bin/mypy" --strict --warn-unused-ignores python/tests/typed.py
if [[ "${1:-}" == --spark ]]; then
    exec "$python" -m pytest -q python/tests
fi
exec "$python" -m pytest -q python/tests --ignore python/tests/test_spark.py
