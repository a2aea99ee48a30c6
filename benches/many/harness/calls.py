"""System calls of one run, counted from a log of strace; and disks whose syncs take longer, by strace too."""

import re
import subprocess
from collections import Counter
from pathlib import Path

SYNCS = ["fsync", "fdatasync", "syncfs", "sync_file_range", "sync"]
OPENS = ["open", "openat", "openat2", "creat"]
RENAMES = ["rename", "renameat", "renameat2"]
# A line is `PID CALL(`, or `PID <... CALL resumed>` for the second half of one that others came between.
CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
# With -y a descriptor is written with what it stands for.
DESCRIPTOR = re.compile(r"^\d+<([^>]*)>")


def slow(milliseconds: float) -> list[str]:
    """In front of a command: each sync takes so much longer. Other calls are not stopped, by a filter in the kernel."""
    if milliseconds == 0:
        return []
    names = ",".join(SYNCS)
    delay = f"inject={names}:delay_exit={round(milliseconds * 1000)}"
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", f"trace={names}", "-e", delay]


def count(command: list, log: Path) -> dict[str, int]:
    """Runs a command and counts its calls; `sync of a file` and `sync of a directory` are counted apart."""
    strace = ["strace", "-f", "-y", "-qq", "-s", "0", "-o", str(log)]
    done = subprocess.run(
        [*strace, *map(str, command)], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise RuntimeError(f"exit status {done.returncode} under strace: {command[:3]}")
    counts: Counter[str] = Counter()
    with log.open(errors="replace") as lines:
        for line in lines:
            found = CALL.match(line)
            if found is None:
                continue
            name, arguments = found.groups()
            counts[name] += 1
            if name in ("fsync", "fdatasync") and (descriptor := DESCRIPTOR.match(arguments)):
                is_directory = Path(descriptor[1]).is_dir()
                counts["sync of a directory" if is_directory else "sync of a file"] += 1
    log.unlink()
    return dict(counts)
