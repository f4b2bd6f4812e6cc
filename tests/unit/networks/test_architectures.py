"""Factories of the user's own and libraries by name."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import CIFAR_RESNET
from purelens.errors import UserError
from purelens.networks.architectures import build_architecture


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
    parsing = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--data', required=True)\n"
    file.write_text(f"{parsing}args = parser.parse_args([])\n")
    with pytest.raises(UserError, match=r"network\.py cannot be imported: SystemExit"):
        build_architecture(f"{file}:make", {})
    file.write_text("def make():\n    raise SystemExit('no data')\n")
    with pytest.raises(UserError, match=r"network\.py:make' cannot be built: SystemExit: no data"):
        build_architecture(f"{file}:make", {})
    file.write_text("def make():\n    return 3\n")
    with pytest.raises(UserError, match="gives a int, not a torch.nn.Module"):
        build_architecture(f"{file}:make", {})


def test_own_files_may_import_their_neighbors_and_use_dataclasses(tmp_path: Path) -> None:
    (tmp_path / "purelens_test_neighbor.py").write_text("width = 3\n")
    (tmp_path / "network.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "from purelens_test_neighbor import width\n\n@dataclass\nclass Options:\n    width: int = width\n\n"
        "def make():\n    return nn.Sequential(nn.Linear(1, Options().width))\n"
    )
    network: Any = build_architecture(f"{tmp_path}/network.py:make", {})
    assert network[0].out_features == 3


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
        "import sys; from purelens.networks.architectures import build_architecture; "
        "print(len(build_architecture(sys.argv[1], {}).layer4))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, f"{tmp_path}/own.py:make"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "2", done.stderr
