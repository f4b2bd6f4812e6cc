"""Linear explanations and CLIP-Dissect against their definitions, scikit-learn, scipy and whole passes of the network."""

from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import ElasticNet, LogisticRegression
from sklearn.metrics import average_precision_score

from purelens.bench.reference import explanations as definition
from purelens.data.splits import split_images
from purelens.data.vocabulary import read_elsewhere, read_superclasses, read_texts
from purelens.errors import UserError
from purelens.explanations.ablate import losses, scaled_like
from purelens.explanations.calibration import calibrate, probability
from purelens.explanations.concepts import kept
from purelens.explanations.dissection import concept_shares, log_likelihood, soft_wpmi
from purelens.explanations.moments import concept_moments, with_activations
from purelens.explanations.network_dissection import in_rows
from purelens.explanations.ranking import elastic_net, rank_concepts, ranked
from purelens.explanations.scores import auprc_columns, pearson_columns
from purelens.explanations.selection import Covariances, fits, select
from purelens.networks.subnetwork import as_maps
from purelens.report.words import main_words
from purelens.storage.artifacts import create, strings


def made_up(seed: int, n: int = 300, m: int = 40, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (n, m) of concepts, a neuron that is the sum of four of them and noise, and the weights."""
    rng = np.random.default_rng(seed)
    concepts = probability(rng.normal(size=(n, m)) + 0.7 * rng.normal(size=(n, 1)), 3.0, -0.8)
    weights = np.zeros(m)
    weights[rng.choice(m, 4, replace=False)] = rng.uniform(0.5, 2, 4)
    return concepts, concepts @ weights + noise * rng.normal(size=n), weights


def covariances(concepts: np.ndarray, neuron: np.ndarray) -> Covariances:
    moments = with_activations(
        concept_moments(iter(np.array_split(concepts, 3)), concepts.shape[1]),
        zip(np.array_split(concepts, 3), np.array_split(neuron[:, None], 3), strict=True),
        1,
    )
    return Covariances(moments.gram, moments.cross[0], moments.variance[0], moments.mean, moments.mean_y[0])


def test_moments_are_those_of_numpy() -> None:
    concepts, neuron, _ = made_up(0)
    found = covariances(concepts, neuron)
    np.testing.assert_allclose(found.gram, np.cov(concepts.T, ddof=0), atol=1e-12)
    np.testing.assert_allclose(found.cross, [np.cov(column, neuron, ddof=0)[0, 1] for column in concepts.T], atol=1e-12)
    assert found.variance == pytest.approx(neuron.var())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("l1", [0.3, 0.05, 0.005])
def test_the_sparse_fit_is_the_optimum(seed: int, l1: float) -> None:
    concepts, neuron, _ = made_up(seed, m=60)
    found = covariances(concepts, neuron)
    weights, marginal = rank_concepts(found.gram, found.cross, found.variance, len(concepts), l1, 0.99)
    x = (concepts - concepts.mean(axis=0)) / concepts.std(axis=0, ddof=1)
    y = (neuron - neuron.mean()) / neuron.std(ddof=1)
    # the conditions of the optimum (Karush, Kuhn and Tucker)
    l2 = l1 * 0.01 / 0.99
    gradient = x.T @ (x @ weights - y) / len(x) + l2 * weights
    active = weights != 0
    np.testing.assert_allclose(gradient[active], -l1 * np.sign(weights[active]), atol=1e-6)
    assert np.abs(gradient[~active]).max() <= l1 + 1e-6
    library = ElasticNet(alpha=l1 / 0.99, l1_ratio=0.99, tol=1e-12, max_iter=100_000, fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(weights, library.coef_, atol=1e-5)
    np.testing.assert_allclose(marginal, x.T @ y / len(x), atol=1e-9)


def test_a_penalty_above_every_correlation_leaves_nothing() -> None:
    concepts, neuron, _ = made_up(1)
    found = covariances(concepts, neuron)
    largest = np.abs(found.cross).max()
    assert not elastic_net(found.gram, found.cross, 1.001 * largest, 0.0).any()
    assert elastic_net(found.gram, found.cross, 0.999 * largest, 0.0).any()


def test_concepts_that_are_the_same_do_not_stop_the_sparse_fit() -> None:
    concepts, neuron, _ = made_up(2)
    twice = np.concatenate([concepts, concepts], axis=1)
    found = covariances(twice, neuron)
    weights, _ = rank_concepts(found.gram, found.cross, found.variance, len(twice), 0.05, 1.0)
    assert np.isfinite(weights).all()
    assert weights.any()


def test_the_order_is_by_weight_then_correlation_then_number() -> None:
    weights, marginal = np.array([0.0, 0.5, 0.0, -0.9, 0.0]), np.array([0.1, 0.2, 0.3, -0.8, 0.3])
    assert ranked(weights, marginal).tolist() == [1, 2, 4, 0, 3]
    assert ranked(weights, marginal, inhibitory=True).tolist() == [3, 1, 2, 4, 0]


def test_fits_are_least_squares() -> None:
    concepts, neuron, _ = made_up(3)
    found = covariances(concepts, neuron)
    sets = np.array([[0, 5, 7], [1, 2, 3], [4, 4, 9]])  # the last has a concept twice
    for chosen, weights in zip(sets, fits(found, sets), strict=True):
        wanted, constant = definition.fit(concepts[:, chosen], neuron)
        np.testing.assert_allclose(
            concepts[:, chosen] @ weights - neuron.mean() + neuron.mean(), concepts[:, chosen] @ wanted, atol=1e-6
        )
        assert constant == pytest.approx(found.mean_y - weights @ found.mean[chosen], abs=1e-6)


def test_the_selection_is_that_of_the_paper() -> None:
    """The same concepts as a transcription that fits every set from the data, in at least 99 of 100 problems."""
    equal = 0
    for seed in range(100):
        concepts, neuron, _ = made_up(seed, n=200, m=30, noise=0.5)
        train, validation = slice(0, 150), slice(150, 200)
        of_train, of_validation = (
            covariances(concepts[train], neuron[train]),
            covariances(concepts[validation], neuron[validation]),
        )
        weights, marginal = rank_concepts(of_train.gram, of_train.cross, of_train.variance, 150, 0.05, 0.99)
        order = ranked(weights, marginal)
        found = select(of_train, of_validation, order)
        assert found is not None
        wanted, reached = definition.greedy(
            concepts[train], neuron[train], concepts[validation], neuron[validation], order.tolist()
        )
        same = sorted(found.concepts.tolist()) == sorted(wanted)
        equal += same
        if same:
            assert found.correlation == pytest.approx(reached, abs=1e-9)
            assert (np.diff(found.weights) <= 0).all()
            best, constant = definition.fit(concepts[train][:, found.concepts], neuron[train])
            np.testing.assert_allclose(found.weights, best, rtol=1e-6, atol=1e-9)
            assert found.intercept == pytest.approx(constant, abs=1e-8)
    assert equal >= 99


def test_the_name_of_the_last_concept_is_that_which_was_chosen() -> None:
    """At the greatest length the published program names the last one it tried instead."""
    rng = np.random.default_rng(0)
    concepts = rng.normal(size=(400, 12))
    neuron = concepts @ np.array([1.0] * 10 + [0.9, 0.8])
    found = select(
        covariances(concepts[:300], neuron[:300]), covariances(concepts[300:], neuron[300:]), np.arange(12), 5, 10, 0.0
    )
    assert found is not None
    assert len(found.concepts) == 5
    wanted, _ = definition.greedy(
        concepts[:300], neuron[:300], concepts[300:], neuron[300:], list(range(12)), 5, 10, 0.0
    )
    assert sorted(found.concepts.tolist()) == sorted(wanted)


def test_a_known_sum_of_concepts_is_recovered() -> None:
    concepts, neuron, weights = made_up(4, n=500, noise=0.0)
    train, validation = covariances(concepts[:400], neuron[:400]), covariances(concepts[400:], neuron[400:])
    sparse, marginal = rank_concepts(train.gram, train.cross, train.variance, 400, 0.01, 0.99)
    found = select(train, validation, ranked(sparse, marginal), tolerance=0.0005)
    assert found is not None
    np.testing.assert_allclose(found.weights, np.sort(weights[weights > 0])[::-1], rtol=0.05)
    assert set(found.concepts.tolist()) == set(np.flatnonzero(weights).tolist())


def test_nothing_explains_noise_that_no_concept_follows() -> None:
    constant = Covariances(np.eye(3), np.zeros(3), 1.0, np.zeros(3), 0.0)
    assert select(constant, constant, np.arange(3)) is None


def test_soft_wpmi_is_the_definition() -> None:
    rng = np.random.default_rng(0)
    cosine, activations = rng.uniform(-0.2, 0.4, (60, 15)), rng.random((60, 7))
    wanted = definition.soft_wpmi(cosine, activations, 20)
    order = np.argsort(-activations, axis=0, kind="stable")[:20].T
    likelihood = log_likelihood(concept_shares(cosine)[order])

    def slabs() -> Iterator[np.ndarray]:
        yield likelihood[:3]
        yield likelihood[3:]

    best, score = soft_wpmi(slabs, 7)
    assert best.tolist() == wanted.argmax(axis=1).tolist()
    np.testing.assert_allclose(score, wanted.max(axis=1), atol=1e-6)


def test_the_calibration_is_a_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    cosine = rng.normal(0.2, 0.05, (400, 6))
    truth = rng.random(cosine.shape) < probability(cosine, 40, -0.25)
    scale, bias, loss = calibrate(lambda: iter([(cosine[:150], truth[:150]), (cosine[150:], truth[150:])]))
    library = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(cosine.reshape(-1, 1), truth.reshape(-1))
    assert scale == pytest.approx(float(library.coef_[0, 0]), rel=1e-3)
    assert scale * bias == pytest.approx(float(library.intercept_[0]), rel=1e-3)
    grid = [
        -np.mean(np.log(np.where(truth, p, 1 - p)))
        for a in np.linspace(30, 50, 21)
        for b in np.linspace(-0.3, -0.2, 21)
        for p in [probability(cosine, a, b)]
    ]
    assert loss <= min(grid) + 1e-9


def test_the_filter_keeps_what_is_surely_there_and_not_everywhere() -> None:
    values = np.zeros((50, 5))
    values[:5, 0] = 1  # on five images
    values[:4, 1] = 0.6  # not sure enough
    values[:, 2] = 1  # everywhere
    values[:5, 3] = 0.5
    assert kept(values).tolist() == [True, False, False, True, False]


def test_scores_are_those_of_scipy_and_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true = rng.gamma(1, size=(200, 5))
    simulated = true + rng.normal(size=(200, 5))
    np.testing.assert_allclose(
        pearson_columns(true, simulated),
        [stats.pearsonr(*pair).statistic for pair in zip(true.T, simulated.T, strict=True)],
    )
    active = np.argsort(-true[:, 0])[:10]
    labels = np.isin(np.arange(200), active)
    assert auprc_columns(true, simulated)[0] == pytest.approx(average_precision_score(labels, simulated[:, 0]))


def test_scores_of_constants() -> None:
    nothing = np.zeros((0, 2))
    assert np.isnan(pearson_columns(nothing, nothing)).all()
    assert np.isnan(auprc_columns(nothing, nothing)).all()
    true, constant = np.arange(20.0)[:, None], np.full((20, 1), 3.3)
    assert pearson_columns(true, constant).tolist() == [0.0]
    assert np.isnan(pearson_columns(constant, true)).all()
    assert np.isnan(auprc_columns(np.zeros((20, 1)), true)).all()
    assert auprc_columns(true, constant)[0] == pytest.approx(1 / 20)


@pytest.mark.parametrize("score", [pearson_columns, auprc_columns])
@pytest.mark.parametrize("wrong", ["missing", "extra"])
def test_scores_see_wrong_explanations(score: Callable[..., np.ndarray], wrong: str) -> None:
    """The two sanity checks of NeuronEval: labels that are missing and labels that are too many must lower a score."""
    rng = np.random.default_rng(0)
    truth = (rng.random((2000, 40)) < 0.05).astype(float)
    neuron = truth * rng.uniform(0.5, 1.5, truth.shape) + 0.05 * rng.random(truth.shape)
    right, less = score(neuron, truth), score(neuron, spoiled(truth, wrong, rng))
    assert (right - less > 1e-3).mean() == 1


def spoiled(truth: np.ndarray, wrong: str, rng: np.random.Generator) -> np.ndarray:
    """Labels of which half are missing, or as many again are wrong."""
    spoilt = truth.copy()
    for column in range(truth.shape[1]):
        ones, zeros = np.flatnonzero(truth[:, column]), np.flatnonzero(truth[:, column] == 0)
        if wrong == "missing":
            spoilt[rng.choice(ones, len(ones) // 2, replace=False), column] = 0
        else:
            spoilt[rng.choice(zeros, len(ones), replace=False), column] = 1
    return spoilt


@pytest.mark.parametrize("wrong", ["missing", "extra"])
def test_ablation_sees_wrong_explanations(wrong: str) -> None:
    """The same of ablation, which depends on the classes too: most scores fall, and their mean does by much."""
    rng = np.random.default_rng(0)
    truth = (rng.random((2000, 40)) < 0.05).astype(float)
    neuron = truth * rng.uniform(0.5, 1.5, truth.shape) + 0.05 * rng.random(truth.shape)
    head, label = rng.normal(size=(10, 40)), rng.integers(10, size=2000)
    logits = neuron @ head.T
    label = np.where(rng.random(2000) < 0.7, logits.argmax(axis=1), label)
    before = losses(logits, label, 1.0)

    def score(column: int, guess: np.ndarray) -> float:
        def change(values: np.ndarray) -> float:
            shifted = logits + np.outer(values - neuron[:, column], head[:, column])
            return float(np.abs(losses(shifted, label, 1.0) - before).sum())

        slope, constant = scaled_like(neuron[:, column], guess)
        return 1 - change(slope * guess + constant) / change(np.full(2000, neuron[:, column].mean()))

    spoilt = spoiled(truth, wrong, rng)
    fallen = np.array([score(i, truth[:, i]) - score(i, spoilt[:, i]) for i in range(40)])
    assert (fallen > 1e-3).mean() > 0.9
    assert fallen.mean() > 0.1


def test_the_split_is_whole_and_the_same_again() -> None:
    part = split_images(1000, 0)
    assert np.bincount(part).tolist() == [700, 100, 200]
    assert (part == split_images(1000, 0)).all()
    assert (part != split_images(1000, 1)).any()
    assert np.bincount(split_images(3, 0), minlength=3).tolist() == [2, 0, 1]


NAMES = ["null", "nan", "None", "a, b", 'say "x"', "0", "<b>", "über", "NA"]


@pytest.mark.parametrize("suffix", ["txt", "json", "csv"])
def test_awkward_names_survive_files(tmp_path: Path, suffix: str) -> None:
    import csv
    import json

    path = tmp_path / f"names.{suffix}"
    given = [*NAMES, "", "null"]
    if suffix == "txt":
        path.write_text("\n".join(given), encoding="utf-8")
    elif suffix == "json":
        path.write_text(json.dumps(given), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["concept", "prompt"])
            writer.writerows([name, f"a {name}" if name == "0" else ""] for name in given)
    texts = read_texts(str(path), "see {}")
    assert texts.names == NAMES
    assert texts.prompts[NAMES.index("0")] == ("a 0" if suffix == "csv" else "see 0")
    assert texts.prompts[0] == "see null"
    with create(tmp_path / "x.h5", "concepts") as out:
        out.coordinate("image", 1)
        out.coordinate("concept", len(NAMES))
        out.variable("concept_label", data=texts.names)
    with h5py.File(tmp_path / "x.h5") as file:
        assert strings(file["concept_label"]) == NAMES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "\n \n", "lists no concepts"),
        ("a.json", '{"a": 1}', "expected a list"),
        ("a.csv", "name\nx\n", "no column 'concept'"),
    ],
)
def test_lists_of_concepts_that_are_none(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_texts(str(tmp_path / name))
    with pytest.raises(UserError, match="cannot read"):
        read_texts(str(tmp_path / "missing.txt"))


def test_superclasses_name_classes(tmp_path: Path) -> None:
    path = tmp_path / "super.json"
    path.write_text('{"animal": ["cat", "dog"]}')
    assert read_superclasses(str(path), ["car", "cat", "dog"]) == {"animal": [1, 2]}
    with pytest.raises(UserError, match="'dog', which is no class"):
        read_superclasses(str(path), ["car", "cat"])


def test_explanations_from_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "milan.csv"
    path.write_text("neuron,concept,weight\n3,null,\n3,dog,0.5\n5,\n")
    found = read_elsewhere(str(path))
    assert list(found) == [3]
    assert found[3].names == ["null", "dog"]
    assert found[3].weights.tolist() == [1.0, 0.5]
    path.write_text("neuron,concept\nx,dog\n")
    with pytest.raises(UserError, match="line 2"):
        read_elsewhere(str(path))


@pytest.mark.parametrize(
    "rows", ["3,dog,nan\n", "3,dog,inf\n", "3,dog,1e400\n", "1_0,dog,1\n", "-3,dog,1\n", "3,dog,1\n3,dog,2\n"]
)
def test_numbers_and_repeats_that_are_refused(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "milan.csv"
    path.write_text("neuron,concept,weight\n" + rows)
    with pytest.raises(UserError, match=r"milan.csv, line \d: "):
        read_elsewhere(str(path))


def test_superclasses_of_classes_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text('\ufeff{"flyers": ["crane", "duck"]}', encoding="utf-8")
    assert read_superclasses(str(path), ["crane", "dog", "crane", "duck"]) == {"flyers": [0, 2, 3]}
    path.write_text('{"flyers": [["crane"]]}')
    with pytest.raises(UserError, match="must map names to lists of classes"):
        read_superclasses(str(path), ["crane"])


def test_texts_with_odd_line_ends(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one\u2028still one\ntwo\x0bstill two\n", encoding="utf-8")
    assert read_texts(str(tmp_path / "t.txt")).names == ["one\u2028still one", "two\x0bstill two"]
    (tmp_path / "t.csv").write_text('concept,prompt\n"a\nb",c\n', encoding="utf-8")
    assert read_texts(str(tmp_path / "t.csv")).names == ["a\nb"]


def test_equal_correlations_are_decided_by_the_ranking() -> None:
    """Of two classes, one is the other's opposite: both predict the neuron, and the one that is active with it is named."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        cat = (rng.random(60) < 0.5).astype(float)
        x = np.stack([1 - cat, cat], axis=1)
        y = 2.5 * cat + 0.1 * rng.random(60)
        train = concept_moments([x], 2)
        moments = with_activations(train, [(x, y[:, None])], 1)
        of_both = Covariances(moments.gram, moments.cross[0], moments.variance[0], moments.mean, moments.mean_y[0])
        found = select(of_both, of_both, np.array([1, 0]))
        assert found is not None
        assert found.concepts.tolist() == [1]
        assert found.weights[0] > 0


def test_the_unit_of_a_neuron_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((200, 5)) < 0.3).astype(float)
    y = x[:, 2] + 0.1 * rng.random(200)
    chosen = []
    for unit in (1.0, 1e-7, 1e6):
        moments = with_activations(concept_moments([x], 5), [(x, unit * y[:, None])], 1)
        of_both = Covariances(moments.gram, moments.cross[0], moments.variance[0], moments.mean, moments.mean_y[0])
        found = select(of_both, of_both, np.arange(5))
        assert found is not None
        chosen.append((found.concepts.tolist(), round(found.correlation, 9)))
    assert chosen[0] == chosen[1] == chosen[2]


