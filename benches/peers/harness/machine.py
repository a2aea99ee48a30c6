"""What was measured on, and with which versions."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ["duckdb", "polars", "datafusion", "pyarrow", "deltalake", "chdb"]


def describe(efface: Path) -> dict:
    """CPU, memory, kernel, file system, date; versions of efface and of every peer."""
    return {
        "cpu": field(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {"efface": efface_version(efface)} | {name: version(name) for name in PACKAGES},
    }


def field(path: Path, name: str) -> str | None:
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)


def efface_version(efface: Path) -> str:
    said = subprocess.run([efface, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return f"{said} ({commit.stdout.strip()})" if commit.returncode == 0 else said
