"""Every key of a study with values that it was not made for: one line that names it, never a traceback."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from helpers import ROOT
from purelens.config.files import check_keys
from purelens.config.study import load_config
from purelens.errors import UserError

STUDY = yaml.safe_load((ROOT / "config.yaml").read_text())


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


VALUES: dict[str, Any] = {
    "null": None,
    "a list": [],
    "a mapping": {},
    "an empty text": "",
    "a long text": "x" * 5000,
    "a negative number": -7,
    "zero": 0,
    "a huge number": 10**30,
    "a huge real number": 1e308,
    "not a number": math.nan,
    "infinity": math.inf,
    "true": True,
    "a way out": "../../../etc/passwd",
    "braces": "{dataset}",
    "a script": "<script>alert(1)</script>",
    "a null byte": "a\0b",
    "a lone surrogate": "\ud800",
    "depth": nested(60),
    "numbers in a list": [math.nan, -1],
    "a mapping of lists": {"a": [{"b": None}]},
}


def keys_of(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key of a study."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield (*path, key)
            yield from keys_of(value, (*path, key))


def every_key() -> list[tuple[str, ...]]:
    """The keys of the embedded study, and all that it could have."""
    whole = load_config(copy.deepcopy(STUDY)).model_dump()
    return [key for key in keys_of(whole) if "options" not in key[:-1]]


KEYS = every_key()


def changed(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    study = copy.deepcopy(STUDY)
    section = study
    for name in path[:-1]:
        if not isinstance(section.get(name), dict):
            section[name] = {}
        section = section[name]
    section[path[-1]] = value
    return study


@pytest.mark.parametrize("name", VALUES)
def test_every_key_with_a_value_that_it_was_not_made_for(name: str) -> None:
    n_refused = 0
    for path in KEYS:
        message = refusal(path, VALUES[name])
        n_refused += bool(message)
        assert all(line.startswith("config: ") for line in message.split("\n") if message), (path, message)
        assert not message or any(part in message for part in path), (path, message)
    assert n_refused >= len(KEYS) // 4, (n_refused, len(KEYS))


def refusal(path: tuple[str, ...], value: Any) -> str:
    """What is said of a value; empty if it is valid, which no number that is none may be."""
    try:
        config = load_config(changed(path, value))
    except UserError as error:
        return str(error)
    assert not has_wild_numbers(config.model_dump()), path
    return ""


def has_wild_numbers(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_wild_numbers(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_wild_numbers(item) for item in value)
    return isinstance(value, float) and not math.isfinite(value)


def test_there_are_enough_attacks() -> None:
    assert len(KEYS) * len(VALUES) > 1000


NAMES = [
    "x" * 300, "images.h5", "a/b", "..", ".", "-rf", ".hidden", "a b", "a\nb", "a\0b", "{x}", "a{b", "ü", "a" + chr(0x202E),
    "clip.h5", "words.csv", "x.part", "x.checkpoint", "<b>", "a?b", "a#b", "a%b", "a*b", "a|b", 'a"b', "a'b", "a:b", "a\\b",
    "$HOME", "`id`", "",
]  # fmt: skip


@pytest.mark.parametrize("section", ["datasets", "models", "embedders"])
@pytest.mark.parametrize("name", NAMES, ids=[repr(name)[:20] for name in NAMES])
def test_names_that_cannot_be_folders(section: str, name: str) -> None:
    study = copy.deepcopy(STUDY)
    study[section] = {name: next(iter(study[section].values())), **study[section]}
    with pytest.raises(UserError, match="cannot be a name|at least 1 character"):
        load_config(study)


@pytest.mark.parametrize("section", ["datasets", "models", "embedders"])
def test_names_that_differ_by_capitals_only(section: str) -> None:
    study = copy.deepcopy(STUDY)
    name, values = next(iter(study[section].items()))
    study[section][name.upper()] = values
    with pytest.raises(UserError, match="where capitals do not count"):
        load_config(study)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "line 2: the key 'a' is there twice"),
        ("m:\n  x: 1\n  y: 2\n  x: 3\n", "line 4: the key 'x' is there twice"),
        ("- {a: 1, a: 2}\n", "line 1: the key 'a' is there twice"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('{"text": "\x7f", "a": 1, "a": 2}', "the key 'a' is there twice"),
        ("__use_yte__: true\n", "a study is data"),
        ("a: &x\n  __use_yte__: true\n<<: *x\n", "a study is data"),
        ('{\n\t"seed": 1,\n\t"seed": 2\n}', "the key 'seed' is there twice"),
    ],
)
def test_keys_that_are_there_twice_and_files_that_are_programs(tmp_path: Any, text: str, message: str) -> None:
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        check_keys([tmp_path / "study.yaml"])


def anchors(n: int) -> str:
    """Each holds the one before four times."""
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, n)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (anchors(60), "its anchors make more than 1000000 values"),
        (anchors(700), "its anchors make more than 1000000 values"),
        ("a: &a [1, *a]\n", "line 1: an anchor holds itself"),
        ("a: &a\n  b: {c: *a}\n", "line 1: an anchor holds itself"),
    ],
)
def test_anchors_that_hold_more_than_there_is(tmp_path: Any, text: str, message: str) -> None:
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        check_keys([tmp_path / "study.yaml"])
    (tmp_path / "study.yaml").write_text(anchors(8))
    check_keys([tmp_path / "study.yaml"])
