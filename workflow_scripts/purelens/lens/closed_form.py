"""Second-order effects in closed form (Gandelsman et al. 2024, eq. 5 and appendix A.6).

With attention patterns and normalizations as they are on the image, what a neuron does to the embedding through the
attention of later blocks is linear in its activations. For neuron n and head j of a later block,

    effect_n(image) = scale(image) * sum_j head_scalar_jn(image) * basis_jn + shared(image)

where ``head_scalar`` is a sum over tokens, ``basis`` depends on the weights alone, and ``shared``, the neuron's shares
of all means and biases, is the same for every neuron of the layer.
"""

from dataclasses import dataclass
from typing import Any

import torch

from purelens.lens.vision_tower import Pass, Tower

COEFFICIENT = 100.0
"""Effects are on an embedding of this length."""


@dataclass(frozen=True)
class Effects:
    """The second-order effects of all neurons of a layer on a batch of images.

    Attributes
    ----------
    head_scalar
        (b, J, N).
    scale
        (b,).
    shared
        (b, d).
    embedding
        (b, d) image embeddings of length 100.
    """

    head_scalar: torch.Tensor
    scale: torch.Tensor
    shared: torch.Tensor
    embedding: torch.Tensor


def heads_above(tower: Tower) -> list[tuple[int, int]]:
    """Block and number of every head above the neurons: J pairs."""
    return [(n, head) for n in tower.above for head in range(tower.blocks[n].attn.num_heads)]


def basis(tower: Tower) -> torch.Tensor:
    """What a head makes of a neuron's output weights, on the embedding: (J, N, d)."""
    own = tower.blocks[tower.block]
    weights = _scaled(own.ls_2, own.mlp.c_proj.weight.T)  # (N, d')
    readout = tower.visual.ln_post.weight[:, None] * tower.visual.proj
    found = []
    for number, head in heads_above(tower):
        block = tower.blocks[number]
        value, output = _head(block, head)
        found.append((weights * block.ln_1.weight) @ value.T @ (_scaled(block.ls_1, output.T) @ readout))
    return torch.stack(found)


def effects_of(tower: Tower, seen: Pass) -> Effects:
    """Head scalars, scale and shared term of a forward pass."""
    scalars = [_token_weights(tower, seen, number) @ seen.hidden for number in tower.above]
    shared = sum((_shared(tower, seen, number) for number in tower.above), torch.zeros_like(seen.embedding))
    embedding = COEFFICIENT * seen.embedding / seen.embedding.norm(dim=1, keepdim=True)
    return Effects(torch.cat(scalars, dim=1), _scale(tower, seen), shared, embedding)


def completeness(tower: Tower, seen: Pass, found: Effects, basis_of_heads: torch.Tensor) -> torch.Tensor:
    """How far the effects of all sources together are from the attentions' own direct effect: (b,) largest relative error.

    The sources of a block are its neurons, whose effects are summed in closed form, and all else that was written into
    the residual stream before it.
    """
    errors, first = [], 0
    for number in tower.above:
        n_heads = tower.blocks[number].attn.num_heads
        part = slice(first, first + n_heads)
        first += n_heads
        neurons = found.scale[:, None] * torch.einsum("bjn,jnd->bd", found.head_scalar[:, part], basis_of_heads[part])
        neurons = neurons + found.head_scalar.shape[2] * _shared(tower, seen, number)
        others = seen.above[number].stream - seen.written
        n_others = 2 * number
        rest = _through(tower, seen, number, others) + _constant(tower, seen, number) * n_others / (1 + n_others)
        direct = _direct(tower, seen, number)
        errors.append((neurons + rest - direct).norm(dim=1) / direct.norm(dim=1).clamp(min=1e-12))
    return torch.stack(errors).amax(dim=0)


