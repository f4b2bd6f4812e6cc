"""Second-order effects of CLIP neurons: the closed form beside its definition."""

from typing import Any

import pytest
import torch

from purelens.bench.reference import lens as definition
from purelens.errors import UserError
from purelens.lens.closed_form import basis, completeness, effects_of
from purelens.lens.vision_tower import Tower
from purelens.networks.imports import open_clip

SHAPES = {
    "two blocks": {"width": 16, "layers": 2, "heads": 2, "image_size": 16, "patch_size": 8, "output_dim": 8},
    "four blocks": {"width": 24, "layers": 4, "heads": 3, "image_size": 16, "patch_size": 4, "output_dim": 10},
    "scaled": {
        "width": 16,
        "layers": 3,
        "heads": 4,
        "image_size": 12,
        "patch_size": 4,
        "output_dim": 20,
        "ls_init_value": 0.7,
    },
}


def random_tower(name: str, dtype: torch.dtype = torch.float64) -> Any:
    """A vision transformer whose weights, biases and norms are all random."""
    torch.manual_seed(0)
    visual = open_clip().transformer.VisionTransformer(mlp_ratio=2.0, **SHAPES[name])  # type: ignore[arg-type]
    with torch.no_grad():
        for key, parameter in visual.named_parameters():
            spread = 0.3 if parameter.ndim > 1 else 0.2
            parameter.copy_(torch.randn_like(parameter) * spread + (1 if "ln" in key and "weight" in key else 0))
    return visual.eval().requires_grad_(False).to(dtype)


def images_for(visual: Any, n: int = 3) -> torch.Tensor:
    return torch.randn(n, 3, *visual.image_size, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(
        visual.proj.dtype
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", SHAPES)
def test_closed_form(name: str, dtype: torch.dtype, tolerance: float) -> None:
    visual = random_tower(name, dtype)
    images = images_for(visual)
    for layer in range(SHAPES[name]["layers"] - 1):
        tower = Tower(visual, layer)
        with torch.inference_mode():
            seen = tower.forward(images)
            found = effects_of(tower, seen)
            heads = basis(tower)
        fast = (
            found.scale[:, None, None] * torch.einsum("bjn,jnd->bnd", found.head_scalar, heads) + found.shared[:, None]
        )
        slow = torch.stack([definition.second_order(visual, image, layer) for image in images])
        assert (fast - slow).norm() / slow.norm() <= tolerance
        assert (
            float(
                (seen.embedding - torch.stack([definition.Trace(visual, image).embedding for image in images])).norm()
            )
            < 1e-3
        )
        assert float(completeness(tower, seen, found, heads).max()) <= tolerance


def test_completeness_of_the_definition() -> None:
    visual = random_tower("four blocks")
    image = images_for(visual, 1)[0]
    for above in range(1, 4):
        whole, direct = definition.all_sources(visual, image, above), definition.direct(visual, image, above)
        assert float((whole - direct).norm() / direct.norm()) < 1e-9


def test_an_effect_is_what_a_later_attention_adds() -> None:
    """Take a neuron's output away from what the next attention's values see, and nothing else."""
    visual = random_tower("two blocks")
    tower = Tower(visual, 0)
    seen = tower.forward(images_for(visual, 1))
    found, heads = effects_of(tower, seen), basis(tower)
    block, neuron = visual.transformer.resblocks[1], 5
    written = seen.hidden[:, :, neuron, None] * visual.transformer.resblocks[0].mlp.c_proj.weight[:, neuron]
    deviation = torch.sqrt(seen.above[1].stream.var(-1, unbiased=False, keepdim=True) + block.ln_1.eps)
    with_it = block.ln_1(seen.above[1].stream)
    without = with_it - block.ln_1.weight * written / deviation
    values = [block.attn.in_proj_weight.chunk(3)[2] @ normed.transpose(1, 2) for normed in (with_it, without)]
    part = (values[0] - values[1]).unflatten(1, (2, 8))
    mixed = torch.einsum("bht,bhst->bhs", seen.above[1].attention, part).flatten(1)
    change = (mixed @ block.attn.out_proj.weight.T) * visual.ln_post.weight @ visual.proj
    expected = found.scale[:, None] * change
    fast = found.scale[:, None] * torch.einsum("bj,jd->bd", found.head_scalar[:, :, neuron], heads[:, neuron])
    torch.testing.assert_close(fast, expected)


def test_the_last_block_has_no_later_attention() -> None:
    with pytest.raises(
        UserError, match="block 1: neurons act through the attention of later blocks, so take blocks 0-0"
    ):
        Tower(random_tower("two blocks"), 1)
