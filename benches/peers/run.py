"""Measures efface beside other tools, and how it scales; README.md here says what is measured and how.

run.sh peers     every tool in turns: results/peers.json
run.sh curves    efface against ids, shards, rows per row group, threads, pages touched: results/curves.json
run.sh report    tables and charts of the results that are there
run.sh page      puts the summary between the markers of the repository's README.md
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

from harness import charts, compare, curves, machine, tables, tools
from harness.lake import Lake, Shape
from harness.measure import Meter

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SMALL = Shape(shards=4, rows_per_shard=250_000, users=100_000)
FULL = Shape(shards=16, rows_per_shard=1_000_000, users=400_000)
# Rows of the curves' other datasets, as multiples of the small ones.
FULL_SCALE = 4
# A run that takes so many times as long as a slow one is ended.
KILL_FACTOR = 4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["peers", "curves", "report", "page"])
    parser.add_argument("--full", action="store_true", help="16 shards of a million rows, not 4 of 250,000")
    parser.add_argument("--rounds", type=int, default=5, help="how often each run is done [%(default)s]")
    parser.add_argument("--ids", type=int, nargs="+", default=[1, 20, 2000], help="how many, up to 2000 [%(default)s]")
    parser.add_argument("--tools", nargs="+", default=[], help="peers: only these [all]")
    parser.add_argument("--curves", nargs="+", default=[], help="curves: only these [all]")
    parser.add_argument(
        "--slow", type=float, default=5, metavar="MINUTES", help="a run that takes longer isn't repeated [%(default)s]"
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="for datasets and runs, a few times the dataset [target/peers]"
    )
    parser.add_argument(
        "--dataset", type=Path, metavar="DIR", help="what the generator wrote, to copy instead of making it"
    )
    parser.add_argument("--lock", type=Path, metavar="FILE", help="hold a lock on this file (flock) during each run")
    parser.add_argument("--results", type=Path, metavar="DIR", default=HERE / "results", help="where results are")
    parser.add_argument("--page", type=Path, metavar="FILE", default=REPOSITORY / "README.md", help="page: which one")
    parser.add_argument("--preview", type=Path, metavar="DIR", help="report: also PNGs of the charts, light and dark")
    parser.add_argument("--efface", type=Path, metavar="FILE", help="the command, instead of building it")
    return parser.parse_args()


def target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()


def build() -> Path:
    subprocess.run(
        ["cargo", "build", "--release", "--workspace", "--bin", "efface", "--bin", "events"], cwd=REPOSITORY, check=True
    )
    return target() / "release" / "efface"


def dataset(options: argparse.Namespace, work: Path, efface: Path) -> Lake:
    if options.dataset:
        return Lake.copy(work / "copy", options.dataset, efface)
    shape = FULL if options.full else SMALL
    return Lake.generate(work / ("full" if options.full else "small"), shape, REPOSITORY, efface)


def report(results: Path, preview: Path | None) -> None:
    if (path := results / "peers.json").exists():
        result = json.loads(path.read_text())
        (results / "peers.md").write_text(tables.full(result))
        for action in compare.ACTIONS:
            charts.peers(result, action, results / f"{action}.svg", preview)
    if (path := results / "curves.json").exists():
        result = json.loads(path.read_text())
        (results / "curves.md").write_text(tables.curves(result))
        for one in result["curves"]:
            charts.curve(one, results / f"curve-{one['name']}.svg", preview)


def page(options: argparse.Namespace) -> None:
    result = json.loads((options.results / "peers.json").read_text())
    charts_at = os.path.relpath(options.results.resolve(), REPOSITORY)
    tables.put_between_markers(options.page, tables.summary(result, charts_at))


def main() -> None:
    options = arguments()
    for directory in filter(None, [options.results, options.preview]):
        directory.mkdir(parents=True, exist_ok=True)
    if options.what == "page":
        page(options)
        return
    if options.what != "report":
        efface = options.efface.resolve() if options.efface else build()
        work = (options.work or target() / "peers").resolve()
        work.mkdir(parents=True, exist_ok=True)
        meter = Meter(work / "log", options.lock, KILL_FACTOR * options.slow * 60)
        about = {"machine": machine.describe(efface)}
        lake = dataset(options, work, efface)
        save = options.results / f"{options.what}.json"
        if options.what == "peers":
            everyone = [tool for tool in tools.everyone(efface) if not options.tools or tool.name in options.tools]
            limits = compare.Options(options.rounds, options.slow * 60, options.ids)
            compare.compare(lake, everyone, limits, meter, work, save, about)
        else:
            maker = curves.Maker(lake, work / "curves", REPOSITORY, efface, FULL_SCALE if options.full else 1)
            curves.measure(maker, options.curves, options.rounds, meter, work, save, about)
    report(options.results, options.preview)


if __name__ == "__main__":
    main()
