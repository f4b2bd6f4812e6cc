"""Compute second-order effects in closed form (Gandelsman et al. 2024, equation 5 and appendix A.6).

With attention patterns and normalizations held as they are on the image, what a neuron does to the embedding through the
attention of later blocks is linear in its activations. For neuron n and the heads j of later blocks,

    effect_n(image) = scale(image) * sum_j head_scalar_jn(image) * basis_jn + shared(image)
    head_scalar_jn  = sum_t attention_jt / deviation_t * activation_tn
    basis_jn        = P^T W_O,j W_V,j w_n

with w_n the neuron's output weights, W_V,j and W_O,j the head's value and output weights, P the last projection (all with the
weights of the layer norms before them). ``shared``, the neuron's shares of all means and biases on the way, is the same for
every neuron of the layer. So an image needs one number for each head and neuron instead of a vector.
"""

from dataclasses import dataclass
from typing import Any

import torch

from purelens.lens.vision_tower import Tower, Trace

COEFFICIENT = 100.0
"""Length to which embeddings are scaled, and effects with them, as in the released program."""


@dataclass(frozen=True)
class Effects:
    """The second-order effects of all neurons of a layer on a batch of images.

    Attributes
    ----------
    head_scalar
        (b, J, N), for each head above and each neuron.
    scale
        (b,) factor of an image.
    shared
        (b, d) term that all neurons share.
    embedding
        (b, d) image embeddings of length 100.
    """

    head_scalar: torch.Tensor
    scale: torch.Tensor
    shared: torch.Tensor
    embedding: torch.Tensor


def heads_above(tower: Tower) -> list[tuple[int, int]]:
    """List the block and the number of every head above the neurons: J pairs."""
    return [(n, head) for n in tower.above for head in range(tower.blocks[n].attn.num_heads)]


def basis(tower: Tower) -> torch.Tensor:
    """Compute what each head makes of each neuron's output weights, on the embedding: (J, N, d)."""
    own = tower.blocks[tower.block]
    weights = _scaled(own.ls_2, own.mlp.c_proj.weight.T)  # (N, d')
    # P^T with the last norm's weights: the norm's divisor differs between images and is in `scale`
    readout = tower.visual.ln_post.weight[:, None] * tower.visual.proj
    by_head = []
    for number, head in heads_above(tower):
        block = tower.blocks[number]
        value, output = _head(block, head)
        # from left to right no matrix is larger than (N, d'): the product of the two inner weights alone would be (d', d')
        by_head.append((weights * block.ln_1.weight) @ value.T @ (_scaled(block.ls_1, output.T) @ readout))
    return torch.stack(by_head)


def effects_of(tower: Tower, trace: Trace) -> Effects:
    """Compute the effects of a forward pass."""
    # the class token's attention sums over tokens here, so that no vector per token and neuron is ever made
    scalars = [_token_weights(tower, trace, number) @ trace.hidden for number in tower.above]
    shared = sum((_shared(tower, trace, number) for number in tower.above), torch.zeros_like(trace.embedding))
    embedding = COEFFICIENT * trace.embedding / trace.embedding.norm(dim=1, keepdim=True)
    return Effects(torch.cat(scalars, dim=1), _scale(tower, trace), shared, embedding)


def completeness(tower: Tower, trace: Trace, effects: Effects, basis_of_heads: torch.Tensor) -> torch.Tensor:
    """Check that the effects of all sources add up to the attentions' own direct effect.

    The sources of a block are the neurons, whose effects are summed in closed form, and everything else that was written into
    the residual stream before it. The decomposition is exact, so what is left is rounding, or something that this code does
    not know.

    Parameters
    ----------
    tower, trace
        The vision transformer and a forward pass.
    effects, basis_of_heads
        What `effects_of` and `basis` gave.

    Returns
    -------
    torch.Tensor
        (b,) largest relative error over the blocks above.
    """
    errors, first = [], 0
    for number in tower.above:
        n_heads = tower.blocks[number].attn.num_heads
        part = slice(first, first + n_heads)
        first += n_heads
        neurons = effects.scale[:, None] * torch.einsum(
            "bjn,jnd->bd", effects.head_scalar[:, part], basis_of_heads[part]
        )
        neurons = neurons + effects.head_scalar.shape[2] * _shared(tower, trace, number)
        # the stream holds what the neurons wrote: the rest is everything else
        others = trace.above[number].stream - trace.written
        n_others = 2 * number  # before block l: the embedding, l attentions and l MLPs, less the one of the neurons
        rest = _through(tower, trace, number, others) + _constant(tower, trace, number) * n_others / (1 + n_others)
        direct = _direct(tower, trace, number)
        # relative to the direct effect: an absolute error would depend on the length of the embedding
        errors.append((neurons + rest - direct).norm(dim=1) / direct.norm(dim=1).clamp(min=1e-12))
    return torch.stack(errors).amax(dim=0)


