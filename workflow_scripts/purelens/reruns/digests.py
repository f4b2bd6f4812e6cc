"""Digests of files: of their bytes, or of what a Python file of the user's computes."""

import ast
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from purelens.storage.files import digest_of

FILES_WORTH_A_WORD = 1000

logger = logging.getLogger("purelens")

Item = TypeVar("Item")


def _without_docstrings(path: Path) -> str:
    """The syntax tree of a program, which knows no comments either."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [child for child in body if not _is_text(child)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _reached(starts: Iterable[Item], following: Callable[[Item], Iterable[Item]]) -> set[Item]:
    """All that can be reached from some items."""
    seen: set[Item] = set()
    waiting = [*starts]
    while waiting:
        item = waiting.pop()
        if item not in seen:
            seen.add(item)
            waiting.extend(following(item))
    return seen


def file_digest(path: str | Path) -> str | None:
    """Digest the bytes of a file; None if there is no such file."""
    return digest_of(path)[:16] if Path(path).is_file() else None


def architecture_digest(architecture: str) -> str | None:
    """Digest the user's file that an architecture names: the .py of a factory or a .json; None for a library's name.

    Of a program comments, docstrings and formatting do not count; what it imports from its own folder does.
    """
    file = architecture.rpartition(":")[0] if ".py:" in architecture else architecture
    if not file.endswith(".py") or not Path(file).is_file():
        return file_digest(file) if file.endswith(".json") else None
    digest = hashlib.sha256()
    try:
        for path in sorted(_program(Path(file))):
            digest.update(f"{path.name}\n{_without_docstrings(path)}\n".encode())
    except (SyntaxError, ValueError):
        return file_digest(file)  # told when it is imported
    return digest.hexdigest()[:16]


def _program(file: Path) -> set[Path]:
    """A file and all that it imports from its folder."""

    def imports(path: Path) -> list[Path]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return [found for name in _imported(tree) for found in _in_folder(file.parent, name)]

    return _reached([file], imports)


def _imported(tree: ast.Module) -> set[str]:
    """Dotted names of all that a program may import, with those of modules inside packages."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}".removeprefix("None.") for alias in node.names} | {node.module or ""}
    return found - {""}


def _in_folder(folder: Path, name: str) -> list[Path]:
    path = folder.joinpath(*name.split("."))
    return [found for found in (path.with_suffix(".py"), path / "__init__.py") if found.is_file()]


class Digests:
    """Digests of the bytes of files, remembered by size and dates.

    Parameters
    ----------
    memory
        A JSON file that keeps them from run to run; None: they are not kept.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, list[Any]] = {}
        self._learned = False
        if memory is not None:
            with suppress(OSError, ValueError):
                known = json.loads(memory.read_text(encoding="utf-8"))
                self._known = known if isinstance(known, dict) else {}

    def of(self, path: str | Path) -> str:
        """Digest of a file, as `hashlib` gives it for sha256; ``missing`` if it is not there."""
        try:
            status = os.stat(path)
        except OSError:
            return "missing"
        key, facts = str(Path(path).absolute()), [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        if self._known.get(key, [None])[:-1] != facts:
            self._known[key] = [*facts, digest_of(path)]
            self._learned = True
        return str(self._known[key][-1])

    def of_all(self, folder: str | Path, names: Sequence[str]) -> str:
        """Digest the names and the bytes of files in a folder; those that are missing count as such."""
        paths = [os.path.join(folder, name) for name in names]
        if len(paths) > FILES_WORTH_A_WORD:
            logger.info("looking at %d files below %s", len(paths), folder)
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(self.of, paths))
        self.keep()
        digest = hashlib.sha256()
        for name, value in zip(names, found, strict=True):
            digest.update(f"{name}\0{value}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]

    def keep(self) -> None:
        """Write down what was learned."""
        if self._memory is None or not self._learned:
            return
        with suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._memory.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(self._known), encoding="utf-8")
            temporary.replace(self._memory)
            self._learned = False