def _shared(tower: Tower, seen: Pass, number: int) -> torch.Tensor:
    """Share (b, d) of each neuron in the output bias of its layer, and in all means and biases on the way through a block."""
    own = tower.blocks[tower.block]
    bias = _scaled(own.ls_2, own.mlp.c_proj.bias).expand_as(seen.above[number].stream)
    layer = _through(tower, seen, number, bias) + _constant(tower, seen, number) / (1 + 2 * number)
    return layer / own.mlp.c_fc.out_features


def _through(tower: Tower, seen: Pass, number: int, written: torch.Tensor) -> torch.Tensor:
    """What the heads of a block make of vectors (b, T, d') in the residual stream, without means and biases: (b, d)."""
    block = tower.blocks[number]
    mixed = _token_weights(tower, seen, number) @ (block.ln_1.weight * written)
    total = torch.zeros_like(seen.last)
    for head in range(block.attn.num_heads):
        value, output = _head(block, head)
        total = total + mixed[:, head] @ value.T @ output.T
    return _read_out(tower, seen, _scaled(block.ls_1, total))


def _constant(tower: Tower, seen: Pass, number: int) -> torch.Tensor:
    """What means and biases on the way through a block add to the embedding, all sources together: (b, d)."""
    block, above = tower.blocks[number], seen.above[number]
    mean = above.stream.mean(dim=2, keepdim=True).expand_as(above.stream)
    weights, biases = block.attn.in_proj_weight.chunk(3)[2], block.attn.in_proj_bias.chunk(3)[2]
    value = weights @ block.ln_1.bias + biases
    bias = _scaled(block.ls_1, block.attn.out_proj.weight @ value + block.attn.out_proj.bias)
    return _through(tower, seen, number, -mean) + _read_out(tower, seen, bias) + _last_share(tower, seen)


def _direct(tower: Tower, seen: Pass, number: int) -> torch.Tensor:
    """Direct effect (b, d) of a block's attention, as the network computed it."""
    return _read_out(tower, seen, seen.above[number].output) + _last_share(tower, seen)


def _last_share(tower: Tower, seen: Pass) -> torch.Tensor:
    """Share (b, d) of one attention in the mean and the bias of the last normalization."""
    visual = tower.visual
    length = seen.embedding.norm(dim=1, keepdim=True)
    mean = _read_out(tower, seen, seen.last.mean(dim=1, keepdim=True).expand_as(seen.last))
    return (COEFFICIENT / length * (visual.ln_post.bias @ visual.proj) - mean) / (1 + 2 * len(tower.blocks))


def _read_out(tower: Tower, seen: Pass, vectors: torch.Tensor) -> torch.Tensor:
    """What vectors (b, d') or (d',) at the class token add to the embedding."""
    return _scale(tower, seen)[:, None] * ((tower.visual.ln_post.weight * vectors) @ tower.visual.proj)


def _scale(tower: Tower, seen: Pass) -> torch.Tensor:
    """What the last normalization and the length of the embedding multiply by: (b,)."""
    return COEFFICIENT / (seen.embedding.norm(dim=1) * _deviation(seen.last, tower.visual.ln_post.eps))


def _token_weights(tower: Tower, seen: Pass, number: int) -> torch.Tensor:
    """Weight (b, H, T) of each token in the class token's mixture, its normalization included."""
    above = seen.above[number]
    return above.attention / _deviation(above.stream, tower.blocks[number].ln_1.eps)[:, None]


def _head(block: Any, head: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Value (s, d') and output weights (d', s) of a head."""
    size = block.attn.head_dim
    part = slice(head * size, (head + 1) * size)
    return block.attn.in_proj_weight.chunk(3)[2][part], block.attn.out_proj.weight[:, part]


def _scaled(layer_scale: Any, vectors: torch.Tensor) -> torch.Tensor:
    """What a block adds to the residual stream, where it scales its outputs."""
    return vectors * layer_scale.gamma if hasattr(layer_scale, "gamma") else vectors


def _deviation(values: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The divisor of a layer norm over the last dimension."""
    return torch.sqrt(values.var(dim=-1, unbiased=False) + epsilon)
