"""Digests that decide whether a step is stale: of the code it runs, and of files."""

import ast
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from purelens.files import digest_of

PACKAGE = Path(__file__).parent
FILES_WORTH_A_WORD = 1000
BEFORE_EACH_JOB = ("seeding",)
NOT_IN_RESULTS = {"errors", "progress", "schemas"}

logger = logging.getLogger("purelens")

Item = TypeVar("Item")


@cache
def code_digest(module: str) -> str:
    """Digest the syntax tree of a module of this package and of all it imports from the package.

    Comments, docstrings and formatting do not count, nor do the modules that only tell users how work goes, or describe what
    is stored (a change of an artifact's layout is a new version of its schema).

    Parameters
    ----------
    module
        Dotted name inside the package, e.g. ``relevances`` or ``world.scenes``.
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(module) - NOT_IN_RESULTS):
        digest.update(f"{name}\n{_syntax(name)}\n".encode())
    return digest.hexdigest()[:16]


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


@cache
def _syntax(module: str) -> str:
    return _without_docstrings(_file(module))


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


@cache
def imported_modules(module: str) -> frozenset[str]:
    """Modules of this package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "purelens":
            prefix = node.module.removeprefix("purelens").lstrip(".")
            for alias in node.names:
                inner = f"{prefix}.{alias.name}".lstrip(".")
                found.add(inner if _file(inner).is_file() else prefix)
    return frozenset(found - {""})


def _closure(module: str) -> set[str]:
    return _reached([module, *(name for name in BEFORE_EACH_JOB if _file(name).is_file())], imported_modules)


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
        self._learnt = False
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
            self._learnt = True
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
        """Write down what was learnt."""
        if self._memory is None or not self._learnt:
            return
        with suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._memory.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(self._known), encoding="utf-8")
            temporary.replace(self._memory)
            self._learnt = False
