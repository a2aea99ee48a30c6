"""Charts as SVG, in greys and blues that can be read on white and on black."""

from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from .tables import MIB, cell, counts, ids_of, seconds

TEXT = "#7d8590"
GRID = "#7d859040"
EFFACE = "#2f81f7"
EFFACE_TOO = "#2fa7a0"
OTHER = "#9e6a38"
LIMIT = "#8b949e"
COLOURS = {"efface": EFFACE, "efface-from-nothing": EFFACE_TOO, "cp": LIMIT}
SERIES = {"export": EFFACE, "delete": EFFACE_TOO, "cp": LIMIT}

matplotlib.rcParams.update(
    {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
        "font.size": 9,
        "text.color": TEXT,
        "axes.labelcolor": TEXT,
        "axes.edgecolor": TEXT,
        "axes.titlecolor": TEXT,
        "xtick.color": TEXT,
        "ytick.color": TEXT,
        "legend.labelcolor": TEXT,
        "svg.fonttype": "none",
        # The same figures make the same file.
        "svg.hashsalt": "efface",
    }
)


def save(figure: Figure, path: Path, preview: Path | None) -> None:
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None, "Creator": None})
    if preview:
        for name, ground in (("light", "#ffffff"), ("dark", "#0d1117")):
            figure.savefig(preview / f"{path.stem}-{name}.png", facecolor=ground, bbox_inches="tight", dpi=110)
    plt.close(figure)


def peers(result: dict, action: str, path: Path, preview: Path | None = None) -> None:
    """Seconds of every tool, a panel for each number of ids: a dot at the median, a line from least to most."""
    wanted = counts(result)
    tools = list(result["tools"].items())
    figure, panels = plt.subplots(
        1, len(wanted), figsize=(3.4 * len(wanted), 0.34 * len(tools) + 0.9), sharey=True, squeeze=False
    )
    for axes, count in zip(panels[0], wanted, strict=True):
        longest = 0.0
        for place, (name, _) in enumerate(tools):
            one = cell(result, name, action, count)
            if one is None or not one["runs"]:
                continue
            times = [run["seconds"] for run in one["runs"]]
            colour = COLOURS.get(name, OTHER)
            longest = max(longest, *times)
            axes.plot([min(times), max(times)], [place, place], color=colour, linewidth=2, alpha=0.6)
            axes.plot(median(times), place, "o", color=colour, markersize=6)
            axes.annotate(
                seconds(median(times)), (max(times), place), (7, 0), textcoords="offset points", va="center", fontsize=8
            )
        logarithmic(axes, "x")
        if longest > 0:
            axes.set_xlim(right=longest * 3)
        axes.set_title(f"{action} {ids_of(count)}", fontsize=10)
        axes.set_xlabel("seconds")
        axes.set_yticks(range(len(tools)), [label.replace("`", "") for _, label in tools])
        axes.set_ylim(len(tools) - 0.5, -0.5)
        plain(axes)
    figure.tight_layout()
    save(figure, path, preview)


def curve(one: dict, path: Path, preview: Path | None = None) -> None:
    """Seconds and peak memory of efface's export and delete against one number, with `cp`."""
    figure, (times, peaks) = plt.subplots(1, 2, figsize=(8.2, 3.1), layout="constrained")
    points = one["points"]
    for name, colour in SERIES.items():
        label = f"efface {name}" if name != "cp" else "cp of the touched shards"
        draw(times, points, name, "seconds", 1, colour, label)
        if name != "cp":
            draw(peaks, points, name, "peak_bytes", MIB, colour, label)
    for axes, label in ((times, "seconds"), (peaks, "peak memory, MiB")):
        axes.set_ylabel(label)
        axes.set_xlabel(one["x_label"])
        if len(points) > 2:
            logarithmic(axes, "x")
        axes.set_xticks([point["x"] for point in points], [f"{point['x']:,.6g}" for point in points])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="x", which="minor", length=0)
        plain(axes)
    logarithmic(times, "y")
    peaks.set_ylim(bottom=0)
    figure.legend(*times.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(one["what"], fontsize=9, color=TEXT)
    save(figure, path, preview)


def draw(axes: Axes, points: list[dict], name: str, figure: str, unit: int, colour: str, label: str) -> None:
    places = [point["x"] for point in points]
    values = [[run[figure] / unit for run in point["runs"][name]] for point in points]
    axes.fill_between(
        places, [min(runs) for runs in values], [max(runs) for runs in values], color=colour, alpha=0.2, lw=0
    )
    axes.plot(places, [median(runs) for runs in values], "o-", color=colour, markersize=4, linewidth=1.5, label=label)


def logarithmic(axes: Axes, which: str) -> None:
    getattr(axes, f"set_{which}scale")("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def plain(axes: Axes) -> None:
    axes.grid(visible=True, which="major", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
