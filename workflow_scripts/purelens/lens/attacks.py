"""The rule ``attacks``: find words by which images of one class are taken for another."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from purelens.lens.effect_reader import directions_of, word_weights
from purelens.lens.methods import LENS, RANDOM
from purelens.lens.texts import embedded
from purelens.storage.reading import read, strings
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")

N_NEURONS, N_WORDS, N_PROMPTS, WORDS_OF_A_PROMPT = 100, 25, 20, 3
PROMPT = "a photo of a {class} with {words}"
COLUMNS = ("attack", "source_class", "target_class", "kind", "rank", "word", "score")


def attacks(
    directions_h5: Sequence[str],
    words_h5: Sequence[str],
    attacks_csv: str,
    prompts_csv: str,
    embedder: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]],
    seed: int = 0,
) -> None:
    """Find the words of the neurons that push images of one class towards another.

    Parameters
    ----------
    directions_h5, words_h5
        Artifacts of each block.
    attacks_csv, prompts_csv
        Words with their scores, and prompts about the source class with some of them.
    embedder
        Configuration of the CLIP.
    settings
        Configuration of each attack, by its name (see `purelens.config.lens.Attack`).
    seed
        Seed of the random neurons and of the words of each prompt, with the attack's name, and of random weights.

    Notes
    -----
    Gandelsman et al. 2024, section 5.1, equation 6: the 100 neurons with the largest product of direction and
    difference of the two classes; the score of a word is the sum over them of its weight times that product.
    """
    directions = directions_of(directions_h5)
    weights, names = _words_of(words_h5)
    differences = class_differences(embedder, settings, seed)
    rows, prompts = [], []
    for attack, of_attack in settings.items():
        source, target = of_attack["source_class"], of_attack["target_class"]
        push = directions @ differences[attack]
        shared = set(source.casefold().split())
        forbidden = [*of_attack["avoid"], target, *(set(target.casefold().split()) - shared)]
        order = np.argsort(-np.abs(push), kind="stable")
        rng = np.random.default_rng([seed, *attack.encode()])
        chosen = {LENS: order[:N_NEURONS], RANDOM: rng.permutation(np.sort(order[N_NEURONS:]))[:N_NEURONS]}
        for kind, neurons in chosen.items():
            scores = weights[neurons].T @ push[neurons]
            words = allowed_words(names, scores, forbidden)
            rows += [[attack, source, target, kind, rank, word, score] for rank, (word, score) in enumerate(words)]
            prompts += [[attack, kind, prompt] for prompt in prompts_with([w for w, _ in words], source, rng)]
        logger.info("%s: %s", attack, ", ".join(row[5] for row in rows if row[0] == attack and row[3] == LENS))
    write_table(attacks_csv, pd.DataFrame(rows, columns=list(COLUMNS)))
    write_table(prompts_csv, pd.DataFrame(prompts, columns=["attack", "kind", "prompt"]))


def class_differences(
    embedder: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]], seed: int = 0
) -> dict[str, np.ndarray]:
    """Compute the embedding of each attack's target class minus that of its source class.

    Parameters
    ----------
    embedder
        Configuration of the CLIP.
    settings
        Configuration of each attack, by its name.
    seed
        Seed of random weights.

    Returns
    -------
    dict
        (d,) difference, by the name of the attack.
    """
    names = [of_attack[key] for of_attack in settings.values() for key in ("source_class", "target_class")]
    vectors = embedded(names, embedder, seed=seed)
    return dict(zip(settings, vectors[1::2] - vectors[::2], strict=True))


def _words_of(paths: Sequence[str]) -> tuple[sparse.csr_array, list[str]]:
    """Read the weights (n, M) of the words of all blocks' neurons, and the words."""
    weights, names = [], []
    for path in paths:
        with read(path, "words") as file:
            names = strings(file["text"])
            weights.append(word_weights(file, len(names)))
    return sparse.vstack(weights, format="csr"), names


def allowed_words(names: Sequence[str], scores: np.ndarray, forbidden: Sequence[str]) -> list[tuple[str, float]]:
    """Find the texts with the largest scores above zero that contain no forbidden word.

    Parameters
    ----------
    names, scores
        M texts and their scores (M,).
    forbidden
        Words and phrases; inside a longer word they are allowed.

    Returns
    -------
    list
        At most 25 texts with their scores, best first.
    """
    patterns = [re.compile(rf"(?<!\w){re.escape(word.casefold())}(?!\w)") for word in forbidden if word.strip()]
    words: list[tuple[str, float]] = []
    for place in np.argsort(-scores, kind="stable"):
        if scores[place] <= 0 or len(words) == N_WORDS:
            break
        if not any(pattern.search(names[place].casefold()) for pattern in patterns):
            words.append((names[place], float(scores[place])))
    return words


def prompts_with(words: Sequence[str], source_class: str, rng: np.random.Generator) -> list[str]:
    """Write prompts about a class with a few words each; none without words.

    Parameters
    ----------
    words
        The words.
    source_class
        Name of the class.
    rng
        Draws the words of each prompt.

    Returns
    -------
    list
        Prompts, in the order in which they are drawn.
    """
    if not words:
        return []
    prompts = []
    for _ in range(N_PROMPTS):
        few = [words[i] for i in sorted(rng.permutation(len(words))[:WORDS_OF_A_PROMPT])]
        joined = " and ".join([", ".join(few[:-1]), few[-1]] if len(few) > 1 else few)
        prompts.append(PROMPT.replace("{class}", source_class).replace("{words}", joined))
    return list(dict.fromkeys(prompts))
