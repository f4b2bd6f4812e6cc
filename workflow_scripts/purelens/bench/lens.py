"""Compare the second-order effects with a computation head by head, and the pursuit with that of scikit-learn."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from purelens.bench import definitions
from purelens.bench.comparison import Comparison
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
class TowerInputs:
    """A vision tower, images, and the basis of the effects."""

    tower: Tower
    images: torch.Tensor
    basis: torch.Tensor


def compare_effects(seed: int) -> Comparison:
    """Compute the effects of all neurons of a block: on one image through one head as published, on several in closed form."""
    torch.manual_seed(seed)
    tower = Tower(build_clip(ARCHITECTURE, "random").visual.eval().requires_grad_(False), BLOCK)
    images = torch.randn(N_IMAGES, 3, *tower.visual.image_size)
    with torch.inference_mode():
        made = TowerInputs(tower, images, basis(tower))
    n_heads = len(heads_above(tower))
    return Comparison(
        "lens_effects",
        {
            "published": lambda: _head_by_head(made),
            "purelens": lambda: _in_closed_form(made),
            "floor": lambda: _bare_forward(made),
        },
        _difference,
        "largest difference of an effect through one head, relative to the largest, without the term of all neurons",
        reference="published",
        size={"images": 1, "heads": n_heads, "neurons": made.basis.shape[1]},
        factors={"published": n_heads, "purelens": 1 / N_IMAGES, "floor": 1 / N_IMAGES},
    )


def _bare_forward(made: TowerInputs) -> None:
    with torch.inference_mode():
        made.tower.visual(made.images)


def _in_closed_form(made: TowerInputs) -> Any:
    with torch.inference_mode():
        return made, effects_of(made.tower, made.tower.forward(made.images))


def _head_by_head(made: TowerInputs) -> np.ndarray:
    """Compute the effects (N, d) through the first head of the next block, with the vector of every neuron at every token."""
    tower = made.tower
    with torch.inference_mode():
        trace = tower.forward(made.images[:1])
        own, block = tower.blocks[BLOCK], tower.blocks[BLOCK + 1]
        n_neurons = own.mlp.c_fc.out_features
        n_sources = (1 + 2 * (BLOCK + 1)) * n_neurons
        above = trace.above[BLOCK + 1]
        written = trace.hidden[0][..., None] * own.mlp.c_proj.weight.T + own.mlp.c_proj.bias / n_neurons
        mean, variance = above.stream[0].mean(dim=1), above.stream[0].var(dim=1, unbiased=False)
        deviation = torch.sqrt(variance + block.ln_1.eps)
        normed = (written - (mean / n_sources)[:, None, None]) / deviation[:, None, None]
        normed = normed * block.ln_1.weight + block.ln_1.bias / n_sources
        size = block.attn.head_dim
        values = (
            normed @ block.attn.in_proj_weight.chunk(3)[2][:size].T
            + block.attn.in_proj_bias.chunk(3)[2][:size] / n_sources
        )
        # the released program mixes for every token, although only the class token is used
        mixed = torch.einsum("qt,tns->qns", above.attention[0, :1].expand(len(normed), -1), values)[0]
        output = mixed @ block.attn.out_proj.weight[:, :size].T
        last = trace.last[0]
        scale = 100 / (trace.embedding[0].norm() * torch.sqrt(last.var(unbiased=False) + tower.visual.ln_post.eps))
        return (scale * (output * tower.visual.ln_post.weight) @ tower.visual.proj).numpy()


def _difference(result: Any, expected: np.ndarray) -> float:
    made, effects = result
    fast = (effects.scale[0] * effects.head_scalar[0, 0, :, None] * made.basis[0]).numpy()
    differences = [values - values[:1] for values in (fast, expected)]
    return float(np.abs(differences[0] - differences[1]).max() / np.abs(differences[1]).max())


def compare_words(seed: int) -> Comparison:
    """Describe directions by texts: orthogonal matching pursuit over a large pool."""
    generator = torch.Generator().manual_seed(seed)
    atoms = unit_atoms(torch.randn(N_TEXTS, N_COMPONENTS, generator=generator, dtype=torch.float64))
    targets = torch.randn(N_DIRECTIONS, N_COMPONENTS, generator=generator, dtype=torch.float64)
    targets /= targets.norm(dim=1, keepdim=True)
    return Comparison(
        "lens_words",
        {
            "definition": lambda: _by_steps(atoms, targets[:BY_STEPS]),
            "published": lambda: _by_scikit_learn(atoms, targets[:BY_SCIKIT_LEARN]),
            "purelens": lambda: _dense(atoms, *pursue(atoms, targets, N_WORDS)),
        },
        lambda result, expected: float(np.abs(result[: len(expected)] - expected[: len(result)]).max()),
        "largest difference of a weight",
        size={"directions": N_DIRECTIONS, "texts": N_TEXTS, "words": N_WORDS},
        factors={"definition": N_DIRECTIONS / BY_STEPS, "published": N_DIRECTIONS / BY_SCIKIT_LEARN},
    )


def _by_scikit_learn(atoms: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    from sklearn.decomposition import SparseCoder

    coder = SparseCoder(atoms.numpy(), transform_algorithm="omp", transform_n_nonzero_coefs=N_WORDS)
    return coder.transform(targets.numpy())


def _by_steps(atoms: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """Describe one direction after another."""
    dense = np.zeros((len(targets), len(atoms)))
    for row, target in enumerate(targets):
        chosen, weights = definitions.lens.pursuit(atoms, target, N_WORDS)
        dense[row, chosen] = weights.numpy()
    return dense


def _dense(atoms: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> np.ndarray:
    dense = np.zeros((len(chosen), len(atoms)))
    np.put_along_axis(dense, chosen.numpy(), weights.numpy(), axis=1)
    return dense