def _shared(tower: Tower, trace: Trace, number: int) -> torch.Tensor:
    """Compute the share (b, d) of a neuron in its layer's output bias, and in means and biases on the way through a block.

    Means and biases belong to no source in particular: they are divided equally among the 1 + 2l sources of the stream before
    block l, and the share of the MLP equally among its neurons (appendix A.6).
    """
    own = tower.blocks[tower.block]
    bias = _scaled(own.ls_2, own.mlp.c_proj.bias).expand_as(trace.above[number].stream)
    # sources before block l: the embedding, l attentions and l MLPs
    layer = _through(tower, trace, number, bias) + _constant(tower, trace, number) / (1 + 2 * number)
    return layer / own.mlp.c_fc.out_features


def _through(tower: Tower, trace: Trace, number: int, written: torch.Tensor) -> torch.Tensor:
    """Send vectors (b, T, d') of the residual stream through the heads of a block, without means and biases: (b, d)."""
    block = tower.blocks[number]
    # the class token's mixture is all that is ever read out: no other query is computed
    mixed = _token_weights(tower, trace, number) @ (block.ln_1.weight * written)
    total = torch.zeros_like(trace.last)
    for head in range(block.attn.num_heads):
        value, output = _head(block, head)
        total = total + mixed[:, head] @ value.T @ output.T
    return _read_out(tower, trace, _scaled(block.ls_1, total))


def _constant(tower: Tower, trace: Trace, number: int) -> torch.Tensor:
    """Compute what means and biases on the way through a block add to the embedding, all sources together: (b, d)."""
    block, above = tower.blocks[number], trace.above[number]
    mean = above.stream.mean(dim=2, keepdim=True).expand_as(above.stream)
    weights, biases = block.attn.in_proj_weight.chunk(3)[2], block.attn.in_proj_bias.chunk(3)[2]
    # attention weights sum to one, so biases of the values come through unchanged
    value = weights @ block.ln_1.bias + biases
    bias = _scaled(block.ls_1, block.attn.out_proj.weight @ value + block.attn.out_proj.bias)
    return _through(tower, trace, number, -mean) + _read_out(tower, trace, bias) + _last_share(tower, trace)


def _direct(tower: Tower, trace: Trace, number: int) -> torch.Tensor:
    """Compute the direct effect (b, d) of a block's attention, as the network computed it."""
    return _read_out(tower, trace, trace.above[number].output) + _last_share(tower, trace)


def _last_share(tower: Tower, trace: Trace) -> torch.Tensor:
    """Compute the share (b, d) of one attention in the mean and the bias of the last normalization."""
    visual = tower.visual
    length = trace.embedding.norm(dim=1, keepdim=True)
    mean = _read_out(tower, trace, trace.last.mean(dim=1, keepdim=True).expand_as(trace.last))
    # the last norm sees the embedding and the outputs of all attentions and MLPs: 1 + 2 L sources
    return (COEFFICIENT / length * (visual.ln_post.bias @ visual.proj) - mean) / (1 + 2 * len(tower.blocks))


def _read_out(tower: Tower, trace: Trace, vectors: torch.Tensor) -> torch.Tensor:
    """Read out what vectors (b, d') or (d',) at the class token add to the embedding."""
    return _scale(tower, trace)[:, None] * ((tower.visual.ln_post.weight * vectors) @ tower.visual.proj)


def _scale(tower: Tower, trace: Trace) -> torch.Tensor:
    """Compute the factor (b,) of the last normalization and of the length of the embedding."""
    return COEFFICIENT / (trace.embedding.norm(dim=1) * _deviation(trace.last, tower.visual.ln_post.eps))


def _token_weights(tower: Tower, trace: Trace, number: int) -> torch.Tensor:
    """Compute the weight (b, H, T) of each token in the class token's mixture, its normalization included."""
    above = trace.above[number]
    return above.attention / _deviation(above.stream, tower.blocks[number].ln_1.eps)[:, None]


def _head(block: Any, head: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut out the value (s, d') and output weights (d', s) of a head."""
    # torch stacks query, key and value in one matrix; the third is the value, and heads are consecutive rows of it
    size = block.attn.head_dim
    part = slice(head * size, (head + 1) * size)
    return block.attn.in_proj_weight.chunk(3)[2][part], block.attn.out_proj.weight[:, part]


def _scaled(layer_scale: Any, vectors: torch.Tensor) -> torch.Tensor:
    """Scale what a block adds to the residual stream, where it scales its outputs."""
    return vectors * layer_scale.gamma if hasattr(layer_scale, "gamma") else vectors


def _deviation(values: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Compute the divisor of a layer norm over the last dimension."""
    return torch.sqrt(values.var(dim=-1, unbiased=False) + epsilon)
