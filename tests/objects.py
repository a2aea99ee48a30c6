"""The command on samples in a bucket of SeaweedFS, beside the same commands on a disk: tests/objects.sh starts it."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

KEY, SECRET = "test", "s3cr3t-s3cr3t"
weed, efface, suite, samples = (pathlib.Path(path).resolve() for path in sys.argv[1:])


def free_ports(count):
    """Ports that are free, together with those 10,000 above, which SeaweedFS takes too."""
    ports = []
    for port in range(20000, 30000, 7):
        try:
            for number in (port, port + 10000):
                with socket.socket() as tried:
                    tried.bind(("127.0.0.1", number))
        except OSError:
            continue
        ports.append(port)
        if len(ports) == count:
            return ports
    sys.exit("no ports are free")


class Server:
    def __init__(self, work):
        s3, volume, filer, master = free_ports(4)
        identities = {"identities": [
            {"name": "all", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
             "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
            {"name": "reader", "credentials": [{"accessKey": "reader", "secretKey": SECRET}],
             "actions": ["Read", "List"]},
        ]}
        config = work / "s3.json"
        config.write_text(json.dumps(identities))
        (work / "data").mkdir()
        self.log = open(work / "weed.log", "wb")
        self.process = subprocess.Popen(
            [weed, "server", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-dir", work / "data",
             "-s3", "-s3.config", config, "-s3.port", str(s3), "-volume.port", str(volume),
             "-filer.port", str(filer), "-master.port", str(master), "-volume.max", "400",
             "-master.volumeSizeLimitMB", "64"],
            stdout=self.log, stderr=subprocess.STDOUT, cwd=work)
        self.endpoint = f"http://127.0.0.1:{s3}"
        self.client = boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            region_name="us-east-1", config=Config(retries={"max_attempts": 1}))
        for _ in range(120):
            try:
                self.client.create_bucket(Bucket="lake")
                self.client.put_object(Bucket="lake", Key="ready", Body=b"yes")
                self.client.delete_object(Bucket="lake", Key="ready")
                return
            except Exception as error:  # Whatever it says while it starts.
                last = error
                if self.process.poll() is not None:
                    break
                time.sleep(0.5)
        sys.exit(f"SeaweedFS does not start: {last}\n{(work / 'weed.log').read_text()[-2000:]}")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def put(self, directory, prefix):
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(directory)}"
                self.client.upload_file(str(path), "lake", key)

    def objects(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=prefix + "/")
        return {found["Key"][len(prefix) + 1:]: found["Key"]
                for page in pages for found in page.get("Contents", [])}

    def read(self, key):
        return self.client.get_object(Bucket="lake", Key=key)["Body"].read()


def run(server, *words, access=KEY, expected=0, secret=SECRET):
    """Runs the command; gives what it wrote to standard output and to standard error."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true", "NO_COLOR": "1",
    }
    options = ["--storage-option", f"endpoint={server.endpoint}"] if server else []
    done = subprocess.run([efface, *map(str, words), *options], env=environment,
                          capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == expected, (words, done.returncode, said)
    assert SECRET not in said and access + ":" not in said, said
    return done.stdout, done.stderr


def report(server, *words, **more):
    return json.loads(run(server, *words, "--json", **more)[0])


def same(left, right, *keys):
    for key in keys:
        assert left[key] == right[key], (key, left[key], right[key])


def as_on_a_disk(server, work):
    """Each command does the same to a bucket and to a directory, down to the bytes of the shards."""
    local = work / "lake"
    shutil.copytree(samples / "events", local)
    shutil.copy(samples / "aliases.csv", local / "aliases.csv")
    server.put(local, "events")
    url, ids = "s3://lake/events", samples / "ids.csv"
    init = ("--subject", "distinct_id", "--time", "time", "--aliases", "aliases.csv")
    run(None, "init", local, *init)
    run(server, "init", url, *init)
    both = lambda *words: (report(None, words[0], local, *words[1:]),  # noqa: E731
                           report(server, words[0], url, *words[1:]))

    left, right = both("index")
    same(left, right, "rows", "subjects", "postings")
    left, right = both("plan", "--ids", ids)
    same(left, right, "rows", "shards", "row_groups", "digest", "subjects")
    exported = [run(of, "export", place, "--ids", ids, "--format", "jsonl", "-o", "-")[0]
                for of, place in ((None, local), (server, url))]
    assert exported[0] == exported[1] and exported[0].count("\n") > 5
    left, right = both("delete", "--ids", ids)
    same(left, right, "rows_removed", "shards_rewritten", "row_groups_rewritten", "pages_rewritten")
    assert right["rows_removed"] > 5
    shards = [path.relative_to(local).as_posix() for path in sorted(local.glob("*.parquet"))]
    for shard in shards:
        assert server.read(f"events/{shard}") == (local / shard).read_bytes(), shard
    assert server.read("events/aliases.csv") == (local / "aliases.csv").read_bytes()
    assert report(server, "verify", url, "--ids", ids)["clean"]
    assert report(server, "delete", url, "--ids", ids, "--unknown", "report")["rows_removed"] == 0

    some = json.loads(run(server, "export", url, "--format", "jsonl", "-o", "-", "--id",
                          someone(server, url))[0].splitlines()[0])
    person = some["distinct_id"]
    tracking = report(server, "submit", url, "--id", person)["tracking_id"]
    assert report(server, "status", url, tracking)["state"] == "PENDING"
    done = report(server, "compact", url)
    assert done["rows_removed"] > 0, done
    assert report(server, "status", url, tracking)["state"] == "SUCCESS"
    assert report(server, "verify", url, "--id", person)["clean"]
    run(server, "receipts", url, "--check")
    left = server.objects("events")
    assert not [path for path in left if path.endswith("-tmp") or "clock" in path], left
    uploads = server.client.list_multipart_uploads(Bucket="lake").get("Uploads", [])
    assert not uploads, uploads


def someone(server, url):
    """An id that has rows."""
    local = tempfile.mkdtemp()
    for name in ("part-00003.parquet",):
        (pathlib.Path(local) / name).write_bytes(server.read(f"events/{name}"))
    import re
    text = (pathlib.Path(local) / "part-00003.parquet").read_bytes()
    shutil.rmtree(local)
    for found in re.findall(rb"anon-[a-z0-9]{9}|mail-[a-z0-9]{8}", text):
        out = subprocess.run([efface, "plan", url, "--kind", "export", "--id", found.decode(), "--json",
                              "--storage-option", f"endpoint={server.endpoint}"],
                             env={**os.environ, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET,
                                  "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"},
                             capture_output=True, text=True)
        if out.returncode == 0 and json.loads(out.stdout)["rows"] > 0:
            return found.decode()
    raise AssertionError("nobody has rows")


def refusals(server):
    url = "s3://lake/events"
    said = run(server, "inspect", "s3://no-such-bucket/events", expected=1)[1]
    assert "bucket" in said and "no-such-bucket" in said, said
    said = run(server, "inspect", "s3://lake/nothing-here", expected=1)[1]
    assert "no Parquet shards" in said, said
    said = run(server, "index", url, access="reader", expected=1)[1]
    assert "not allowed" in said and "s3:PutObject" in said and url in said, said
    said = run(server, "inspect", url, secret="wrong-secret", expected=1)[1]
    assert "not allowed" in said and "wrong-secret" not in said, said
    said = run(server, "inspect", url, "--storage-option", "no_such=option", expected=2)[1]
    assert "no_such" in said, said


def lock(server):
    """A second deleter is refused while the first one holds the lease."""
    body = json.dumps({"epoch": 99, "holder": "another one", "nonce": "n", "milliseconds": 60000, "free": False})
    server.client.put_object(Bucket="lake", Key="events/_efface/lock", Body=body.encode())
    said = run(server, "compact", "s3://lake/events", expected=4)[1]
    assert "another one" in said, said
    body = body.replace("false", "true")
    server.client.put_object(Bucket="lake", Key="events/_efface/lock", Body=body.encode())
    run(server, "compact", "s3://lake/events")


def rules(server, work):
    """The public suites."""
    for number in range(5):
        body = bytes(range(256)) * (400 * number + 1)
        key = f"suite/d={number % 2}/a b é {number}.parquet"
        server.client.put_object(Bucket="lake", Key=key, Body=body, ContentType="application/parquet",
                                 Metadata={"team": "blue"})
    subprocess.run([suite, "s3://lake/suite", f"endpoint={server.endpoint}", "allow_http=true",
                    f"access_key_id={KEY}", f"secret_access_key={SECRET}", "region=us-east-1"], check=True)
    for key in server.objects("suite").values():
        if key.endswith(".parquet"):
            head = server.client.head_object(Bucket="lake", Key=key)
            assert head["Metadata"] == {"team": "blue"}, (key, head["Metadata"])
            assert head["ContentType"] == "application/parquet", key


def versions(server):
    """A bucket that keeps versions is refused before anything is written, unless that is accepted."""
    server.client.create_bucket(Bucket="kept")
    server.client.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    server.client.upload_file(str(samples / "events" / "part-00000.parquet"), "kept", "events/a.parquet")
    said = run(server, "init", "s3://kept/events", "--subject", "distinct_id", expected=1)[1]
    assert "keeps old versions" in said, said
    left = server.client.list_objects_v2(Bucket="kept")["Contents"]
    assert [found["Key"] for found in left] == ["events/a.parquet"], left
    run(server, "init", "s3://kept/events", "--subject", "distinct_id", "--history", "keep")


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="efface-objects-"))
    server = None
    try:
        server = Server(work)
        for check in (lambda: rules(server, work), lambda: as_on_a_disk(server, work),
                      lambda: refusals(server), lambda: lock(server), lambda: versions(server)):
            check()
    finally:
        if server:
            server.stop()
        shutil.rmtree(work, ignore_errors=True)
    print("objects: all right")


if __name__ == "__main__":
    try:
        main()
    except ClientError as error:
        sys.exit(f"the server refused: {error}")
