"""One run of one tool: a process of its own, and what it took."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

READ_BYTES = 1 << 20
# `ru_maxrss` is in these, `ru_oublock` in those.
KIB = 1024
BLOCK_BYTES = 512
LOG_TAIL_LINES = 15

FileState = tuple[int, int, int]


@dataclass
class Run:
    """What a run took. `written_bytes`: lengths of the files that are new afterwards, below the places it may write to;
    `dirtied_bytes`: what the kernel counted, with temporary files."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    written_bytes: int
    dirtied_bytes: int
    is_killed: bool = False

    def as_json(self) -> dict:
        return asdict(self)


class Failed(Exception):
    """A tool ended with an error."""


class Meter:
    """Measures processes, with the file `lock` (if any) held exclusively meanwhile."""

    def __init__(self, log: Path, lock: Path | None, kill_after_seconds: float) -> None:
        self.log = log
        self.lock = lock
        self.kill_after_seconds = kill_after_seconds
        # Without what a site adds: it stays as small as Python can be.
        small = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py"))]
        self.launcher = subprocess.Popen(small, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, command: list, places: list[Path], warm: list[Path], env: dict[str, str] | None = None) -> Run:
        """Runs `command` after `warm` was read once; it may write below `places`."""
        command = [str(part) for part in command]
        with held(self.lock):
            os.sync()
            for path in warm:
                read(path)
            before = states(places)
            took = self.launch(command, env or {})
            after = states(places)
        is_killed = took["status"] == -signal.SIGKILL and took["seconds"] >= self.kill_after_seconds
        if took["status"] != 0 and not is_killed:
            tail = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
            raise Failed("\n".join([f"exit status {took['status']}: {command[:4]}", *tail]))
        return Run(
            seconds=took["seconds"],
            cpu_seconds=took["cpu_seconds"],
            peak_bytes=took["maxrss"] * KIB,
            written_bytes=sum(state[1] for path, state in after.items() if before.get(path) != state),
            dirtied_bytes=took["oublock"] * BLOCK_BYTES,
            is_killed=is_killed,
        )

    def launch(self, command: list[str], env: dict[str, str]) -> dict:
        asked = {"command": command, "env": env, "log": str(self.log), "kill_after_seconds": self.kill_after_seconds}
        self.launcher.stdin.write(json.dumps(asked) + "\n")
        self.launcher.stdin.flush()
        return json.loads(self.launcher.stdout.readline())


@contextmanager
def held(lock: Path | None) -> Iterator[None]:
    if lock is None:
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read(path: Path) -> None:
    """Puts a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(READ_BYTES):
            pass


def states(places: list[Path]) -> dict[Path, FileState]:
    """Which file is at each path below `places`, by inode, length and time of change of its bytes."""
    found = {}
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*"):
            if path.is_file():
                stat = path.stat()
                found[path] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found
