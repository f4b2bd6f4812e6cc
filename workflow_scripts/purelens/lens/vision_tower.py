"""Record what the lens needs of a forward pass through a CLIP's vision transformer."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from purelens.errors import UserError
from purelens.lens.clip_checks import check_tower


@dataclass(frozen=True)
class AttentionTrace:
    """What was recorded of one block above the neurons, on a batch of images.

    Attributes
    ----------
    stream
        (b, T, d') residual stream before the block.
    attention
        (b, H, T) attention of the class token to each token, by head.
    output
        (b, d') output of the attention at the class token.
    """

    stream: torch.Tensor
    attention: torch.Tensor
    output: torch.Tensor


@dataclass(frozen=True)
class Trace:
    """What was recorded of a forward pass, on a batch of images of T tokens.

    Attributes
    ----------
    hidden
        (b, T, N) activations of the neurons.
    written
        (b, T, d') output of their MLP, bias included.
    above
        The blocks above, by number.
    last
        (b, d') class token after the last block.
    embedding
        (b, d) image embeddings, not normalized.
    """

    hidden: torch.Tensor
    written: torch.Tensor
    above: dict[int, AttentionTrace]
    last: torch.Tensor
    embedding: torch.Tensor


class Tower:
    """A vision transformer of open_clip whose forward pass is recorded from one block on.

    Parameters
    ----------
    visual
        `open_clip.transformer.VisionTransformer`.
    block
        The block whose MLP holds the neurons, counted from 0.

    Raises
    ------
    UserError
        If it has another structure, or no block is above.
    """

    def __init__(self, visual: Any, block: int) -> None:
        check_tower(visual)
        self.visual, self.blocks, self.block = visual, list(visual.transformer.resblocks), block
        if not 0 <= block < len(self.blocks) - 1:
            n_blocks = len(self.blocks)
            advice = (
                f"so take blocks 0-{n_blocks - 2} of these {n_blocks}"
                if n_blocks > 1
                else "and there is only one block"
            )
            raise UserError(f"lens: block {block}: neurons act through the attention of later blocks, {advice}")

    @property
    def above(self) -> range:
        """Numbers of the blocks above the neurons."""
        return range(self.block + 1, len(self.blocks))

    def forward(self, images: torch.Tensor) -> Trace:
        """Run normalized images (b, 3, S, S) forward and record the pass."""
        own = self.blocks[self.block]
        inputs = {"last": self.visual.ln_post, **{f"stream {n}": self.blocks[n].ln_1 for n in self.above}}
        outputs = {"hidden": own.mlp.gelu, "written": own.ls_2}
        outputs |= {f"output {n}": self.blocks[n].ls_1 for n in self.above}
        with recorded(inputs, outputs) as tensors:
            embedding = self.visual(images)
        above = {
            n: AttentionTrace(
                tensors[f"stream {n}"],
                class_attention(self.blocks[n], tensors[f"stream {n}"]),
                tensors[f"output {n}"][:, 0],
            )
            for n in self.above
        }
        last = tensors["last"] if tensors["last"].ndim == 2 else tensors["last"][:, 0]
        return Trace(tensors["hidden"], tensors["written"], above, last, embedding)


@contextmanager
def recorded(inputs: Mapping[str, nn.Module], outputs: Mapping[str, nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """Record the inputs of some modules and the outputs of others, within a ``with`` block.

    Parameters
    ----------
    inputs, outputs
        Modules, by the names under which their tensors are recorded.
    """
    tensors: dict[str, torch.Tensor] = {}

    def keep_input(name: str) -> Any:
        return lambda _, given: tensors.__setitem__(name, given[0])

    def keep_output(name: str) -> Any:
        return lambda _, __, output: tensors.__setitem__(name, output)

    with ExitStack() as stack:
        for name, module in inputs.items():
            stack.callback(module.register_forward_pre_hook(keep_input(name)).remove)
        for name, module in outputs.items():
            stack.callback(module.register_forward_hook(keep_output(name)).remove)
        yield tensors


def class_attention(block: Any, stream: torch.Tensor) -> torch.Tensor:
    """Compute the attention of the class token to each token, by head.

    open_clip's attention does not return its weights, so they are computed again from the input.

    Parameters
    ----------
    block
        The block.
    stream
        (b, T, d') residual stream before it.

    Returns
    -------
    torch.Tensor
        (b, H, T).
    """
    attention = block.attn
    normed = block.ln_1(stream)
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    size, n_heads = attention.head_dim, attention.num_heads
    query = (normed[:, 0] @ weights[0].T + biases[0]).unflatten(1, (n_heads, size))
    keys = (normed @ weights[1].T + biases[1]).unflatten(2, (n_heads, size))
    return torch.softmax(torch.einsum("bhs,bths->bht", query, keys) / size**0.5, dim=2)
