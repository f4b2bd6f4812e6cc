"""The rule ``attacks``: words by which images of one class are taken for another."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from purelens.lens.effect_reader import directions_of, word_weights
from purelens.lens.texts import embedded
from purelens.storage.artifacts import read, strings
from purelens.storage.tables import write_table

logger = logging.getLogger("purelens")

N_NEURONS, N_WORDS, N_PROMPTS, WORDS_OF_A_PROMPT = 100, 25, 20, 3
PROMPT = "a photo of a {shown} with {words}"
LENS, RANDOM = "lens", "random"
KINDS = (LENS, RANDOM)
"""Words of the neurons that push most, and of as many others drawn at random."""


def attacks(
    directions_h5: Sequence[str],
    words_h5: Sequence[str],
    attacks_csv: str,
    prompts_csv: str,
    embedder: Mapping[str, Any],
    wanted: Mapping[str, Mapping[str, Any]],
    seed: int = 0,
) -> None:
    """Find the words of the neurons that push images of one class towards another.

    Parameters
    ----------
    directions_h5, words_h5
        Artifacts of each block.
    attacks_csv, prompts_csv
        Words with their scores, and sentences about the class with some of them.
    embedder
        Configuration of the CLIP.
    wanted
        Attacks by name (see `purelens.config.lens.Attack`).
    seed
        Of the random neurons and the words of each sentence, with the attack's name, and of random weights.

    Notes
    -----
    Gandelsman et al. 2024, section 5.1, eq. 6: the 100 neurons with the largest product of direction and difference of the two
    classes; the score of a word is the sum over them of its weight times that product.
    """
    directions = directions_of(directions_h5)
    weights, names = _words_of(words_h5)
    differences = class_differences(embedder, wanted, seed)
    rows, prompts = [], []
    for attack, settings in wanted.items():
        shown, taken_for = settings["shown"], settings["taken_for"]
        push = directions @ differences[attack]
        forbidden = [
            *settings["avoid"],
            taken_for,
            *(set(taken_for.casefold().split()) - set(shown.casefold().split())),
        ]
        order = np.argsort(-np.abs(push), kind="stable")
        rng = np.random.default_rng([seed, *attack.encode()])
        chosen = {LENS: order[:N_NEURONS], RANDOM: rng.permutation(np.sort(order[N_NEURONS:]))[:N_NEURONS]}
        for kind, neurons in chosen.items():
            scores = weights[neurons].T @ push[neurons]
            found = allowed_words(names, scores, forbidden)
            rows += [[attack, shown, taken_for, kind, rank, word, score] for rank, (word, score) in enumerate(found)]
            prompts += [[attack, kind, text] for text in sentences(shown, [word for word, _ in found], rng)]
        logger.info("%s: %s", attack, ", ".join(row[5] for row in rows if row[0] == attack and row[3] == LENS))
    columns = ["attack", "shown", "taken_for", "kind", "rank", "word", "score"]
    write_table(attacks_csv, pd.DataFrame(rows, columns=columns))
    write_table(prompts_csv, pd.DataFrame(prompts, columns=["attack", "kind", "prompt"]))


def class_differences(
    embedder: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]], seed: int = 0
) -> dict[str, np.ndarray]:
    """Embedding (d,) of the class that each attack aims at, minus that of the class that is shown."""
    names = [settings[key] for settings in wanted.values() for key in ("shown", "taken_for")]
    vectors = embedded(names, embedder, seed=seed)
    return dict(zip(wanted, vectors[1::2] - vectors[::2], strict=True))


def _words_of(paths: Sequence[str]) -> tuple[sparse.csr_array, list[str]]:
    """Weights (n, M) of the words of all blocks' neurons, and the words."""
    weights, names = [], []
    for path in paths:
        with read(path, "words") as file:
            names = strings(file["text"])
            weights.append(word_weights(file, len(names)))
    return sparse.vstack(weights, format="csr"), names


def allowed_words(names: Sequence[str], scores: np.ndarray, forbidden: Sequence[str]) -> list[tuple[str, float]]:
    """Texts with the largest scores above zero that contain none of the forbidden words as a whole, at most 25."""
    without = [re.compile(rf"(?<!\w){re.escape(word.casefold())}(?!\w)") for word in forbidden if word.strip()]
    found: list[tuple[str, float]] = []
    for place in np.argsort(-scores, kind="stable"):
        if scores[place] <= 0 or len(found) == N_WORDS:
            break
        if not any(word.search(names[place].casefold()) for word in without):
            found.append((names[place], float(scores[place])))
    return found


def sentences(shown: str, words: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Sentences about a class with a few of the words each; none without words."""
    if not words:
        return []
    found = []
    for _ in range(N_PROMPTS):
        few = [words[i] for i in sorted(rng.permutation(len(words))[:WORDS_OF_A_PROMPT])]
        listed = " and ".join([", ".join(few[:-1]), few[-1]] if len(few) > 1 else few)
        found.append(PROMPT.replace("{shown}", shown).replace("{words}", listed))
    return list(dict.fromkeys(found))
