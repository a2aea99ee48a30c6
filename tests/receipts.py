"""The checker of receipts for auditors agrees with efface on a true chain, and finds each way of changing one.

usage: receipts.py EFFACE WORK
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

efface, work = sys.argv[1], Path(sys.argv[2])
checker = Path(__file__).parent.parent / "tools" / "check_receipts.py"


def run(command, *words):
    done = subprocess.run([efface, command, lake, "--json", *words], capture_output=True, text=True)
    assert done.returncode in (0, 3), done.stderr
    return json.loads(done.stdout) if done.stdout else None


def check(directory, head):
    words = [sys.executable, checker, directory, "--head", head]
    return subprocess.run(words, capture_output=True, text=True)


lake = work / "audited"
lake.mkdir()
rows = pa.table({"distinct_id": [f"p{row % 40}" for row in range(400)], "page": ["/"] * 400})
pq.write_table(rows, lake / "a.parquet")
run("submit", "--id", "p1", "--requested-by", "ann")
run("submit", "--kind", "export", "--id", "p2", "--origin", "form")
cancelled = run("submit", "--id", "p3")["tracking_id"]
run("cancel", cancelled)
run("submit", "--id", "nobody")
run("compact")
anchored = run("receipts")["head"]
run("delete", "--id", "p4", "--id", "p5")
told = run("receipts")
receipts = lake / "_efface" / "receipts"
count = told["count"]
assert count == 5, told

for head, since in [(told["head"], 0), (anchored, 1), ("0" * 64, 5)]:
    good = check(receipts, head)
    assert good.returncode == 0, good.stderr
    assert f"intact: {count} receipts" in good.stdout and f"since then: {since};" in good.stdout, good.stdout
    assert told["head"] in good.stdout
bad = check(receipts, "f" * 64)
assert bad.returncode == 1 and "anchored" in bad.stderr, bad
assert check(receipts, "short").returncode == 2

tried = 0


def forged(what, change, head=told["head"]):
    """A copy that `change` changed is found to be broken."""
    global tried
    copy = work / f"forged-{tried}"
    shutil.copytree(receipts, copy)
    change(copy)
    found = check(copy, head)
    assert found.returncode == 1 and "BROKEN" in found.stderr, f"{what}: {found}"
    shutil.rmtree(copy)
    tried += 1


files = sorted(path.name for path in receipts.glob("*.jsonl"))


def rewritten(name, change):
    def apply(copy):
        path = copy / name
        path.write_bytes(change(path.read_bytes()))

    return apply


for name in files:
    size = (receipts / name).stat().st_size
    for at in range(0, size, 37):
        forged(
            f"{name}, byte {at}",
            rewritten(name, lambda content, at=at: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]),
        )
    forged(f"{name} is gone", lambda copy, name=name: (copy / name).unlink())
    forged(f"{name} is cut", rewritten(name, lambda content: content[: len(content) // 2]))
    forged(f"{name} twice", rewritten(name, lambda content: content + content))


def rehashed(change):
    """The last receipt, changed and hashed again: only the anchored head shows that."""

    def apply(copy):
        path = copy / files[-1]
        lines = path.read_bytes().rstrip(b"\n").split(b"\n")
        receipt = json.loads(lines[-1])["receipt"]
        change(receipt)
        content = json.dumps(receipt, separators=(",", ":")).encode()
        lines[-1] = b'{"receipt":' + content + b',"hash":"' + blake3(content).hexdigest().encode() + b'"}'
        path.write_bytes(b"\n".join(lines) + b"\n")

    return apply


forged("a figure of the last receipt", rehashed(lambda receipt: receipt.update(left_out=7)))
# What doesn't hold together is found even where the anchored head is an older one.
forged("a sum", rehashed(lambda receipt: receipt.update(rows_removed=7)), anchored)
forged("a time", rehashed(lambda receipt: receipt.update(ended_at="2001-01-01T00:00:00Z")), anchored)
forged("a second one", rehashed(lambda receipt: receipt.update(tracking_id=cancelled)), anchored)
forged("an archive", rehashed(lambda receipt: receipt.update(archive={"rows": 1})), anchored)
assert tried > 100, tried
print(f"the checker of receipts: {count} true ones, {tried} forgeries found")
