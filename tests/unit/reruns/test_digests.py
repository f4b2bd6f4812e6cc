"""Digests of bytes and of programs."""

import os
from pathlib import Path

import pytest
from PIL import Image

from purelens.reruns import digests
from purelens.reruns.digests import Digests, architecture_digest, source_digest


def test_bytes_count_and_dates_do_not(tmp_path: Path) -> None:
    file, memory = tmp_path / "a.png", tmp_path / "memory.json"
    file.write_text("a")
    known = digests.Digests(memory)
    before = known.of(file)
    known.keep()
    os.utime(file, (1, 1))
    assert digests.Digests(memory).of(file) == before
    file.write_text("b")
    assert digests.Digests(memory).of(file) != before
    assert digests.Digests().of(tmp_path / "none") == "missing"


def test_digests_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, memory = tmp_path / "a.png", tmp_path / "memory.json"
    file.write_text("a")
    first = digests.Digests(memory)
    before = first.of_all(tmp_path, ["a.png", "gone.png"])
    monkeypatch.setattr(digests.hashlib, "file_digest", None)  # nothing is read again
    assert digests.Digests(memory).of_all(tmp_path, ["a.png", "gone.png"]) == before
    assert digests.Digests(memory).of_all(tmp_path, ["a.png"]) != before


def test_a_damaged_memory_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text("{")
    (tmp_path / "a.png").write_text("a")
    assert len(digests.Digests(tmp_path / "memory.json").of(tmp_path / "a.png")) == 64


def test_a_network_of_ones_own_is_known_by_its_program(tmp_path: Path) -> None:
    network, blocks = tmp_path / "net.py", tmp_path / "blocks.py"
    network.write_text("import os\nfrom blocks import width\n\ndef make():\n    return width\n")
    blocks.write_text("width = 3\n")
    architecture = f"{network}:make"
    before = digests.architecture_digest(architecture, Digests())
    network.write_text(
        '"""A network."""\nimport os\nfrom blocks import width  # of a layer\n\ndef make():\n    return width\n'
    )
    assert digests.architecture_digest(architecture, Digests()) == before
    blocks.write_text("width = 4\n")
    assert digests.architecture_digest(architecture, Digests()) != before
    network.write_text("def make(:")
    assert digests.architecture_digest(architecture, Digests()) == digests.file_digest(network)
    assert digests.architecture_digest("torchvision:resnet18", Digests()) is None


def test_sources_are_digested_by_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "x" / "a.png")
    (tmp_path / "t.csv").write_text("path\nx/a.png\n")
    sources = [tmp_path, tmp_path / "t.csv"]
    before = [source_digest(source, Digests()) for source in sources]
    os.utime(tmp_path / "x" / "a.png", (1, 1))
    assert [source_digest(source, Digests()) for source in sources] == before
    Image.new("RGB", (9, 9), "red").save(tmp_path / "x" / "a.png")
    after = [source_digest(source, Digests()) for source in sources]
    assert all(one != other for one, other in zip(before, after, strict=True))
    (tmp_path / "x" / "b.heic").write_text("no image that is read, but one that is listed")
    assert source_digest(tmp_path, Digests()) != after[0]
    assert source_digest(tmp_path / "none", Digests()) is None
    (tmp_path / "t.csv").write_text("wrong\n")
    assert source_digest(tmp_path / "t.csv", Digests()) is None


def test_everything_that_a_network_imports_from_its_folder_counts(tmp_path: Path) -> None:
    """Modules in packages too, by relative imports, and what makes them packages."""
    (tmp_path / "pkg/inner").mkdir(parents=True)
    files = {
        "net.py": "from pkg.model import make\n",
        "pkg/__init__.py": "A = 1\n",
        "pkg/model.py": "from .util import SCALE\nfrom . import extra\nfrom .inner.deep import DEPTH\nmake = 1\n",
        "pkg/util.py": "SCALE = 1\n",
        "pkg/extra.py": "E = 1\n",
        "pkg/inner/__init__.py": "I = 1\n",
        "pkg/inner/deep.py": "from ..below import BELOW\nDEPTH = 1\n",
        "pkg/below.py": "BELOW = 1\n",
        "pkg/other.py": "NOTHING = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    before = architecture_digest(f"{tmp_path}/net.py:make", Digests())
    for name, text in files.items():
        (tmp_path / name).write_text(text + "MORE = 2\n")
        assert (architecture_digest(f"{tmp_path}/net.py:make", Digests()) == before) == (name == "pkg/other.py"), name
        (tmp_path / name).write_text(text)


def test_models_in_folders_count_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for name in (f"local-dir:{tmp_path}", f"timm:local-dir:{tmp_path}"):
        (tmp_path / "w").write_text("1")
        before = architecture_digest(name, Digests())
        assert before
        (tmp_path / "w").write_text("2")
        assert architecture_digest(name, Digests()) != before
