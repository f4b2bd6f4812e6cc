"""The rule ``contests``: every stage against its definition, the published way and its floor."""

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from purelens.bench import growth, sizes
from purelens.bench.clustering import contest_clustering
from purelens.bench.comparison import Contest, hold, ratios
from purelens.bench.explanations import contest_ranking, contest_selection
from purelens.bench.lens import contest_effects, contest_words
from purelens.bench.setting import prepare
from purelens.bench.stages import (
    contest_activations,
    contest_decoding,
    contest_end_to_end,
    contest_figures,
    contest_one_layer,
    contest_patches,
    contest_relevances,
)
from purelens.config.bench import BenchStudy
from purelens.errors import UserError
from purelens.storage.files import replace_when_whole
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")


def contests(
    bench_json: str,
    ratios_csv: str,
    growth_csv: str,
    sizes_csv: str,
    studies: Mapping[str, Mapping[str, Any]],
    repeats: int = 5,
    threads: int = 2,
    seed: int = 0,
) -> None:
    """Time every stage in every way, in this process and in turns, and compare the results.

    Parameters
    ----------
    bench_json
        A list of records (see `purelens.bench.comparison.Timing`).
    ratios_csv
        One row per study and stage: seconds of each implementation, and PureLens's ratios to the published way and the floor.
    growth_csv
        Seconds and peak memory at 1, 2 and 4 times the size.
    sizes_csv
        Bytes of the artifacts of a layer, and what they would be at 50,000 images and 100 references.
    studies
        What is run, by name (see `purelens.config.bench.BenchStudy`).
    repeats
        Turns of each contest.
    threads
        Threads of the arithmetic, and processes that decode.
    seed
        Of random images and weights.
    """
    _check_files(studies)
    torch.set_num_threads(threads)
    records: list[dict[str, Any]] = []
    grown: list[growth.Growth] = []
    stored: list[dict[str, Any]] = []
    folder = Path(tempfile.mkdtemp(prefix="purelens-bench-"))
    try:
        for name, values in studies.items():
            study = BenchStudy(**values)
            for contest in _contests(study, folder / name, threads, seed):
                records += hold(contest, name, repeats)
                logger.info("%s %s: %s", name, contest.stage, _in_words(records, name, contest.stage))
            if "growth" in study.stages:
                grown += growth.measure_growth(study, name, folder / name / "growth", seed)
            if "sizes" in study.stages:
                stored += sizes.measure_sizes(study, name, folder / name / "sizes", seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Path(bench_json).parent.mkdir(parents=True, exist_ok=True)
    with replace_when_whole(bench_json) as temporary:
        temporary.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    write_table(ratios_csv, pd.DataFrame(ratios(records)))
    write_table(growth_csv, pd.DataFrame(growth.as_rows(grown)))
    write_table(sizes_csv, pd.DataFrame(stored))


def _check_files(studies: Mapping[str, Mapping[str, Any]]) -> None:
    """Stop before the first turn if a network's weights or images are missing."""
    for name, values in studies.items():
        for key in ("weights", "images"):
            if values.get(key) and not Path(values[key]).exists():
                raise UserError(f"config: bench.studies.{name}.{key}: there is no file or folder {values[key]}")


def _contests(study: BenchStudy, folder: Path, threads: int, seed: int) -> Iterator[Contest]:
    """The contests of a study, one after another: each makes what it needs when it is its turn."""
    stages = study.stages
    if "decoding" in stages:
        yield contest_decoding(study, folder / "decoding", threads, seed)
    if "activations" in stages:
        setting = prepare(study, folder / "images", study.images_counted, 1, study.references, seed)
        yield contest_activations(setting, study.references)
        yield contest_one_layer(setting, study.references)
    for stage, contest in (("relevances", contest_relevances), ("patches", contest_patches)):
        if stage in stages:
            n_neurons = study.neurons if stage == "relevances" else study.patch_neurons
            yield contest(prepare(study, folder / stage, study.circuit_images, n_neurons, study.circuit_images, seed))
    if "clustering" in stages:
        yield contest_clustering(folder / "clustering", study.clustered_neurons, seed)
    if "explanations" in stages:
        yield contest_ranking(study.explained_neurons, seed)
        yield contest_selection(study.explained_neurons, seed)
    if "lens" in stages:
        yield contest_effects(seed)
        yield contest_words(seed)
    if "figures" in stages:
        yield contest_figures(prepare(study, folder / "figure", study.figure_images, 1, study.figure_images, seed))
    if "end_to_end" in stages:
        yield contest_end_to_end(
            prepare(study, folder / "all", study.images_counted, study.neurons, study.references, seed)
        )


def _in_words(records: list[dict[str, Any]], study: str, stage: str) -> str:
    found = [record for record in records if (record["study"], record["stage"]) == (study, stage)]
    return ", ".join(f"{record['implementation']} {record['median_s']:.2f} s" for record in found)
