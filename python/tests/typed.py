"""Checked by mypy: how the calls are used, and two that must be mistakes."""

import pathlib

import efface

events = efface.open("events", subject=["distinct_id"], memory=1 << 30)
plan: efface.Plan = events.plan(["ada"], disclosure="data")
rows: int = plan.rows
events.export(pathlib.Path("ids.csv"), regulation="ccpa", since="2025-01-01").write("x.csv")
done = events.delete([1, 2], plan=plan, zstd_level="auto")
removed: int = done["rows_removed"]
events.delete(["ada"], regulation="dsgvo")  # type: ignore[arg-type]
events.open  # type: ignore[attr-defined]
