"""Mutated files through the built command, with little memory: nothing but an answer or a refusal may come of one.

    python3 mutants.py EFFACE FOLDER [--count N] [--seed N] [--only INDEX] [--workers N]

Each mutant is a dataset of one file. `inspect`, `plan`, `export`, `delete` and `verify` run on it with 2 GiB of address
space and 20 seconds. A fault is a panic (also one that is only printed), an end by a signal, a hang, a file that was
refused and touched all the same, a file left behind, or a delete that succeeds and leaves other rows than pyarrow finds
in the mutant without those of the id. The same seed makes the same mutants.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import resource
import signal
import shutil
import struct
import subprocess
import sys
import tempfile

import pyarrow
import pyarrow.parquet

ADDRESS_SPACE = 2 << 30
SECONDS = 20
FILE_BYTES_MAX = 400_000
STATUSES = {0, 1, 2, 3, 4, 5, 6}


class Source:
    """A file that mutants are made of, and an id that is in it."""

    def __init__(self, path, column, subject):
        self.path, self.column, self.subject = path, column, subject
        self.bytes = path.read_bytes()
        self.footer = len(self.bytes) - 8 - struct.unpack("<I", self.bytes[-8:-4])[0]


def source_of(path):
    """The file as a source; None where no plain column of it can hold an id."""
    try:
        table = pyarrow.parquet.read_table(path, use_threads=False)
    except Exception:  # The folder also has files that are broken on purpose.
        return None
    named = [name for name in table.column_names if name.endswith("distinct_id")]
    for name in named + table.column_names:
        if table.column_names.count(name) > 1:
            continue
        column = table.column(name)
        kind = column.type
        if pyarrow.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_string(kind)):
            continue
        values = [value for value in column.to_pylist() if value not in (None, "")]
        if values:
            return Source(path, name, str(values[len(values) // 2]))
    return None


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


NUMBERS = [0, 1, 2, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1]


def mutate(source, draw):
    """The bytes of a mutant, and what was done."""
    data = bytearray(source.bytes)
    end = len(data) - 8

    def footer_bits():
        for _ in range(draw.choice([1, 1, 2, 4])):
            data[draw.randrange(source.footer, end)] ^= 1 << draw.randrange(8)

    def footer_numbers():
        """A varint of the footer becomes another number; the length of the footer stays true."""
        at = draw.randrange(source.footer, end)
        stop = at
        while stop < end and data[stop] & 128:
            stop += 1
        data[at : stop + 1] = varint(draw.choice(NUMBERS))
        data[-8:-4] = struct.pack("<I", len(data) - 8 - source.footer)

    def footer_offsets():
        """Offsets are the long varints of a footer."""
        places = [at for at in range(source.footer, end - 1) if data[at] & 128 and data[at + 1] & 128]
        at = draw.choice(places or [source.footer])
        for place in range(at, min(at + 3, end)):
            data[place] = data[place] & 128 | draw.randrange(128)

    def page_headers():
        """The bytes around what ends or begins a header: the fronts of chunks are the likeliest."""
        at = 4 if draw.random() < 0.3 else draw.randrange(4, max(5, source.footer))
        for place in range(at, min(at + draw.choice([1, 2, 8]), source.footer)):
            data[place] = draw.choice([0, 1, 0x15, 0x7F, 0x80, 0xFF, draw.randrange(256)])

    def pages():
        for _ in range(draw.choice([1, 1, 3, 16])):
            data[draw.randrange(4, max(5, source.footer))] ^= 1 << draw.randrange(8)

    def page_index():
        """What lies right before the footer: page index and bloom filters, where there are some."""
        begin = max(4, source.footer - 400)
        for _ in range(draw.choice([1, 2, 4])):
            data[draw.randrange(begin, max(begin + 1, source.footer))] = draw.choice([0, 0x7F, 0xFF, draw.randrange(256)])

    def truncation():
        del data[draw.randrange(0, len(data)) :]

    def cut():
        """A span goes from the middle; where it was in the footer, its length stays true."""
        at = draw.randrange(4, end)
        span = min(draw.choice([1, 2, 8, 64, 512]), end - at)
        del data[at : at + span]
        if at >= source.footer:
            data[-8:-4] = struct.pack("<I", max(0, len(data) - 8 - source.footer))

    def run_of_ones():
        at = draw.randrange(0, len(data))
        span = min(draw.choice([4, 16, 64, 256]), len(data) - at)
        data[at : at + span] = b"\xff" * span

    how = draw.choice(
        [footer_bits, footer_bits, footer_numbers, footer_numbers, footer_offsets, page_headers, page_headers]
        + [pages, page_index, truncation, cut, run_of_ones]
    )
    how()
    return bytes(data), how.__name__


def limit():
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def in_child(work):
    """The small number that `work` gives in a process of its own; None where that process dies or hangs."""
    child = os.fork()
    if child == 0:
        status = 255
        try:
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_AS, (2 * ADDRESS_SPACE, 2 * ADDRESS_SPACE))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            status = work()
        finally:
            os._exit(status)
    _, how = os.waitpid(child, 0)
    status = os.waitstatus_to_exitcode(how)
    return status if 0 <= status < 255 else None


def compare(mutant, after, column, subject):
    """0: `after` holds the rows of `mutant` that are not the id's. 1: it doesn't. 2: pyarrow can't read the mutant."""
    read = lambda path: pyarrow.parquet.ParquetFile(path).read(use_threads=False)
    try:
        before = read(mutant)
        rows = before.to_pylist()
        ids = before.column(column).to_pylist()
    except BaseException:
        return 2
    expected = [row for row, of in zip(rows, ids) if str(of) != subject]
    if not after.exists():
        return 0 if not expected else 1
    try:
        return 0 if repr(read(after).to_pylist()) == repr(expected) else 1
    except BaseException:
        return 1


