"""Files and folders are replaced when the new ones are whole."""

from pathlib import Path

import pytest

from purelens.storage import files
from purelens.storage.files import replace_folder_when_whole, replace_when_whole


def make(folder: Path, name: str) -> None:
    with replace_folder_when_whole(folder) as made:
        (made / name).write_text(name)


@pytest.mark.parametrize("one_step", [True, False])
def test_a_folder_is_replaced_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_step: bool) -> None:
    if not one_step:  # as on a file system that cannot exchange
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    make(tmp_path / "figures", "old")
    make(tmp_path / "figures", "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["figures", "new"]


def test_folders_are_exchanged_in_one_step_here(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "said").write_text(name)
    assert files._exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one/said").read_text() == "other"
    assert not files._exchange(tmp_path / "one", tmp_path / "missing")


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    make(tmp_path / "figures", "old")
    with pytest.raises(ValueError, match="in the middle"), replace_folder_when_whole(tmp_path / "figures") as made:
        (made / "new").write_text("")
        raise ValueError("in the middle")
    assert [path.name for path in tmp_path.rglob("*")] == ["figures", "old"]


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="in the middle"), replace_when_whole(path) as made:
        made.write_text("new")
        raise ValueError("in the middle")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
