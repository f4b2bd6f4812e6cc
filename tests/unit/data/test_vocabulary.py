"""Concept lists, superclasses and imported explanations, with awkward names and mistakes."""

from pathlib import Path

import h5py
import pytest

from purelens.data.vocabulary import read_imported, read_superclasses, read_texts
from purelens.errors import UserError
from purelens.storage.artifacts import create
from purelens.storage.reading import strings

NAMES = ["null", "nan", "None", "a, b", 'say "x"', "0", "<b>", "über", "NA"]


@pytest.mark.parametrize("suffix", ["txt", "json", "csv"])
def test_awkward_names_survive_files(tmp_path: Path, suffix: str) -> None:
    import csv
    import json

    path = tmp_path / f"names.{suffix}"
    given = [*NAMES, "", "null"]
    if suffix == "txt":
        path.write_text("\n".join(given), encoding="utf-8")
    elif suffix == "json":
        path.write_text(json.dumps(given), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["concept", "prompt"])
            writer.writerows([name, f"a {name}" if name == "0" else ""] for name in given)
    texts = read_texts(str(path), "see {}")
    assert texts.names == NAMES
    assert texts.prompts[NAMES.index("0")] == ("a 0" if suffix == "csv" else "see 0")
    assert texts.prompts[0] == "see null"
    with create(tmp_path / "x.h5", "concepts") as out:
        out.coordinate("image", 1)
        out.coordinate("concept", len(NAMES))
        out.variable("concept_label", data=texts.names)
    with h5py.File(tmp_path / "x.h5") as file:
        assert strings(file["concept_label"]) == NAMES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "\n \n", "lists no concepts"),
        ("a.json", '{"a": 1}', "expected a list"),
        ("a.csv", "name\nx\n", "no column 'concept'"),
    ],
)
def test_lists_of_concepts_that_are_none(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_texts(str(tmp_path / name))
    with pytest.raises(UserError, match="cannot read"):
        read_texts(str(tmp_path / "missing.txt"))


def test_superclasses_name_classes(tmp_path: Path) -> None:
    path = tmp_path / "super.json"
    path.write_text('{"animal": ["cat", "dog"]}')
    assert read_superclasses(str(path), ["car", "cat", "dog"]) == {"animal": [1, 2]}
    with pytest.raises(UserError, match="'dog', which is no class"):
        read_superclasses(str(path), ["car", "cat"])


def test_imported_explanations(tmp_path: Path) -> None:
    path = tmp_path / "milan.csv"
    path.write_text("neuron,concept,weight\n3,null,\n3,dog,0.5\n5,,\n")
    explanations = read_imported(str(path))
    assert list(explanations) == [3]
    assert explanations[3].names == ["null", "dog"]
    assert explanations[3].weights.tolist() == [1.0, 0.5]
    path.write_text("neuron,concept\nx,dog\n")
    with pytest.raises(UserError, match="line 2"):
        read_imported(str(path))


@pytest.mark.parametrize(
    "rows", ["3,dog,nan\n", "3,dog,inf\n", "3,dog,1e400\n", "1_0,dog,1\n", "-3,dog,1\n", "3,dog,1\n3,dog,2\n"]
)
def test_numbers_and_repeats_that_are_refused(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "milan.csv"
    path.write_text("neuron,concept,weight\n" + rows)
    with pytest.raises(UserError, match=r"milan.csv, line \d: "):
        read_imported(str(path))


def test_superclasses_of_classes_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text('\ufeff{"flyers": ["crane", "duck"]}', encoding="utf-8")
    assert read_superclasses(str(path), ["crane", "dog", "crane", "duck"]) == {"flyers": [0, 2, 3]}
    path.write_text('{"flyers": [["crane"]]}')
    with pytest.raises(UserError, match="must map names to lists of classes"):
        read_superclasses(str(path), ["crane"])


def test_texts_with_odd_line_ends(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("one\u2028still one\ntwo\x0bstill two\n", encoding="utf-8")
    assert read_texts(str(tmp_path / "t.txt")).names == ["one\u2028still one", "two\x0bstill two"]
    (tmp_path / "t.csv").write_text('concept,prompt\n"a\nb",c\n', encoding="utf-8")
    assert read_texts(str(tmp_path / "t.csv")).names == ["a\nb"]
