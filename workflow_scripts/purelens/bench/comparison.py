"""Time several implementations of a stage, alternating, and compare their results."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

IMPLEMENTATIONS = ("definition", "published", "purelens", "floor")


@dataclass(frozen=True)
class Comparison:
    """A stage in several implementations.

    Attributes
    ----------
    stage
        Name of the stage.
    implementations
        A function for each implementation. The call is timed; the comparison of what it returns is not.
    parity
        Measures the difference of two results: that of an implementation, and that of ``reference``.
    parity_metric
        What ``parity`` measures.
    reference
        The implementation that the others are compared with.
    size
        Amount of work, for the record.
    factors
        Factor on the time of each implementation that does only a share of the work; 1 for the others.
    """

    stage: str
    implementations: Mapping[str, Callable[[], Any]]
    parity: Callable[[Any, Any], float] | None = None
    parity_metric: str = ""
    reference: str = "definition"
    size: Mapping[str, int] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """Time of an implementation of a stage, in seconds, and the difference of its result from that of the reference.

    The time of an implementation that did only a share of the work is ``multiplied_by`` a factor for the whole.
    """

    study: str
    stage: str
    implementation: str
    repeats: int
    min_s: float
    median_s: float
    parity: float | None
    parity_metric: str
    size: Mapping[str, int]
    multiplied_by: float = 1.0


def run_comparison(comparison: Comparison, study: str, repeats: int) -> list[dict[str, Any]]:
    """Run all implementations, alternating: A B C D, A B C D, and so on.

    Parameters
    ----------
    comparison, study
        What is run, and the name of its study.
    repeats
        Runs of each implementation.

    Returns
    -------
    list
        One `Timing` for each implementation, as plain values.
    """
    seconds: dict[str, list[float]] = {name: [] for name in comparison.implementations}
    results = {}
    for _ in range(repeats):
        for name, implementation in comparison.implementations.items():
            started = time.perf_counter()
            results[name] = implementation()
            seconds[name].append(time.perf_counter() - started)
    return [
        asdict(
            Timing(
                study=study,
                stage=comparison.stage,
                implementation=name,
                repeats=repeats,
                min_s=min(times) * comparison.factors.get(name, 1.0),
                median_s=median(times) * comparison.factors.get(name, 1.0),
                parity=_parity(comparison, results, name),
                parity_metric=comparison.parity_metric,
                size=dict(comparison.size),
                multiplied_by=comparison.factors.get(name, 1.0),
            )
        )
        for name, times in seconds.items()
    ]


def _parity(comparison: Comparison, results: Mapping[str, Any], name: str) -> float | None:
    """Compare a result with that of the reference; None where there is nothing to compare: a floor computes no result."""
    reference = comparison.reference
    if comparison.parity is None or name in (reference, "floor") or reference not in results:
        return None
    return comparison.parity(results[name], results[reference])


def ratios(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Divide the median times of other implementations by that of PureLens, for each study and stage."""
    medians: dict[tuple[str, str], dict[str, float]] = {}
    for record in records:
        medians.setdefault((record["study"], record["stage"]), {})[record["implementation"]] = record["median_s"]
    return [
        {
            "study": study,
            "stage": stage,
            **{f"{name}_s": seconds.get(name) for name in IMPLEMENTATIONS},
            "published_over_purelens": _over(seconds, "published", "purelens"),
            "purelens_over_floor": _over(seconds, "purelens", "floor"),
        }
        for (study, stage), seconds in medians.items()
    ]


def _over(seconds: Mapping[str, float], above: str, below: str) -> float | None:
    return seconds[above] / seconds[below] if above in seconds and below in seconds else None
