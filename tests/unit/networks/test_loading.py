"""Factories, libraries by name, and checkpoints in all their wrappings; nothing of a checkpoint is run."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from helpers import CIFAR_RESNET
from purelens.errors import UserError
from purelens.networks.checkpoints import read_checkpoint
from purelens.networks.loading import build_architecture, build_network, load_network


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return build_architecture(CIFAR_RESNET, {"depth": 8}).state_dict()


def test_factories_of_the_users_own() -> None:
    network: Any = build_architecture(CIFAR_RESNET, {"depth": 8, "num_classes": 7})
    assert network.linear.out_features == 7


def test_libraries_by_name() -> None:
    assert build_architecture("torchvision:squeezenet1_1", {"num_classes": 5}).training is False
    assert sum(1 for _ in build_architecture("timm:resnet10t", {}).parameters()) > 10


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("torchvision:resnet5", {}, r"no model 'resnet5' \(did you mean"),
        ("timm:resnet5", {}, "timm has no model 'resnet5'"),
        ("resnet50", {}, "expected 'torchvision:NAME'"),
        ("nowhere.py:make", {}, "there is no file nowhere.py"),
        (CIFAR_RESNET + "s", {}, r"no function 'cifar_resnets' \(did you mean 'cifar_resnet'\?\)"),
        (CIFAR_RESNET, {"layers": 3}, "cannot be built: TypeError"),
    ],
)
def test_architectures_that_are_none(architecture: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_architecture(architecture, options)


def test_user_files_that_fail(tmp_path: Path) -> None:
    file = tmp_path / "network.py"
    file.write_text("import nothing_of_this_name\n")
    with pytest.raises(UserError, match="cannot be imported: ModuleNotFoundError"):
        build_architecture(f"{file}:make", {})
    file.write_text("def make():\n    return 3\n")
    with pytest.raises(UserError, match="gives a int, not a torch.nn.Module"):
        build_architecture(f"{file}:make", {})


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


def test_own_files_may_import_their_neighbors_and_use_dataclasses(tmp_path: Path) -> None:
    (tmp_path / "purelens_test_neighbor.py").write_text("width = 3\n")
    (tmp_path / "network.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "from purelens_test_neighbor import width\n\n@dataclass\nclass Options:\n    width: int = width\n\n"
        "def make():\n    return nn.Sequential(nn.Linear(1, Options().width))\n"
    )
    network: Any = build_architecture(f"{tmp_path}/network.py:make", {})
    assert network[0].out_features == 3


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


@pytest.mark.parametrize("body", [False, True], ids=["at the top", "in the factory"])
def test_neighbors_that_are_called_as_a_script_of_the_workflow(tmp_path: Path, body: bool) -> None:
    """And as the neighbor of another file."""
    for width in (4, 5):
        folder = tmp_path / str(width)
        folder.mkdir()
        (folder / "model.py").write_text(f"import torch\n\ndef net():\n    return torch.nn.Linear(3, {width})\n")
        top, inside = ("", "    from model import net\n") if body else ("from model import net\n", "")
        (folder / "own.py").write_text(f"{top}\ndef make():\n{inside}    return net()\n")
        network = build_architecture(f"{folder}/own.py:make", {})
        assert network.out_features == width
    assert "model" not in sys.modules


def test_torchvision_may_be_imported_in_the_factory(tmp_path: Path) -> None:
    """In a process of its own, in which nothing has declared torchvision's operators yet."""
    (tmp_path / "own.py").write_text(
        "def make():\n    from torchvision.models import resnet18\n    return resnet18(weights=None)\n"
    )
    code = (
        "import sys; from purelens.networks.loading import build_architecture; "
        "print(len(build_architecture(sys.argv[1], {}).layer4))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"{tmp_path}/own.py:make"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "2", done.stderr
