"""What makes code stale, and what does not."""

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
    digests.code_digest.cache_clear()
    digests._tree.cache_clear()
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


@pytest.mark.parametrize(
    ("file", "text"), [("a.py", "def g(x):\n    return x\n"), ("b.py", "def f(x):\n    return x + 2\n")]
)
def test_code_counts_also_in_imported_modules(package: Path, file: str, text: str) -> None:
    before = fresh("inner.c")
    (package / file).write_text(text)
    assert fresh("inner.c") != before


def test_folders_are_digested_by_names_sizes_and_dates(tmp_path: Path) -> None:
    assert digests.folder_digest(tmp_path / "none") is None
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "1.png").write_text("a")
    before = digests.folder_digest(tmp_path)
    assert digests.folder_digest(tmp_path) == before
    (tmp_path / "x" / "2.png").write_text("a")
    assert digests.folder_digest(tmp_path) != before