@pytest.mark.parametrize(
    ("shape", "channels"), [((2, 3, 4, 4), "auto"), ((2, 4, 4, 3), "last"), ((2, 16, 3), "auto"), ((2, 17, 3), "auto")]
)
def test_maps_of_all_layouts_lie_on_the_image(shape: tuple[int, ...], channels: str) -> None:
    wanted = torch.arange(2 * 3 * 16).reshape(2, 3, 4, 4).float()
    if shape == (2, 3, 4, 4):
        output = wanted
    elif channels == "last":
        output = wanted.permute(0, 2, 3, 1)
    else:
        output = wanted.flatten(2).transpose(1, 2)
        if shape[1] == 17:
            output = torch.cat([torch.full((2, 1, 3), -1.0), output], dim=1)
    flat = as_maps(output, "layer", channels)
    torch.testing.assert_close(in_rows(flat, output, "layer", channels), wanted)
    with pytest.raises(UserError, match="the 15 tokens of layer 'layer' are no square"):
        in_rows(torch.zeros(2, 3, 15), torch.zeros(2, 15, 3), "layer", "auto")


def test_cards_name_what_a_neuron_is_active_for() -> None:
    rows = [
        {"method": "le:a", "part": None, "correlation": 0.9, "words": [["dog", 2.0], ["cat", -1.0]]},
        {"method": "le:b", "part": None, "correlation": 0.5, "words": [["bird", 1.0]]},
    ]
    assert main_words(rows) == ["dog"]
