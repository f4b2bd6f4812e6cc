"""The rule ``comparisons``: time every stage against its definition, the published program and its floor."""

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
from purelens.bench.clustering import compare_clustering
from purelens.bench.comparison import Comparison, ratios, run_comparison
from purelens.bench.explanations import compare_ranking, compare_selection
from purelens.bench.lens import compare_effects, compare_words
from purelens.bench.setting import prepare
from purelens.bench.stages import (
    compare_activations,
    compare_decoding,
    compare_end_to_end,
    compare_figures,
    compare_one_layer,
    compare_patches,
    compare_relevances,
)
from purelens.config.bench import BenchStudy
from purelens.errors import UserError
from purelens.storage.files import replace_when_whole
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")


def comparisons(
    bench_json: str,
    ratios_csv: str,
    growth_csv: str,
    sizes_csv: str,
    studies: Mapping[str, Mapping[str, Any]],
    repeats: int = 5,
    threads: int = 2,
    seed: int = 0,
) -> None:
    """Time every stage in every implementation, alternating in this process, and compare the results.

    Parameters
    ----------
    bench_json
        A list of records (see `purelens.bench.comparison.Timing`).
    ratios_csv
        One row per study and stage: seconds of each implementation, and the ratios of PureLens to the published program and
        the floor.
    growth_csv
        Seconds and peak memory at one, two and four times the size.
    sizes_csv
        Bytes of the artifacts of a layer, measured and extrapolated to 50,000 images and 100 references.
    studies
        Networks to time, by name (see `purelens.config.bench.BenchStudy`).
    repeats
        Runs of each implementation.
    threads
        CPU threads, and processes that decode.
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
            for comparison in _comparisons(study, folder / name, threads, seed):
                records += run_comparison(comparison, name, repeats)
                logger.info("%s %s: %s", name, comparison.stage, _summary(records, name, comparison.stage))
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
    """Check that the weights and images of all networks exist, before anything is timed."""
    for name, values in studies.items():
        for key in ("weights", "images"):
            if values.get(key) and not Path(values[key]).exists():
                raise UserError(f"config: bench.studies.{name}.{key}: there is no file or folder {values[key]}")


def _comparisons(study: BenchStudy, folder: Path, threads: int, seed: int) -> Iterator[Comparison]:
    """Yield the comparisons of a study; each prepares its inputs when it is reached."""
    stages = study.stages
    if "decoding" in stages:
        yield compare_decoding(study, folder / "decoding", threads, seed)
    if "activations" in stages:
        setting = prepare(study, folder / "images", study.images_counted, 1, study.references, seed)
        yield compare_activations(setting, study.references)
        yield compare_one_layer(setting, study.references)
    for stage, compare in (("relevances", compare_relevances), ("patches", compare_patches)):
        if stage in stages:
            n_neurons = study.neurons if stage == "relevances" else study.patch_neurons
            yield compare(prepare(study, folder / stage, study.circuit_images, n_neurons, study.circuit_images, seed))
    if "clustering" in stages:
        yield compare_clustering(folder / "clustering", study.clustered_neurons, seed)
    if "explanations" in stages:
        yield compare_ranking(study.explained_neurons, seed)
        yield compare_selection(study.explained_neurons, seed)
    if "lens" in stages:
        yield compare_effects(seed)
        yield compare_words(seed)
    if "figures" in stages:
        yield compare_figures(prepare(study, folder / "figure", study.figure_images, 1, study.figure_images, seed))
    if "end_to_end" in stages:
        yield compare_end_to_end(
            prepare(study, folder / "all", study.images_counted, study.neurons, study.references, seed)
        )


def _summary(records: list[dict[str, Any]], study: str, stage: str) -> str:
    of_stage = [record for record in records if (record["study"], record["stage"]) == (study, stage)]
    return ", ".join(f"{record['implementation']} {record['median_s']:.2f} s" for record in of_stage)
