#!/usr/bin/env python3
"""Checks the receipts of efface, offline, without efface.

    pip install blake3
    check_receipts.py _efface/receipts --head HASH

HASH is what `efface receipts` said as `head` at some time, kept where nobody who can write the receipts can write: a
ticket, a mail, a notary. Who can write all of the directory can make up a whole chain, but none that holds this hash.

It reads only the files NUMBER.jsonl. Exit status: 0 the chain is intact and holds the head; 1 it is not; 2 usage.
Nothing here is taken from efface's own code: the format is described in its src/receipts/mod.rs.
"""

import argparse
import json
import re
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

from blake3 import blake3

# {"receipt":{..},"hash":"<64 hexadecimal digits>"}: the hash is over the bytes of the object, as they stand there.
LINE = re.compile(rb'\{"receipt":(\{.*\}),"hash":"([0-9a-f]{64})"\}', re.DOTALL)
NAME = re.compile(r"[0-9]{12}\.jsonl")
NOTHING = "0" * 64
STATES = {"SUCCESS", "FAILURE", "REVOKED"}
CAUSES = {"delete", "export", "suppression"}


class Broken(Exception):
    """The chain, or what a receipt says, doesn't hold."""


def no_repeats(pairs):
    """A JSON object, in which no key may stand twice: readers would differ in which one counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Broken("a key stands in it twice")
    return found


def lines(directory):
    """Every line of every file, with where it is; and that no file is missing, moved or torn."""
    names = sorted(path.name for path in directory.iterdir() if NAME.fullmatch(path.name))
    number = 1
    for name in names:
        if int(name.split(".")[0]) != number:
            raise Broken(f"{name}: receipts are missing or moved: the next one is {number}")
        content = (directory / name).read_bytes()
        if not content.endswith(b"\n"):
            raise Broken(f"{name}: it doesn't end with a line")
        for line in content[:-1].split(b"\n"):
            yield f"{name}, receipt {number}", number, line
            number += 1


def time(text):
    """An instant. Fractions of any length are cut to what Python can hold."""
    whole = re.sub(r"(\.[0-9]{1,6})[0-9]*", r"\1", text)
    return datetime.fromisoformat(whole.replace("Z", "+00:00"))


def check_sense(receipt):
    """That what a receipt says holds together."""
    if receipt["state"] not in STATES or receipt["cause"] not in CAUSES:
        raise Broken("an unknown state or cause")
    if time(receipt["ended_at"]) < time(receipt["submitted_at"]):
        raise Broken("it ended before it was submitted")
    rows = receipt["rows_removed"] + receipt["rows_cleared"]
    if rows != sum(shard["rows"] for shard in receipt["shards"]):
        raise Broken("its rows are not the sum of those of its shards")
    positions = [subject["position"] for subject in receipt["subjects"]]
    if positions != sorted(set(positions)):
        raise Broken("its subjects are not in order")
    archive = receipt.get("archive")
    if archive and (receipt["cause"] != "export" or receipt["state"] != "SUCCESS"):
        raise Broken("it tells of an archive that it can't have")
    if receipt["cause"] == "export" and (rows or (receipt["state"] == "SUCCESS") != bool(archive)):
        raise Broken("an export removes no rows, and has an archive if it was carried out")


def check(directory, anchored):
    """Every receipt, and at which one the anchored head stands."""
    receipts, previous, anchor, seen = [], NOTHING, None, set()
    if anchored == NOTHING:
        anchor = 0
    for where, number, line in lines(directory):
        try:
            match = LINE.fullmatch(line)
            if not match:
                raise Broken("it is no line of a receipt")
            content, claimed = match[1], match[2].decode()
            if blake3(content).hexdigest() != claimed:
                raise Broken("it has not the hash of its bytes: it was changed")
            receipt = json.loads(content, object_pairs_hook=no_repeats)
            if receipt["number"] != number or receipt["previous"] != previous:
                raise Broken("it doesn't follow the one before it")
            if receipt["tracking_id"] in seen:
                raise Broken("there is another receipt of the same request")
            check_sense(receipt)
        except (Broken, KeyError, TypeError, ValueError) as error:
            raise Broken(f"{where}: {error or type(error).__name__}") from error
        seen.add(receipt["tracking_id"])
        receipts.append(receipt)
        previous = claimed
        if claimed == anchored:
            anchor = number
    if anchor is None:
        raise Broken("no receipt has the anchored hash: the chain was cut off or made up after that was noted")
    return receipts, anchor, previous


def main():
    parser = argparse.ArgumentParser(description="Checks the receipts of efface, offline.")
    parser.add_argument("directory", type=Path, help="_efface/receipts, or a copy of it")
    parser.add_argument("--head", required=True, help="the head that was kept elsewhere: 64 hexadecimal digits")
    parser.add_argument("--list", action="store_true", help="print a line for each receipt")
    args = parser.parse_args()
    if not re.fullmatch("[0-9a-f]{64}", args.head) or not args.directory.is_dir():
        parser.error("--head must be 64 hexadecimal digits, and the directory must be there")
    try:
        receipts, anchor, head = check(args.directory, args.head)
    except (Broken, OSError) as error:
        print(f"BROKEN: {error}", file=sys.stderr)
        return 1
    if args.list:
        for receipt in receipts:
            by = receipt.get("requested_by", "-")
            print(receipt["number"], receipt["ended_at"], receipt["cause"], receipt["state"], receipt["tracking_id"], by)
    late = sum(time(receipt["ended_at"]) > time(receipt["due"]) for receipt in receipts)
    ended = Counter(f"{receipt['cause']} {receipt['state']}" for receipt in receipts)
    print(f"intact: {len(receipts)} receipts; the anchored head is that of receipt {anchor}")
    print(f"since then: {len(receipts) - anchor}; head now: {head}")
    print(f"ended after their deadline: {late}")
    for what, count in sorted(ended.items()):
        print(f"{what}: {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
