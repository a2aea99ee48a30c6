"""Results as Markdown."""

from statistics import median

from .calls import OPENS, RENAMES

# Others that say something of how a tool works; all are in the JSON.
SHOWN = ["pread64", "read", "write", "copy_file_range", "lseek", "statx", "unlink", "clone3", "futex"]


def seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def mode(milliseconds: float) -> str:
    return "the disk as it is" if milliseconds == 0 else f"{milliseconds:g} ms more a sync"


def where(result: dict) -> str:
    lake, machine = result["dataset"], result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{lake['shards']:,} shards of {lake['bytes'] / lake['shards'] / 1000:.0f} KB, of which {lake['touched']:,} "
        f"hold rows of {lake['ids']} ids; medians of {result['rounds']} interleaved rounds, each on fresh copies; efface with `--zstd-level "
        f"{result['zstd_level']}`. "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['kernel']}, "
        f"{machine['file_system']}; {versions}; {machine['date']}. Load before: {machine['load_before']}."
    )


def times(result: dict) -> list[str]:
    lines = []
    shards = result["dataset"]["touched"]
    for milliseconds in result["delays"]:
        cells = [cell for cell in result["cells"] if cell["delay_ms"] == milliseconds and cell["runs"]]
        middle = {cell["tool"]: median(run["seconds"] for run in cell["runs"]) for cell in cells}
        with_cpu = milliseconds == 0
        heads = ["median s", "min s", "max s", "x Polars", "x `cp`"]
        heads += ["CPU ms a touched shard", "peak MiB", "MB afterwards"] if with_cpu else []
        lines += ["", f"## {mode(milliseconds).capitalize()}", "", f"| | {' | '.join(heads)} | runs |"]
        lines += ["|---|" + "---:|" * (len(heads) + 1)]
        for cell in cells:
            runs = cell["runs"]
            took = [run["seconds"] for run in runs]
            figures = [seconds(middle[cell["tool"]]), seconds(min(took)), seconds(max(took))]
            for other in ("polars", "cp"):
                figures.append(f"{middle[cell['tool']] / middle[other]:.2f}" if other in middle else "")
            if with_cpu:
                cpu = median(run["cpu_seconds"] for run in runs)
                peak = median(run["peak_bytes"] for run in runs)
                after = result["bytes_after"].get(cell["tool"])
                figures += [f"{1000 * cpu / shards:.2f}", f"{peak / 2**20:.0f}", f"{after / 1e6:.1f}" if after else ""]
            lines.append(f"| {result['tools'][cell['tool']]} | {' | '.join(figures)} | {len(runs)} |")
    return lines


def calls(result: dict) -> list[str]:
    tools = list(result["calls"])
    rows = [
        ("syncs of files (`fsync`, `fdatasync`)", ["sync of a file"]),
        ("syncs of directories", ["sync of a directory"]),
        ("`fsync`", ["fsync"]),
        ("`fdatasync`", ["fdatasync"]),
        ("`syncfs`, `sync`", ["syncfs", "sync"]),
        ("opens", OPENS),
        ("renames", RENAMES),
        *((f"`{name}`", [name]) for name in SHOWN),
    ]
    lines = ["", "## System calls of one run", ""]
    lines += ["| | " + " | ".join(f"{result['tools'][tool]} | a touched shard" for tool in tools) + " |"]
    lines += ["|---|" + "---:|---:|" * len(tools)]
    shards = result["dataset"]["touched"]
    for label, names in rows:
        counts = [sum(result["calls"][tool].get(name, 0) for name in names) for tool in tools]
        if any(counts):
            lines.append(f"| {label} | " + " | ".join(f"{one:,} | {one / shards:.2f}" for one in counts) + " |")
    return lines


def full(result: dict) -> str:
    lines = [
        "# Many small shards",
        "",
        "Made by `benches/many/run.py`; `../README.md` says what is measured and how.",
        "",
        where(result),
        *times(result),
        *(calls(result) if result["calls"] else []),
    ]
    return "\n".join(lines) + "\n"
