"""What makes code stale, and what does not."""

import os
from pathlib import Path

import pytest

from purelens import digests


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "__init__.py").write_text("")
    (tmp_path / "a.py").write_text(
        '"""Doc."""\nfrom purelens.b import f\n\n\ndef g(x):\n    """Doc."""\n    return f(x)\n'
    )
    (tmp_path / "b.py").write_text("def f(x):\n    return x + 1\n")
    (tmp_path / "inner" / "c.py").write_text("from purelens import a\n")
    monkeypatch.setattr(digests, "PACKAGE", tmp_path)
    return tmp_path


def fresh(module: str) -> str:
    for cached in (digests.code_digest, digests.imported_modules, digests._syntax, digests._tree):
        cached.cache_clear()
    return digests.code_digest(module)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.py", '"""Other."""\nfrom purelens.b import f\n\ndef g(x):\n    # why\n    return f( x )\n'),
        ("b.py", 'def f(x):\n    """New."""\n\n    return x + 1  # comment\n'),
        ("unrelated.py", "x = 1\n"),
    ],
)
def test_comments_docstrings_and_other_modules_do_not_count(package: Path, file: str, text: str) -> None:
    before = fresh("inner.c")
    (package / file).write_text(text)
    assert fresh("inner.c") == before


def test_modules_that_decide_no_result_do_not_count(package: Path) -> None:
    (package / "progress.py").write_text("x = 1\n")
    (package / "b.py").write_text("from purelens import progress\n")
    before = fresh("a")
    (package / "progress.py").write_text("x = 2\n")
    assert fresh("a") == before


@pytest.mark.parametrize(
    ("file", "text"), [("a.py", "def g(x):\n    return x\n"), ("b.py", "def f(x):\n    return x + 2\n")]
)
def test_code_counts_also_in_imported_modules(package: Path, file: str, text: str) -> None:
    before = fresh("inner.c")
    (package / file).write_text(text)
    assert fresh("inner.c") != before


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
    before = digests.architecture_digest(architecture)
    network.write_text(
        '"""A network."""\nimport os\nfrom blocks import width  # of a layer\n\ndef make():\n    return width\n'
    )
    assert digests.architecture_digest(architecture) == before
    blocks.write_text("width = 4\n")
    assert digests.architecture_digest(architecture) != before
    network.write_text("def make(:")
    assert digests.architecture_digest(architecture) == digests.file_digest(network)
    assert digests.architecture_digest("torchvision:resnet18") is None
