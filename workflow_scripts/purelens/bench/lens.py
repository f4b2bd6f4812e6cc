"""The second-order lens against a transcription head by head, and its pursuit against scikit-learn's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from purelens.bench import definitions
from purelens.bench.comparison import Contest
from purelens.lens.closed_form import basis, effects_of, heads_above
from purelens.lens.pursuit import pursue, unit_atoms
from purelens.lens.vision_tower import Tower
from purelens.networks.embedders import build_clip

ARCHITECTURE, BLOCK = "ViT-B-32", 9
"""The model of the paper, with random weights, and one of its blocks."""

N_IMAGES = 8
N_TEXTS, N_COMPONENTS, N_WORDS = 10_000, 512, 32
N_DIRECTIONS, BY_SCIKIT_LEARN, BY_STEPS = 256, 1, 8


@dataclass(frozen=True)
class Watched:
    """A tower, its images, and the basis of its effects."""

    tower: Tower
    images: torch.Tensor
    basis: torch.Tensor


def contest_effects(seed: int) -> Contest:
    """Find the effects of all neurons of a block: one head of one image by the transcription, all of several by PureLens."""
    torch.manual_seed(seed)
    tower = Tower(build_clip(ARCHITECTURE, "random").visual.eval().requires_grad_(False), BLOCK)
    images = torch.randn(N_IMAGES, 3, *tower.visual.image_size)
    with torch.inference_mode():
        made = Watched(tower, images, basis(tower))
    n_heads = len(heads_above(tower))
    return Contest(
        "lens_effects",
        {
            "published": lambda: _head_by_head(made),
            "purelens": lambda: _in_closed_form(made),
            "floor": lambda: _bare_forward(made),
        },
        _apart,
        "largest difference of an effect through one head, to the largest; without what all neurons share",
        against="published",
        size={"images": 1, "heads": n_heads, "neurons": made.basis.shape[1]},
        times={"published": n_heads, "purelens": 1 / N_IMAGES, "floor": 1 / N_IMAGES},
    )


def _bare_forward(made: Watched) -> None:
    with torch.inference_mode():
        made.tower.visual(made.images)


def _in_closed_form(made: Watched) -> Any:
    with torch.inference_mode():
        return made, effects_of(made.tower, made.tower.forward(made.images))


def _head_by_head(made: Watched) -> np.ndarray:
    """Effects (N, d) through the first head of the next block: every neuron's vector at every token goes through the head."""
    tower = made.tower
    with torch.inference_mode():
        seen = tower.forward(made.images[:1])
        own, block = tower.blocks[BLOCK], tower.blocks[BLOCK + 1]
        n_neurons = own.mlp.c_fc.out_features
        n_sources = (1 + 2 * (BLOCK + 1)) * n_neurons
        above = seen.above[BLOCK + 1]
        written = seen.hidden[0][..., None] * own.mlp.c_proj.weight.T + own.mlp.c_proj.bias / n_neurons
        mean, variance = above.stream[0].mean(dim=1), above.stream[0].var(dim=1, unbiased=False)
        deviation = torch.sqrt(variance + block.ln_1.eps)
        normed = (written - (mean / n_sources)[:, None, None]) / deviation[:, None, None]
        normed = normed * block.ln_1.weight + block.ln_1.bias / n_sources
        size = block.attn.head_dim
        values = (
            normed @ block.attn.in_proj_weight.chunk(3)[2][:size].T
            + block.attn.in_proj_bias.chunk(3)[2][:size] / n_sources
        )
        # as the released program: mixed for every token, though only the class token's mixture is used
        mixed = torch.einsum("qt,tns->qns", above.attention[0, :1].expand(len(normed), -1), values)[0]
        output = mixed @ block.attn.out_proj.weight[:, :size].T
        last = seen.last[0]
        scale = 100 / (seen.embedding[0].norm() * torch.sqrt(last.var(unbiased=False) + tower.visual.ln_post.eps))
        return (scale * (output * tower.visual.ln_post.weight) @ tower.visual.proj).numpy()


def _apart(found: Any, wanted: np.ndarray) -> float:
    made, effects = found
    fast = (effects.scale[0] * effects.head_scalar[0, 0, :, None] * made.basis[0]).numpy()
    differences = [values - values[:1] for values in (fast, wanted)]
    return float(np.abs(differences[0] - differences[1]).max() / np.abs(differences[1]).max())


def contest_words(seed: int) -> Contest:
    """Describe directions by texts: orthogonal matching pursuit over a large pool."""
    generator = torch.Generator().manual_seed(seed)
    atoms = unit_atoms(torch.randn(N_TEXTS, N_COMPONENTS, generator=generator, dtype=torch.float64))
    targets = torch.randn(N_DIRECTIONS, N_COMPONENTS, generator=generator, dtype=torch.float64)
    targets /= targets.norm(dim=1, keepdim=True)
    return Contest(
        "lens_words",
        {
            "definition": lambda: _by_steps(atoms, targets[:BY_STEPS]),
            "published": lambda: _by_scikit_learn(atoms, targets[:BY_SCIKIT_LEARN]),
            "purelens": lambda: _dense(atoms, *pursue(atoms, targets, N_WORDS)),
        },
        lambda found, wanted: float(np.abs(found[: len(wanted)] - wanted[: len(found)]).max()),
        "largest difference of a weight",
        size={"directions": N_DIRECTIONS, "texts": N_TEXTS, "words": N_WORDS},
        times={"definition": N_DIRECTIONS / BY_STEPS, "published": N_DIRECTIONS / BY_SCIKIT_LEARN},
    )


def _by_scikit_learn(atoms: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    from sklearn.decomposition import SparseCoder

    coder = SparseCoder(atoms.numpy(), transform_algorithm="omp", transform_n_nonzero_coefs=N_WORDS)
    return coder.transform(targets.numpy())


def _by_steps(atoms: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """One direction after another."""
    found = np.zeros((len(targets), len(atoms)))
    for row, target in enumerate(targets):
        chosen, weights = definitions.lens.pursuit(atoms, target, N_WORDS)
        found[row, chosen] = weights.numpy()
    return found


def _dense(atoms: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> np.ndarray:
    found = np.zeros((len(chosen), len(atoms)))
    np.put_along_axis(found, chosen.numpy(), weights.numpy(), axis=1)
    return found
