"""Check the files of a study's configuration for what a reader of YAML lets pass."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from purelens.errors import UserError

MERGE = "tag:yaml.org,2002:merge"
TEMPLATES = "__use_yte__"
"""A key by which Snakemake runs the Python code in a file of keys and values."""


def check_keys(paths: Iterable[str | Path]) -> None:
    """Check that no key is there twice, and that the files are data.

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
            # JSON may have tabs where YAML may not
            root = yaml.compose(text.replace("\t", " ") if text.lstrip().startswith("{") else text, yaml.SafeLoader)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            continue
        for key, line in _keys_again(root):
            raise UserError(f"config: {path}, line {line}: the key {key!r} is there twice; the first would not count")
        if any(key == TEMPLATES for key, _ in _keys(root)):
            raise UserError(
                f"config: {path}: {TEMPLATES} lets Snakemake run the Python code in this file; a study is data: remove the key"
            )


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
