"""Makes the datasets of this directory with an efface of 0.1; README.md here says what is in them.

usage: make.py EFFACE OUT, with EFFACE built from commit a2eaae4. Needs strace and pyarrow.

A crash is a SIGKILL that strace sends when the command enters a system call on one file, so that the call is not
carried out; which call of its kind that is, a run on a copy has shown. Tracking ids, the key and the seed of the index are drawn at random: two runs differ in these.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PEOPLE = ["bob", "ada@gone", "cyd", "eve@gone", "dan", "laptop@gone", "gus", "fay@gone"]
SHARD_ROWS = 32
ROW_GROUP_ROWS = 16
ALIASES = "alias,distinct_id\nlaptop@gone,ada@gone\nphone,bob\ntablet@gone,fay@gone\n"
REQUESTED_AT = "2026-01-31T12:00:00Z"
TIME_MS = 1_767_225_600_000


def write_shard(path: Path, shard: int, people: list[str], rows: int) -> None:
    """One event a row: the person is `people[(3 * row + shard) % len(people)]`, `seq` is `100 * shard + row`."""
    seq = [100 * shard + row for row in range(rows)]
    columns = {
        "distinct_id": [people[(3 * row + shard) % len(people)] for row in range(rows)],
        "time": pa.array([TIME_MS + 1000 * number for number in seq], pa.timestamp("ms", tz="UTC")),
        "event": [["open", "buy", "close"][number % 3] for number in seq],
        "$browser": [["Firefox", "Safari", None][number % 3] for number in seq],
        "city": [f"City {number % 5}" for number in seq],
        "price": [number / 4 for number in seq],
        "seq": pa.array(seq, pa.int64()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table(columns),
        path,
        compression="zstd",
        row_group_size=ROW_GROUP_ROWS,
        write_page_index=True,
        store_schema=False,
    )


class Case:
    """One dataset that is being made."""

    def __init__(self, efface: Path, directory: Path) -> None:
        self.efface = efface
        self.directory = directory
        self.events = directory / "events"
        self.requests: dict[str, str] = {}
        for shard, name in enumerate(["a.parquet", "b.parquet", "day=1/c.parquet"]):
            write_shard(self.events / name, shard, PEOPLE, SHARD_ROWS)
        (directory / "aliases.csv").write_text(ALIASES)
        self.run("init", "--aliases", "../aliases.csv", "--source", "$browser", "--source", "city")
        self.run("index")

    def command(self, verb: str, *more: str) -> list[str]:
        return [str(self.efface), verb, "events", *more, "--json"]

    def run(self, verb: str, *more: str) -> dict:
        done = subprocess.run(self.command(verb, *more), cwd=self.directory, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def submit(self, name: str, *more: str) -> None:
        said = self.run("submit", *more, "--requested-at", REQUESTED_AT)
        self.requests[name] = said["tracking_id"]

    def history(self) -> None:
        """Three requests that have ended, each in its own way, and a shard that brings a suppressed id back."""
        ended = self.run("delete", "--id", "eve@gone", "--suppress", "--requested-at", REQUESTED_AT)
        self.requests["deleted and suppressed"] = ended["tracking_id"]
        self.submit("cancelled", "--id", "gus")
        self.run("cancel", self.requests["cancelled"])
        self.submit("unknown", "--id", "nobody@gone")
        self.run("compact")
        write_shard(self.events / "late.parquet", 3, ["dan", "eve@gone", "bob", "gus"], ROW_GROUP_ROWS)

    def waiting(self) -> None:
        """A request of which the rest of the graph follows."""
        self.submit("laptop", "--id", "laptop@gone")

    def more_waiting(self) -> None:
        """Requests that do other things in the same shards, one that is refused, one that shares an id."""
        self.submit("sources", "--id", "cyd", "--disclosure", "sources")
        self.submit("unknown too", "--id", "nobody@gone")
        self.submit("ada and fay", "--id", "ada@gone", "--id", "fay@gone")

    def killed(self, calls: str, on: str, when: int, verb: str, *more: str) -> None:
        """Runs the command and kills it as it enters the `when`th of the `calls` that have `on` among their words."""
        with tempfile.TemporaryDirectory() as copy:
            shutil.copytree(self.directory, copy, dirs_exist_ok=True)
            log = Path(copy) / "calls"
            strace = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={calls}"]
            subprocess.run([*strace, *self.command(verb, *more)], cwd=copy, check=True, capture_output=True)
            # Only the first thread makes such calls, or strace would count those of each thread for itself.
            made = [line for line in log.read_text().splitlines() if "(" in line]
        assert len({line.split()[0] for line in made}) == 1
        numbers = [number for number, line in enumerate(made, 1) if on in line]
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
        strace += ["-e", f"inject={calls}:signal=KILL:when={numbers[when - 1]}"]
        done = subprocess.run(
            [*strace, *self.command(verb, *more)], check=False, cwd=self.directory, capture_output=True, text=True
        )
        # strace ends itself in the way in which the command ended.
        if done.returncode != -signal.SIGKILL:
            raise RuntimeError(f"{verb} was not killed at {on}: {done.returncode} {done.stdout} {done.stderr}")

    def end(self, with_index: bool = False) -> None:
        """Writes the tracking ids down. Most cases have no index: its segments would be half of their bytes."""
        if not with_index:
            shutil.rmtree(self.events / "_efface/index")
        lines = json.dumps(self.requests, indent=2)
        (self.directory / "requests.json").write_text(lines + "\n")


RENAMES = "?rename,?renameat,renameat2"
UNLINKS = "?unlink,unlinkat"


def main() -> None:
    efface, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])

    def case(name: str) -> Case:
        (out / name).mkdir()
        made = Case(efface, out / name)
        made.history()
        return made

    waiting = case("waiting")
    waiting.waiting()
    waiting.end(with_index=True)

    # The second time that it is written, it says `started`.
    staging = case("staging")
    staging.waiting()
    staging.more_waiting()
    staging.killed(RENAMES, 'pass/pass.json"', 2, "compact")
    staging.end()

    half_way = case("half_way")
    half_way.waiting()
    half_way.more_waiting()
    half_way.killed(RENAMES, 'events/b.parquet"', 1, "compact")
    half_way.end(with_index=True)

    at_once = case("delete_half_way")
    more = ["--id", "fay@gone", "--id", "laptop@gone", "--requested-at", REQUESTED_AT]
    at_once.killed(RENAMES, 'events/b.parquet"', 1, "delete", *more)
    [entry] = (at_once.events / "_efface/queue").glob("*.json")
    at_once.requests["at once"] = entry.stem
    at_once.end()

    aliases = case("aliases_announced")
    aliases.waiting()
    aliases.more_waiting()
    aliases.killed(RENAMES, '/aliases.csv"', 1, "compact")
    aliases.end()

    ended = case("receipts_before_queue")
    ended.waiting()
    ended.more_waiting()
    ended.killed(UNLINKS, "/queue/same/", 3, "compact")
    ended.end()


main()