def attack(efface, source, seed, index):
    """What came of one mutant: its manner, a summary, and the faults."""
    draw = random.Random(f"{seed}:{index}")
    mutant, manner = mutate(source(draw), draw)
    of = source.last
    faults, summary = [], "refused"
    with tempfile.TemporaryDirectory(prefix="efface-mutant-") as room:
        room = pathlib.Path(room)
        lake, kept = room / "lake", room / "mutant.parquet"
        lake.mkdir()
        shard = lake / "a.parquet"
        shard.write_bytes(mutant)
        kept.write_bytes(mutant)
        who = ["--id", of.subject]
        for command, options in [
            ("inspect", []),
            ("plan", who),
            ("export", [*who, "--format", "jsonl", "-o", str(room / "out.jsonl")]),
            ("delete", [*who, "--max-match", "1", "--unknown", "report"]),
            ("verify", [*who, "--whole-values"]),
        ]:
            words = [efface, command, str(lake), *options, "--subject", of.column, "--threads", "2", "--json"]
            try:
                run = subprocess.run(
                    words, capture_output=True, timeout=SECONDS, preexec_fn=limit, stdin=subprocess.DEVNULL
                )
            except subprocess.TimeoutExpired:
                faults.append(f"{command}: still running after {SECONDS} s")
                continue
            told = run.stderr.decode(errors="replace")
            if run.returncode not in STATUSES:
                faults.append(f"{command}: ended with {run.returncode}: {told[-300:]}")
            if "panicked" in told or "RUST_BACKTRACE" in told:
                faults.append(f"{command}: printed a panic: {told[-300:]}")
            files = {path.name for path in lake.iterdir()} - {"_efface"}
            stray = [str(path) for path in room.rglob("*.efface-tmp")]
            if files - {"a.parquet"} or stray:
                faults.append(f"{command}: left {files} {stray}")
            is_touched = not shard.exists() or shard.read_bytes() != mutant
            if command != "verify" and is_touched and (command != "delete" or run.returncode != 0):
                faults.append(f"{command}: ended with {run.returncode} and touched the file")
            if command == "delete" and run.returncode == 0:
                found = in_child(lambda: compare(kept, shard, of.column, of.subject))
                summary = {0: "same rows", 1: "other rows"}.get(found, "deleted; pyarrow can't read it")
                if found == 1:
                    faults.append("delete: succeeded with other rows than pyarrow's")
        if faults:
            saved = pathlib.Path(tempfile.gettempdir()) / f"mutant-{seed}-{index}.parquet"
            shutil.copy(kept, saved)
            faults.append(f"kept as {saved}, of {of.path.name}, column {of.column!r}, id {of.subject!r}")
    return manner, summary, faults


class Pick:
    """Draws one of the sources, and remembers which."""

    def __init__(self, sources):
        self.sources, self.last = sources, None

    def __call__(self, draw):
        self.last = draw.choice(self.sources)
        return self.last


PICK, WORDS = None, None


def work(index):
    return index, *attack(WORDS.efface, PICK, WORDS.seed, index)


def main():
    global PICK, WORDS
    words = argparse.ArgumentParser()
    words.add_argument("efface")
    words.add_argument("folders", nargs="+", type=pathlib.Path)
    words.add_argument("--count", type=int, default=500)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--only", type=int)
    words.add_argument("--workers", type=int, default=2)
    WORDS = words.parse_args()
    WORDS.efface = str(pathlib.Path(WORDS.efface).resolve())
    paths = sorted(path for folder in WORDS.folders for path in folder.rglob("*.parquet"))
    sources = [source_of(path) for path in paths if path.stat().st_size <= FILE_BYTES_MAX]
    PICK = Pick([source for source in sources if source])
    if not PICK.sources:
        sys.exit("no file to make mutants of")
    indexes = [WORDS.only] if WORDS.only is not None else range(WORDS.count)
    print(f"{len(indexes)} mutants of {len(PICK.sources)} files, seed {WORDS.seed}", flush=True)
    summaries, manners, failed = collections.Counter(), collections.Counter(), 0
    with concurrent.futures.ProcessPoolExecutor(WORDS.workers) as pool:
        for index, manner, summary, faults in pool.map(work, indexes, chunksize=4):
            summaries[summary] += 1
            manners[manner] += 1
            if faults:
                failed += 1
                print(f"mutant {index} ({manner}):", *faults, sep="\n  ", flush=True)
    print(json.dumps({"outcomes": summaries, "manners": manners, "with faults": failed}))
    if not summaries["same rows"]:
        sys.exit("no delete was compared with pyarrow: the mutants show nothing")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
