"""Second-order effects in closed form beside their definition."""

import pytest
import torch

from purelens.bench.reference import lens as definition
from purelens.lens.closed_form import basis, completeness, effects_of
from purelens.lens.vision_tower import Tower
from support.lens import SHAPES, images_for, random_tower


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", SHAPES)
def test_closed_form(name: str, dtype: torch.dtype, tolerance: float) -> None:
    visual = random_tower(name, dtype)
    images = images_for(visual)
    for layer in range(SHAPES[name]["layers"] - 1):
        tower = Tower(visual, layer)
        with torch.inference_mode():
            seen = tower.forward(images)
            effects = effects_of(tower, seen)
            heads = basis(tower)
        fast = (
            effects.scale[:, None, None] * torch.einsum("bjn,jnd->bnd", effects.head_scalar, heads)
            + effects.shared[:, None]
        )
        slow = torch.stack([definition.second_order(visual, image, layer) for image in images])
        assert (fast - slow).norm() / slow.norm() <= tolerance
        assert (
            float(
                (seen.embedding - torch.stack([definition.Trace(visual, image).embedding for image in images])).norm()
            )
            < 1e-3
        )
        assert float(completeness(tower, seen, effects, heads).max()) <= tolerance


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
    effects, heads = effects_of(tower, seen), basis(tower)
    block, neuron = visual.transformer.resblocks[1], 5
    written = seen.hidden[:, :, neuron, None] * visual.transformer.resblocks[0].mlp.c_proj.weight[:, neuron]
    deviation = torch.sqrt(seen.above[1].stream.var(-1, unbiased=False, keepdim=True) + block.ln_1.eps)
    with_it = block.ln_1(seen.above[1].stream)
    without = with_it - block.ln_1.weight * written / deviation
    values = [block.attn.in_proj_weight.chunk(3)[2] @ normed.transpose(1, 2) for normed in (with_it, without)]
    part = (values[0] - values[1]).unflatten(1, (2, 8))
    mixed = torch.einsum("bht,bhst->bhs", seen.above[1].attention, part).flatten(1)
    change = (mixed @ block.attn.out_proj.weight.T) * visual.ln_post.weight @ visual.proj
    expected = effects.scale[:, None] * change
    fast = effects.scale[:, None] * torch.einsum("bj,jd->bd", effects.head_scalar[:, :, neuron], heads[:, neuron])
    torch.testing.assert_close(fast, expected)
