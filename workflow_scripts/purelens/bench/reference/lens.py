"""Compute second-order effects by their definition: head by head, neuron by neuron and token by token."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

COEFFICIENT = 100.0


class Trace:
    """A forward pass of one image through a vision transformer of open_clip, step by step.

    Attributes
    ----------
    before, between
        The residual stream (T, d') before each block, and between its attention and its MLP.
    attention
        (heads, T) of each block: attention of the class token to each token.
    hidden
        (T, N) of each block: activations of its neurons.
    last
        The class token (d',) after the last block.
    embedding
        The image embedding (d,), not normalized.
    """

    def __init__(self, visual: Any, image: torch.Tensor) -> None:
        stream = visual._embeds(image[None])[0]
        self.before, self.between, self.attention, self.hidden = [], [], [], []
        for block in visual.transformer.resblocks:
            self.before.append(stream)
            normed = block.ln_1(stream)
            attended, weights = attend(block.attn, normed)
            stream = stream + block.ls_1(attended)
            self.between.append(stream)
            self.attention.append(weights[:, 0])
            hidden = block.mlp.gelu(block.mlp.c_fc(block.ln_2(stream)))
            self.hidden.append(hidden)
            stream = stream + block.ls_2(block.mlp.c_proj(hidden))
        self.last = stream[0]
        self.embedding = visual.ln_post(stream)[0] @ visual.proj


def attend(attention: nn.MultiheadAttention, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute output (T, d') and weights (heads, T, T) of a self-attention, a head at a time."""
    queries, keys, values = (tokens @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=1)
    size = attention.head_dim
    outputs, weights = [], []
    for head in range(attention.num_heads):
        rows = slice(head * size, (head + 1) * size)
        weight = torch.softmax(queries[:, rows] @ keys[:, rows].T / size**0.5, dim=1)
        weights.append(weight)
        outputs.append(weight @ values[:, rows])
    return attention.out_proj(torch.cat(outputs, dim=1)), torch.stack(weights)


def scale_of(layer_scale: Any, width: int) -> torch.Tensor:
    """Return the factor on the output of a block."""
    return layer_scale.gamma if hasattr(layer_scale, "gamma") else torch.ones(width)


def second_order(visual: Any, image: torch.Tensor, layer: int) -> torch.Tensor:
    """Compute the second-order effects of all neurons of a block on one image (Gandelsman et al. 2024).

    Parameters
    ----------
    visual
        The vision tower.
    image
        (3, S, S), normalized.
    layer
        Number of the block.

    Returns
    -------
    torch.Tensor
        (N, d).
    """
    trace = Trace(visual, image)
    block = visual.transformer.resblocks[layer]
    n_neurons = block.mlp.c_fc.out_features
    scale = scale_of(block.ls_2, visual.proj.shape[0])
    effects = []
    for neuron in range(n_neurons):
        weight = scale * block.mlp.c_proj.weight[:, neuron]
        written = trace.hidden[layer][:, neuron, None] * weight + scale * block.mlp.c_proj.bias / n_neurons
        effects.append(through_heads(visual, trace, written, layer, n_neurons))
    return torch.stack(effects)


def through_heads(visual: Any, trace: Trace, written: torch.Tensor, layer: int, n_neurons: int) -> torch.Tensor:
    """Compute the effect on the embedding, through all heads above a block, of vectors in the residual stream.

    Parameters
    ----------
    visual, trace
        The vision tower, and the forward pass of an image.
    written
        (T, d') what the source writes at each token.
    layer, n_neurons
        Number of the block, and of its neurons.

    Returns
    -------
    torch.Tensor
        (d,).
    """
    total = torch.zeros_like(trace.embedding)
    for above in range(layer + 1, len(visual.transformer.resblocks)):
        for head in range(visual.transformer.resblocks[above].attn.num_heads):
            total = total + through_head(visual, trace, written, above, head, (1 + 2 * above) * n_neurons)
    return total


def through_head(
    visual: Any, trace: Trace, written: torch.Tensor, above: int, head: int, n_sources: int
) -> torch.Tensor:
    """Compute the effect through one head; all sources, heads and components have equal shares of means and biases.

    Parameters
    ----------
    visual, trace, written
        As for `through_heads`.
    above, head
        Numbers of the block of the head, and of the head in it.
    n_sources
        Number of sources that share means and biases.

    Returns
    -------
    torch.Tensor
        (d,) the effect, in the space of the embedding.
    """
    block, attention = visual.transformer.resblocks[above], visual.transformer.resblocks[above].attn
    n_heads, size = attention.num_heads, attention.head_dim
    stream = trace.before[above]
    mean, deviation = stream.mean(dim=1, keepdim=True), moments(stream, block.ln_1.eps)[:, None]
    normed = block.ln_1.weight * (written - mean / n_sources) / deviation + block.ln_1.bias / n_sources
    rows = slice(head * size, (head + 1) * size)
    values = attention.in_proj_weight.chunk(3)[2][rows], attention.in_proj_bias.chunk(3)[2][rows]
    mixed = trace.attention[above][head] @ (normed @ values[0].T + values[1] / n_sources)
    scale = scale_of(block.ls_1, visual.proj.shape[0])
    output = scale * (attention.out_proj.weight[:, rows] @ mixed + attention.out_proj.bias / (n_sources * n_heads))
    return projected(visual, trace, output, n_sources * n_heads)


def projected(visual: Any, trace: Trace, output: torch.Tensor, n_shares: int) -> torch.Tensor:
    """Project one of several terms of an attention's output to the embedding.

    Parameters
    ----------
    visual, trace
        The vision tower, and the forward pass of an image.
    output
        (d',) the term.
    n_shares
        Number of terms, which share means and biases.

    Returns
    -------
    torch.Tensor
        (d,), in hundredths of the embedding.
    """
    n_components = 1 + 2 * len(visual.transformer.resblocks)
    shares = n_shares * n_components
    mean, deviation = trace.last.mean(), moments(trace.last, visual.ln_post.eps)
    normed = visual.ln_post.weight * (output - mean / shares) / deviation + visual.ln_post.bias / shares
    return COEFFICIENT / trace.embedding.norm() * (normed @ visual.proj)


def moments(values: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return the divisor of a layer norm over the last dimension."""
    return torch.sqrt((values**2).mean(dim=-1) - values.mean(dim=-1) ** 2 + epsilon)


def all_sources(visual: Any, image: torch.Tensor, above: int) -> torch.Tensor:
    """Compute the effect (d,) of everything in the residual stream through the heads of one block.

    Parameters
    ----------
    visual, image
        The vision tower, and an image (3, S, S), normalized.
    above
        Number of the block.

    Returns
    -------
    torch.Tensor
        (d,) the effect.
    """
    trace = Trace(visual, image)
    written = [trace.before[0]]
    for below in range(above):
        written += [trace.between[below] - trace.before[below], trace.before[below + 1] - trace.between[below]]
    n_heads = visual.transformer.resblocks[above].attn.num_heads
    return sum(
        (
            through_head(visual, trace, source, above, head, len(written))
            for source in written
            for head in range(n_heads)
        ),
        torch.zeros_like(trace.embedding),
    )


def direct(visual: Any, image: torch.Tensor, above: int) -> torch.Tensor:
    """Compute the direct (first-order) effect (d,) of the attention of one block.

    Parameters
    ----------
    visual, image, above
        As for `all_sources`.

    Returns
    -------
    torch.Tensor
        (d,) the effect.
    """
    trace = Trace(visual, image)
    return projected(visual, trace, trace.between[above][0] - trace.before[above][0], 1)


def pursuit(atoms: torch.Tensor, target: torch.Tensor, n_words: int) -> tuple[list[int], torch.Tensor]:
    """Describe a vector by atoms, with orthogonal matching pursuit.

    Parameters
    ----------
    atoms
        (M, d) unit vectors.
    target
        (d,) the vector.
    n_words
        Number of atoms.

    Returns
    -------
    tuple
        Numbers of the atoms in the order in which they were chosen, and their weights.
    """
    chosen: list[int] = []
    residual, weights = target, torch.zeros(0, dtype=target.dtype)
    for _ in range(n_words):
        fit = (atoms @ residual).abs()
        fit[chosen] = -1
        chosen.append(int(fit.argmax()))
        weights = torch.linalg.lstsq(atoms[chosen].T, target[:, None]).solution[:, 0]
        residual = target - weights @ atoms[chosen]
    return chosen, weights


def zero_shot(embeddings: torch.Tensor, classifier: torch.Tensor, labels: torch.Tensor) -> float:
    """Compute the accuracy of a zero-shot classifier.

    Parameters
    ----------
    embeddings, classifier
        (n, d) of images and (C, d) of classes.
    labels
        (n,) class of each image.

    Returns
    -------
    float
        Between 0 and 1.
    """
    return float(
        functional.one_hot((embeddings @ classifier.T).argmax(dim=1), len(classifier))[range(len(labels)), labels]
        .double()
        .mean()
    )
