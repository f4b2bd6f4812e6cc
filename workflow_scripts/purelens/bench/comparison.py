"""Time several ways to do the same, in turns, and compare what they give."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

IMPLEMENTATIONS = ("definition", "published", "purelens", "floor")


@dataclass(frozen=True)
class Contest:
    """A stage, done in several ways.

    Attributes
    ----------
    stage
        Its name.
    ways
        A function for each implementation. What it returns is compared, not timed.
    parity
        Says how far two results are apart: of an implementation and of the one named in ``against``.
    parity_is
        What that number is.
    against
        The implementation that the others are compared with.
    size
        How much work it is, for the record.
    times
        By what the seconds of an implementation are multiplied that does a part of the work; others by one.
    """

    stage: str
    ways: Mapping[str, Callable[[], Any]]
    parity: Callable[[Any, Any], float] | None = None
    parity_is: str = ""
    against: str = "definition"
    size: Mapping[str, int] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """How long one implementation of a stage took, in seconds, and how far its result is from the reference's.

    What was measured on a part of the work is ``multiplied_by`` what makes it of the whole.
    """

    study: str
    stage: str
    implementation: str
    repeats: int
    min_s: float
    median_s: float
    parity: float | None
    parity_is: str
    size: Mapping[str, int]
    multiplied_by: float = 1.0


def hold(contest: Contest, study: str, repeats: int) -> list[dict[str, Any]]:
    """Run all implementations in turns: A B C D, A B C D, and so on.

    Parameters
    ----------
    contest, study
        What is run, and the name of the study it is of.
    repeats
        Turns.

    Returns
    -------
    list
        One `Timing` for each implementation, as plain values.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contest.ways}
    results = {}
    for _ in range(repeats):
        for name, way in contest.ways.items():
            started = time.perf_counter()
            results[name] = way()
            seconds[name].append(time.perf_counter() - started)
    return [
        asdict(
            Timing(
                study=study,
                stage=contest.stage,
                implementation=name,
                repeats=repeats,
                min_s=min(times) * contest.times.get(name, 1.0),
                median_s=median(times) * contest.times.get(name, 1.0),
                parity=_parity(contest, results, name),
                parity_is=contest.parity_is,
                size=dict(contest.size),
                multiplied_by=contest.times.get(name, 1.0),
            )
        )
        for name, times in seconds.items()
    ]


def _parity(contest: Contest, results: Mapping[str, Any], name: str) -> float | None:
    """None where there is nothing to compare: a floor computes no result."""
    if contest.parity is None or name in (contest.against, "floor") or contest.against not in results:
        return None
    return contest.parity(results[name], results[contest.against])


def ratios(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare PureLens with each other implementation: its median time divided by PureLens's, for each study and stage."""
    medians: dict[tuple[str, str], dict[str, float]] = {}
    for record in records:
        medians.setdefault((record["study"], record["stage"]), {})[record["implementation"]] = record["median_s"]
    return [
        {
            "study": study,
            "stage": stage,
            **{f"{name}_s": found.get(name) for name in IMPLEMENTATIONS},
            "published_over_purelens": _over(found, "published", "purelens"),
            "purelens_over_floor": _over(found, "purelens", "floor"),
        }
        for (study, stage), found in medians.items()
    ]


def _over(found: Mapping[str, float], above: str, below: str) -> float | None:
    return found[above] / found[below] if above in found and below in found else None
