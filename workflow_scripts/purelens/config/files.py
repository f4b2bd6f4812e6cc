"""Check the files of a study's configuration for what a reader of YAML lets pass."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from purelens.errors import UserError

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
            root = yaml.compose(Path(path).read_text(encoding="utf-8"), yaml.SafeLoader)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        for key, line in _keys_again(root):
            raise UserError(f"config: {path}, line {line}: the key {key!r} is there twice; the first would not count")
        if isinstance(root, yaml.MappingNode) and any(key.value == TEMPLATES for key, _ in root.value):
            raise UserError(
                f"config: {path}: {TEMPLATES} lets Snakemake run the Python code in this file; a study is data: remove the key"
            )


def _keys_again(root: yaml.Node | None) -> Iterator[tuple[str, int]]:
    """Yield the keys of all mappings that were there before, with their lines."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:  # anchors are one node in many places
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                if key.value in names and key.tag != "tag:yaml.org,2002:merge":
                    yield str(key.value), key.start_mark.line + 1
                names.add(str(key.value))
                waiting.append(value)
