"""The rule ``planted_scores``: measure whether methods find the parts of planted neurons again."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pandas as pd

from purelens.circuits.methods import ACTIVATIONS, CHOSEN, DICTIONARY, JOINT, PURE, RANDOM
from purelens.circuits.planted_sets import CONTROL
from purelens.circuits.representations import SLAB_NEURONS, of_images, rows_of
from purelens.circuits.splitting import FEWEST, random_labels
from purelens.circuits.views import open_views, view_grams, without_neurons
from purelens.numerics.agreement import adjusted_rand_index
from purelens.numerics.bootstrap import Intervals
from purelens.numerics.clustering import gram_matrices, k_means_of_one_set
from purelens.numerics.dyads import estimate_over_sets, estimate_share_over_sets
from purelens.numerics.light_tails import EQUAL, UNEQUAL, light_tails_p_value
from purelens.numerics.part_numbers import split_by_candidates
from purelens.numerics.parts import Part, look_at, split_into_parts
from purelens.numerics.ridge_split import leave_one_out_smoothers
from purelens.progress import Progress
from purelens.storage.reading import read, strings
from purelens.storage.tables import write_table

JOINT_K_MEANS, CEILING = "joint by k-means", "supervised ceiling"
LIGHT_TAILS = {EQUAL: "light tails of equal groups", UNEQUAL: "light tails of unequal groups"}
NUMBER_BY = "joint by k-means, number by "
"""Names of what is compared besides the methods that split a neuron."""

LEVEL_OF_LIGHT_TAILS = 0.01

CLEAN = 0.05
"""Parents with a smaller common share of classes make a clean set."""

ARI = "ari"
"""Column of the adjusted Rand index."""

ALL, CLEAN_SETS = "all", "clean"


@dataclass(frozen=True)
class Case:
    """A planted neuron, with everything that splits it.

    Attributes
    ----------
    truth
        (n,) parent of each reference.
    grams
        (v, n, n) scalar products in each view.
    vectors
        (n, D) what each other method clusters.
    seed
        Of k-means and of the random split.
    """

    truth: np.ndarray
    grams: np.ndarray
    vectors: dict[str, np.ndarray]
    seed: list[int]


@dataclass(frozen=True)
class Found:
    """What a method found in a planted neuron.

    Attributes
    ----------
    method
        Its name.
    label
        (n,) part of each reference; None where it only tests.
    n_parts
        Number of parts; None where there are too few references to test.
    chosen
        Whether the method chose the number of parts, instead of being given it.
    p_value
        Of one group; NaN where the method has none.
    """

    method: str
    label: np.ndarray | None
    n_parts: int | None
    chosen: bool = False
    p_value: float = float("nan")


def planted_scores(
    planted_h5: str,
    activations_h5: str,
    planted_csv: str,
    summary_csv: str,
    intervals: Intervals,
    restarts: int = 30,
    most_virtual_neurons: int = 5,
    false_discovery_rate: float = 0.01,
    dictionaries_h5: Sequence[str] = (),
) -> None:
    """Split planted neurons by every method, and compare the parts with the truth.

    Parameters
    ----------
    planted_h5, activations_h5
        Artifacts of the rules ``planted`` and ``activations``.
    planted_csv
        A row per planted neuron and method: adjusted Rand index ``ari``, number of parts, whether it was
        chosen, p-value.
    summary_csv
        Their means for each kind, over all sets and over the clean ones, with intervals over neurons.
    intervals
        Settings of the bootstrap; its seed is also that of k-means.
    restarts
        Restarts of k-means.
    most_virtual_neurons
        Largest number of parts, where it is chosen.
    false_discovery_rate
        Probability of one group below which a planted neuron is split: what the rate comes to where most neurons are
        polysemantic.
    dictionaries_h5
        Artifact of the rule ``dictionaries``, or none. Latents matched to a parent are left out, as the parents are left out
        of the activations.

    Notes
    -----
    The adjusted Rand index (Hubert & Arabie 1985) is 1 for the truth and 0 on average for a random split. The supervised
    ceiling is given the truth about all references but the one that it assigns. A set is clean where the parents have less
    than 5 % of the classes of their references in common.
    """
    rows = []
    with read(planted_h5, "planted") as file:
        kinds, one_concept = strings(file["kind"]), file["one_concept"][...].astype(bool)
        parents, overlap = file["parent"][...], file["overlap"][...]
    with Progress(len(kinds), "planted neurons", "neurons") as progress:
        for number, case in enumerate(_cases(planted_h5, activations_h5, dictionaries_h5, intervals.seed)):
            common = {
                "number": number,
                "kind": kinds[number],
                "one_concept": one_concept[number],
                "parents": " ".join(str(parent) for parent in parents[number] if parent >= 0),
                "overlap": overlap[number],
                "n_references": len(case.truth),
                "n_parts": len(np.unique(case.truth)),
            }
            results = find(case, restarts, most_virtual_neurons, false_discovery_rate)
            rows += [common | _row(found, case.truth) for found in results]
            progress.advance(1)
    table = pd.DataFrame(rows)
    write_table(planted_csv, table)
    write_table(summary_csv, summarize_planted(table, intervals))


def _cases(planted_h5: str, activations_h5: str, dictionaries_h5: Sequence[str], seed: int) -> Iterator[Case]:
    """Read the planted neurons one after another; a slab of them is in memory."""
    with ExitStack() as stack:
        file = stack.enter_context(read(planted_h5, "planted"))
        means = stack.enter_context(read(activations_h5, "activations"))["mean"]
        ids, truth, parents = file["reference_id"][...], file["truth"][...], file["parent"][...]
        of_layer = of_images(means, ids)
        views = open_views(file, of_layer, parents)
        loaders = {PURE + name: rows_of(file[f"relevance/{name}"]) for name in file.names("relevance")}
        loaders[ACTIVATIONS] = without_neurons(of_layer, parents)
        for path in dictionaries_h5:
            learned = stack.enter_context(read(path, "dictionaries"))
            for name in learned.names("mean"):
                left_out = latents_of(learned[f"matched_neuron/{name}"][...], parents)
                loaders[DICTIONARY + name] = without_neurons(of_images(learned[f"mean/{name}"], ids), left_out)
        for start in range(0, len(ids), SLAB_NEURONS):
            stop = min(start + SLAB_NEURONS, len(ids))
            grams = view_grams(views, ids[start:stop] >= 0, start, stop)
            vectors = {method: loader(start, stop) for method, loader in loaders.items()}
            for row in range(stop - start):
                there = np.flatnonzero(ids[start + row] >= 0)
                yield Case(
                    truth[start + row, there],
                    grams[row][:, there[:, None], there],
                    {method: values[row, there] for method, values in vectors.items()},
                    [seed, start + row],
                )


def latents_of(matched_neuron: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """List the latents that are matched to the parents of planted neurons.

    Parameters
    ----------
    matched_neuron
        (L,) neuron of each latent.
    parents
        (S, m) neurons that are summed; -1: none.

    Returns
    -------
    numpy.ndarray
        (S, most) numbers of latents; -1: none.
    """
    found = [np.flatnonzero(np.isin(matched_neuron, own[own >= 0])) for own in parents]
    table = np.full((len(parents), max((len(one) for one in found), default=0)), -1)
    for row, one in enumerate(found):
        table[row, : len(one)] = one
    return table


def find(case: Case, restarts: int, most: int, level: float) -> list[Found]:
    """Split a planted neuron by every method.

    Parameters
    ----------
    case
        The planted neuron.
    restarts, most, level
        As in `planted_scores`.

    Returns
    -------
    list of Found
        The methods that are given the number of parts come first; a control has none of them.
    """
    n, k = len(case.truth), len(np.unique(case.truth))
    whole = look_at(case.grams, np.arange(n))
    found = [_tested(case, whole, most, level)]
    for name, label in split_by_candidates(case.grams, most, restarts, case.seed).items():
        found.append(Found(NUMBER_BY + name, label, int(label.max()) + 1, True))
    for measure, name in LIGHT_TAILS.items():
        p_value = light_tails_p_value(case.grams.sum(axis=0), measure)
        found.append(
            Found(name, None, None if np.isnan(p_value) else 1 + (p_value < LEVEL_OF_LIGHT_TAILS), True, p_value)
        )
    if k == 1:
        return found
    grams = {method: gram_matrices(vectors[None], _all(n))[0] for method, vectors in case.vectors.items()}
    grams[JOINT_K_MEANS] = case.grams.sum(axis=0)
    given = {method: k_means_of_one_set(gram, k, restarts, case.seed) for method, gram in grams.items()}
    given[JOINT] = whole.side.astype(np.int8) if k == 2 and n >= FEWEST else given[JOINT_K_MEANS]
    given[RANDOM] = random_labels(_all(n), k, [case.seed])[0]
    given[CEILING] = supervised(case.grams, case.truth)
    return [*(Found(method, labels, k) for method, labels in given.items()), *found]


def _tested(case: Case, whole: Part, most: int, level: float) -> Found:
    """Split a planted neuron if it is called polysemantic; with too few references nothing is said."""
    if np.isnan(whole.p_value):
        return Found(CHOSEN, None, None, True)
    one = np.zeros(len(case.truth), dtype=np.int8)
    label = split_into_parts(case.grams, whole, most) if whole.p_value < level else one
    return Found(CHOSEN, label, int(label.max()) + 1, True, whole.p_value)


def _all(n: int) -> np.ndarray:
    return np.ones((1, n), dtype=bool)


def supervised(grams: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Assign each reference by ridge regression on the truth about all others.

    Parameters
    ----------
    grams
        (v, n, n) scalar products in each view.
    truth
        (n,) parts, counted from 0.

    Returns
    -------
    numpy.ndarray
        (n,) the part to whose mean prediction the prediction is nearest: small parts are predicted lower.
    """
    smoother = leave_one_out_smoothers(grams).mean(axis=0)
    indicators = np.eye(int(truth.max()) + 1)[truth]
    share = indicators.mean(axis=0)
    predicted = smoother @ (indicators - share)
    means = indicators.T @ predicted / indicators.sum(axis=0)[:, None]
    return ((predicted[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)


def _row(found: Found, truth: np.ndarray) -> dict[str, object]:
    ari = float("nan") if found.label is None else float(adjusted_rand_index(truth, found.label))
    return {
        "method": found.method,
        "found_parts": found.n_parts,
        "chosen": found.chosen,
        "ari": ari,
        "p_value": found.p_value,
    }


def summarize_planted(table: pd.DataFrame, intervals: Intervals) -> pd.DataFrame:
    """Estimate means over the planted neurons of each kind.

    Parameters
    ----------
    table
        A row per planted neuron and method.
    intervals
        Settings of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        One row for each kind, subset, method and quantity: ``ari``; ``right``, the share with the right number of parts;
        ``split``, the share that is split or called polysemantic.
    """
    rows = []
    for (kind, one_concept), of_kind in table.groupby(["kind", "one_concept"], sort=False):
        subsets = {ALL: of_kind}
        if not one_concept and kind != CONTROL and of_kind["overlap"].notna().any():
            subsets[CLEAN_SETS] = of_kind[of_kind["overlap"] < CLEAN]
        for subset, chosen in subsets.items():
            for method, group in chosen.groupby("method", sort=False):
                members = [[int(parent) for parent in str(text).split()] for text in group["parents"]]
                for quantity, values in _quantities(group).items():
                    estimate = estimate_over_sets if quantity == ARI else estimate_share_over_sets
                    mean = estimate(values, members, intervals)
                    names = {"kind": kind, "one_concept": one_concept, "subset": subset, "method": method}
                    rows.append({**names, "quantity": quantity, **vars(mean)})
    return pd.DataFrame(rows)


def _quantities(group: pd.DataFrame) -> dict[str, np.ndarray]:
    """Collect what is averaged of one method: agreement where it splits, decisions where it decides."""
    quantities = {ARI: group["ari"].to_numpy(float)} if group["ari"].notna().any() else {}
    found = group["found_parts"]
    if group["chosen"].all() and found.notna().any():
        quantities["right"] = (found == group["n_parts"]).where(found.notna()).to_numpy(float)
        quantities["split"] = (found > 1).where(found.notna()).to_numpy(float)
    return quantities
