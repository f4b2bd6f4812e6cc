"""Check the files of a study's configuration for what a reader of YAML lets pass."""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import yaml

from purelens.errors import UserError

MOST_VALUES = 1_000_000
"""Values of a configuration, each anchor counted wherever it is used."""

MERGE = "tag:yaml.org,2002:merge"
TEMPLATES = "__use_yte__"
"""A key by which Snakemake runs the Python code in a file of keys and values."""


def check_keys(paths: Iterable[str | Path]) -> None:
    """Check that no key is there twice, that the files are data, and that their anchors do not make more of them.

    Parameters
    ----------
    paths
        The files that Snakemake read. What it could not read it has told already.

    Raises
    ------
    UserError
        Naming the file, the line and the key.
    """
    for path in paths:
        try:
            text = Path(path).read_text(encoding="utf-8")
            if text.lstrip().startswith("{"):
                json.loads(text, object_pairs_hook=partial(_check_pairs, path))  # YAML takes less than JSON allows
            # JSON may have tabs where YAML may not
            root = yaml.compose(text.replace("\t", " ") if text.lstrip().startswith("{") else text, yaml.SafeLoader)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            continue
        _check_size(path, root)
        for key, line in _keys_again(root):
            raise UserError(f"config: {path}, line {line}: the key {key!r} is there twice; the first would not count")
        if any(key == TEMPLATES for key, _ in _keys(root)):
            raise UserError(
                f"config: {path}: {TEMPLATES} lets Snakemake run the Python code in this file; a study is data: remove the key"
            )


def _check_pairs(path: str | Path, pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse keys of a JSON object that are there twice."""
    values: dict[str, object] = {}
    for key, value in pairs:
        if key in values:
            raise UserError(f"config: {path}: the key {key!r} is there twice; the first would not count")
        values[key] = value
    return values


def _check_size(path: str | Path, root: yaml.Node | None) -> None:
    """Refuse anchors that hold themselves, or one another so many times that no memory holds the values."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node | None) -> int:
        if not isinstance(node, yaml.CollectionNode):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = None  # until all in it is counted
            inner = (
                node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
            )
            sizes[id(node)] = 1 + sum(map(size, inner))
        known = sizes[id(node)]
        if known is None:
            raise UserError(f"config: {path}, line {node.start_mark.line + 1}: an anchor holds itself")
        return known

    if size(root) > MOST_VALUES:
        raise UserError(f"config: {path}: its anchors make more than {MOST_VALUES} values")


def _keys_again(root: yaml.Node | None) -> Iterator[tuple[str, int]]:
    """Yield the keys of all mappings that were there before, with their lines."""
    for mapping in _mappings(root):
        names: set[str] = set()
        for key, line in _keys_of(mapping):
            if key in names:
                yield key, line
            names.add(key)


def _keys(root: yaml.Node | None) -> Iterator[tuple[str, int]]:
    """Yield all keys, with their lines; a merge key may bring any of them to the top."""
    for mapping in _mappings(root):
        yield from _keys_of(mapping)


def _keys_of(mapping: yaml.MappingNode) -> list[tuple[str, int]]:
    keys = [key for key, _ in mapping.value if isinstance(key, yaml.ScalarNode) and key.tag != MERGE]
    return [(key.value, key.start_mark.line + 1) for key in keys]


def _mappings(root: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """Yield all mappings once; anchors are one node in many places."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            yield node
            waiting += [value for _, value in node.value]
