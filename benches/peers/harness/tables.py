"""Results as Markdown: every figure in words and tables is made from the JSON here."""

from collections.abc import Callable
from pathlib import Path
from statistics import median

BEGIN = "<!-- peers:begin -->"
END = "<!-- peers:end -->"
MIB = 1 << 20


def seconds(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def mib(value: float) -> str:
    return f"{value / MIB:,.0f}" if value >= 10 * MIB else f"{value / MIB:.1f}"


def ids_of(count: int) -> str:
    return f"{count:,} id" if count == 1 else f"{count:,} ids"


def of(runs: list[dict], name: str, how: Callable[[list], float] = median) -> float:
    return how([run[name] for run in runs])


def cell(result: dict, tool: str, action: str, ids: int) -> dict | None:
    found = (cell for cell in result["cells"] if (cell["tool"], cell["action"], cell["ids"]) == (tool, action, ids))
    return next(found, None)


def counts(result: dict) -> list[int]:
    return [request["ids"] for request in result["requests"]]


def rounds(result: dict) -> int:
    """Those that were begun, of a run that was ended before its end."""
    return max(len(one["runs"]) for one in result["cells"])


def where(result: dict) -> str:
    """The dataset, the machine, the versions and the day, in two sentences."""
    lake, machine = result["dataset"], result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{lake['shards']} shards of {lake['rows'] // lake['shards']:,} rows, {lake['bytes'] / 1e9:.2f} GB of zstd "
        f"level {lake['zstd_level']} in row groups of {lake['row_group_rows']:,} rows, in the page cache; medians of "
        f"{rounds(result)} interleaved rounds. {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['kernel']}; {versions}; {machine['date']}."
    )


def mark(one: dict) -> str:
    """What is special about a cell."""
    return ("" if one["same_rows"] in (True, None) else "!") + {"slow": "†", "killed": "‡"}.get(one["note"] or "", "")


def legend(result: dict) -> list[str]:
    notes = {one["note"] for one in result["cells"]}
    minutes = result["options"]["slow_seconds"] / 60
    texts = []
    if "slow" in notes:
        texts.append(f"† took more than {minutes:g} minutes and was not run again.")
    if "killed" in notes:
        texts.append(f"‡ was ended after {4 * minutes:g} minutes.")
    if any(one["same_rows"] is False for one in result["cells"]):
        texts.append("! other rows than expected, or an error: see the JSON.")
    return texts


def summary(result: dict, directory: str) -> str:
    """The table and the charts for the front page; `directory` is where the charts are, as seen from there."""
    wanted = counts(result)
    heads = [f"{action} {count:,}" for action in ("export", "delete") for count in wanted]
    lines = [
        f"| seconds, for so many ids | {' | '.join(heads)} | peak memory, MiB |",
        f"|---|{'---:|' * (len(heads) + 1)}",
    ]
    for tool, label in result["tools"].items():
        found = [cell(result, tool, action, count) for action in ("export", "delete") for count in wanted]
        values = [
            f"{seconds(of(one['runs'], 'seconds'))}{mark(one)}" if one["runs"] else f"—{mark(one)}" for one in found
        ]
        peak = max((of(one["runs"], "peak_bytes", max) for one in found if one["runs"]), default=0)
        lines.append(f"| {label} | {' | '.join(values)} | {mib(peak)} |")
    index = cell(result, "efface", "index", 0)
    if index and index["runs"]:
        lines.append("")
        lines.append(f"Building the index, once: {seconds(of(index['runs'], 'seconds'))} s.")
    lines += ["", where(result), *legend(result)]
    for action in ("delete", "export"):
        lines += ["", f"![{action}: seconds of each tool]({directory}/{action}.svg)"]
    return "\n".join(lines)


def full(result: dict) -> str:
    """Every figure of every cell."""
    lines = [
        "# Peers side by side",
        "",
        "Made by `benches/peers/run.sh`; what is measured and how stands in `../README.md`.",
    ]
    lines += ["", where(result), *legend(result)]
    for action in ("export", "delete"):
        for request in result["requests"]:
            lines += ["", f"## {action}, {ids_of(request['ids'])}", ""]
            lines.append(
                f"{request['rows']:,} of {result['dataset']['rows']:,} rows, in {request['touched_shards']} of "
                f"{result['dataset']['shards']} shards."
            )
            lines += ["", *table(result, action, request["ids"])]
    lines += ["", "## Start and index", ""]
    lines.append(
        "`start` is a run that does nothing (the interpreter and its imports, which every figure above contains)."
    )
    lines += ["", HEAD, RULE]
    index = cell(result, "efface", "index", 0)
    starts = [one for one in result["cells"] if one["action"] == "start"]
    for one in [index, *starts] if index else starts:
        lines.append(row(f"{result['tools'][one['tool']]}: {one['action']}", one, None))
    return "\n".join(lines) + "\n"


HEAD = "| | median s | min s | max s | x cp | CPU s | peak MiB | written MiB | runs | same rows |"
RULE = "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"


def table(result: dict, action: str, ids: int) -> list[str]:
    copy = cell(result, "cp", action, ids)
    limit = of(copy["runs"], "seconds") if copy and copy["runs"] else None
    rows = [
        row(label, one, limit)
        for tool, label in result["tools"].items()
        if (one := cell(result, tool, action, ids)) is not None
    ]
    return [HEAD, RULE, *rows]


def row(label: str, one: dict, limit: float | None) -> str:
    runs = one["runs"]
    same = {True: "yes", False: "NO", None: ""}[one["same_rows"]]
    if not runs:
        return f"| {label} | | | | | | | | 0 | {same} |"
    times = [of(runs, "seconds", how) for how in (median, min, max)]
    ratio = f"{times[0] / limit:.2f}" if limit else ""
    figures = [
        *map(seconds, times),
        ratio,
        seconds(of(runs, "cpu_seconds")),
        mib(of(runs, "peak_bytes", max)),
        mib(of(runs, "written_bytes")),
        f"{len(runs)}{mark(one)}",
        same,
    ]
    return f"| {label} | {' | '.join(figures)} |"


def put_between_markers(page: Path, text: str) -> None:
    """Replaces what is between the two markers of a page.

    Raises `ValueError` where they aren't both there, once, in this order.
    """
    old = page.read_text()
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
        raise ValueError(f"{page} must have {BEGIN} and {END}, once each")
    before, rest = old.split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def curves(result: dict) -> str:
    """Every figure of every curve, and the charts."""
    machine = result["machine"]
    lines = [
        "# Scaling",
        "",
        "Made by `benches/peers/run.sh curves`; what is measured and how stands in `../README.md`.",
        "",
    ]
    lines.append(
        f"Medians of {result['rounds']} interleaved rounds. {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['kernel']}; efface {machine['versions']['efface']}; {machine['date']}."
    )
    for one in result["curves"]:
        lines += [
            "",
            f"## {one['x_label']}",
            "",
            f"{one['what']}.",
            "",
            f"![{one['x_label']}](curve-{one['name']}.svg)",
            "",
        ]
        lines.append(
            f"| {one['x_label']} | ids | rows found | dataset MB | export s | delete s | cp s | export MiB | "
            "delete MiB | delete written MiB | cp written MiB |"
        )
        lines.append("|" + "---:|" * 11)
        for point in one["points"]:
            runs = point["runs"]
            figures = [
                f"{point['x']:,.6g}",
                f"{point['ids']:,}",
                f"{point['rows']:,}",
                f"{point['dataset']['bytes'] / 1e6:,.0f}",
                *(seconds(of(runs[name], "seconds")) for name in ("export", "delete", "cp")),
                *(mib(of(runs[name], "peak_bytes", max)) for name in ("export", "delete")),
                *(mib(of(runs[name], "written_bytes")) for name in ("delete", "cp")),
            ]
            lines.append(f"| {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"
