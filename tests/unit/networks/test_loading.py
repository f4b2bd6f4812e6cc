"""Checkpoints in all their wrappings, of which nothing is run; networks that are built again from what is stored."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from helpers import CIFAR_RESNET
from purelens.errors import UserError
from purelens.networks.architectures import build_architecture
from purelens.networks.checkpoints import read_checkpoint
from purelens.networks.imports import torchvision
from purelens.networks.loading import build_network, check_rebuilt, load_network, rebuilding_options


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return build_architecture(CIFAR_RESNET, {"depth": 8}).state_dict()


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_are_found_in_their_wrappings(
    tmp_path: Path, state: dict[str, torch.Tensor], wrapper: str | None, prefix: str
) -> None:
    path = str(tmp_path / "weights.pth")
    named = {prefix + key: value for key, value in state.items()}
    torch.save({wrapper: named, "epoch": 3} if wrapper else named, path)
    network = build_network(CIFAR_RESNET, {"depth": 8}, path)
    torch.testing.assert_close(network.module.state_dict()["conv1.weight"], state["conv1.weight"])


def test_safetensors_are_read(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = str(tmp_path / "weights.safetensors")
    save_file(state, path)
    network = build_network(CIFAR_RESNET, {"depth": 8}, path)
    torch.testing.assert_close(network.module.state_dict()["conv1.weight"], state["conv1.weight"])


def test_weights_of_another_architecture(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = str(tmp_path / "weights.safetensors")
    save_file(state, path)
    with pytest.raises(UserError) as caught:
        build_network(CIFAR_RESNET, {"depth": 14, "num_classes": 3}, path)
    message = str(caught.value)
    assert "missing: layer1.1.conv1.weight" in message
    assert "of another shape: linear.weight (10, 64) instead of (3, 64)" in message
    with pytest.raises(UserError, match=r"unexpected: layer1\.1"):
        save_file(build_architecture(CIFAR_RESNET, {"depth": 14}).state_dict(), path)
        build_network(CIFAR_RESNET, {"depth": 8}, path)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('/tmp/purelens_was_here', 'w')",)


def test_pickles_are_not_run(tmp_path: Path) -> None:
    witness = Path("/tmp/purelens_was_here")
    witness.unlink(missing_ok=True)
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": Malicious()}, path)
    with pytest.raises(UserError, match="is a pickle with more than tensors in it"):
        read_checkpoint(str(path))
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(UserError, match="weights"):
        read_checkpoint(str(path))
    assert not witness.exists()


def test_whole_networks_are_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(UserError, match=r"save the network's state_dict\(\) instead"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_damaged_checkpoints(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(UserError, match="there is no file"):
        read_checkpoint(str(path))
    for content in (b"", b"hello, this is text", bytes(range(256)) * 8):
        path.write_bytes(content)
        with pytest.raises(UserError, match="weights"):
            read_checkpoint(str(path))


def test_lists_are_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save([torch.zeros(2)], path)
    with pytest.raises(UserError, match="not a plain state dict"):
        read_checkpoint(str(path))


def test_random_weights_are_seeded() -> None:
    modules: list[Any] = [build_network(CIFAR_RESNET, {"depth": 8}, "random", seed=seed).module for seed in (1, 1, 2)]
    one, same, other = (module.conv1.weight for module in modules)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_stored_network_is_the_loaded_one(small: dict[str, Any]) -> None:
    network = load_network(*small["model"])
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    transformed = network.normalize(pixels)
    expected = (pixels[1, 3, 5, 2] / 255 - 0.406) / 0.225
    assert transformed.shape == (2, 3, 32, 32)
    assert transformed[1, 2, 3, 5] == pytest.approx(expected.item(), rel=1e-5)
    assert not any(parameter.requires_grad for parameter in network.module.parameters())


def test_a_child_that_is_called_module(tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text(
        "from torch import nn\n\ndef make():\n    net = nn.Module()\n    net.module = nn.Linear(2, 2)\n    return net\n"
    )
    architecture, path = f"{tmp_path}/network.py:make", str(tmp_path / "w.pth")
    torch.save(build_architecture(architecture, {}).state_dict(), path)
    build_network(architecture, {}, path)


def test_text_is_not_called_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match="is no checkpoint"):
        read_checkpoint(str(tmp_path / "x.pth"))


UNSAVED = """
import torch

class Net(torch.nn.Module):
    def __init__(self, drawn):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3)
        self.rest = torch.randn(4, 1, 1) if drawn else torch.ones(4, 1, 1)

    def forward(self, x):
        return {"out": [self.layer(x) * self.rest, torch.arange(len(x))]}

def make(drawn=False):
    return Net(drawn)
"""


def test_networks_that_hold_more_than_their_weights(tmp_path: Path) -> None:
    """Numbers that are drawn when it is built, and not saved, would be others in every later job."""
    (tmp_path / "own.py").write_text(UNSAVED)
    architecture = f"{tmp_path}/own.py:make"
    check_rebuilt(build_network(architecture, {}, "random"), architecture, {}, 16)
    drawn = {"drawn": True}
    with pytest.raises(UserError, match="holds numbers that its state_dict"):
        check_rebuilt(build_network(architecture, drawn, "random"), architecture, drawn, 16)


def test_timm_networks_have_their_own_normalization(tmp_path: Path) -> None:
    module = build_architecture("timm:vit_tiny_patch16_224", {})
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    for weights in ("random", f"{tmp_path}/w.safetensors"):
        network = build_network("timm:vit_tiny_patch16_224", {}, weights)
        assert (network.mean, network.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert build_network("timm:vit_tiny_patch16_224", {}, "random", (0.1, 0.1, 0.1)).mean == (0.1, 0.1, 0.1)


def test_a_normalization_inside_is_said_by_the_user(tmp_path: Path) -> None:
    options = {"init_weights": False}
    save_file(build_architecture("torchvision:inception_v3", options).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="say in options whether transform_input is true"):
        build_network("torchvision:inception_v3", options, f"{tmp_path}/w.safetensors")
    for said in (True, False):
        given = {**options, "transform_input": said}
        network: Any = build_network("torchvision:inception_v3", given, f"{tmp_path}/w.safetensors")
        assert network.module.transform_input is said


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_published_networks_are_built_again_with_what_their_library_sets(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published weights of these two come with another normalization, inside the network."""
    architecture, given = f"torchvision:{name}", {"init_weights": False}
    whole = {"aux_logits": True, **given}
    state = build_architecture(architecture, whole).state_dict()
    monkeypatch.setattr(torchvision().models.WeightsEnum, "get_state_dict", lambda *_, **__: state)
    network = build_network(architecture, {}, "published")
    assert network.module.transform_input
    with pytest.raises(UserError, match="gives other outputs"):
        check_rebuilt(network, architecture, {"init_weights": False, "aux_logits": name == "inception_v3"}, 96)
    if name == "googlenet":
        with pytest.raises(UserError, match="other weights when it is built again: aux1"):
            check_rebuilt(network, architecture, {"init_weights": False}, 96)
    check_rebuilt(network, architecture, rebuilding_options(architecture, {}, "published"), 96)
