"""The rule ``plan``: print what a run would do. See invariant 2 (staleness) in ``docs/reruns.md``."""

from collections.abc import Mapping, Sequence
from typing import Any

HEADER = ("rule", "jobs", "reason", "new data", "memory", "time")


def plan(jobs: Sequence[Mapping[str, Any]]) -> None:
    """Print how many jobs of each rule a run would start, and what they need.

    Parameters
    ----------
    jobs
        For each: ``rule``, ``reasons``, ``bytes`` or None, ``memory_mb``, and ``seconds``, those of its last run, or None.
    """
    print(table(jobs))


def table(jobs: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the plan: a line for each rule, in the order in which they run."""
    if not jobs:
        return "Nothing to be done: everything is up to date."
    names = list(dict.fromkeys(job["rule"] for job in jobs))
    rows = [HEADER, *(_row(name, [job for job in jobs if job["rule"] == name]) for name in names)]
    rows.append(("all", str(len(jobs)), "", size(_sum(jobs, "bytes")), _largest(jobs), duration(_sum(jobs, "seconds"))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    n_known = sum(job["seconds"] is not None for job in jobs)
    note = f"Times are those of earlier runs, one job after another; known for {n_known} of {len(jobs)} jobs."
    return "\n".join([*lines, "", note])


def _row(name: str, jobs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    reasons = sorted({reason for job in jobs for reason in job["reasons"]})
    why = ", ".join(reasons[:4]) + (", ..." if len(reasons) > 4 else "")
    return (
        name,
        str(len(jobs)),
        why,
        size(_sum(jobs, "bytes")),
        _largest(jobs),
        duration(_sum(jobs, "seconds")),
    )


def _sum(jobs: Sequence[Mapping[str, Any]], key: str) -> float | None:
    known = [job[key] for job in jobs if job[key] is not None]
    return sum(known) if known else None


def _largest(jobs: Sequence[Mapping[str, Any]]) -> str:
    return size(max(job["memory_mb"] for job in jobs) * 2**20)


def size(n_bytes: float | None) -> str:
    """Write a number of bytes with its unit."""
    if n_bytes is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit in ("B", "kB") or n_bytes >= 10 else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TB"


def duration(seconds: float | None) -> str:
    """Write a time in seconds with its unit."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
