"""Digests that decide whether a step is stale: of the code it runs and of a folder of images."""

import ast
import hashlib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


@cache
def code_digest(module: str) -> str:
    """Digest the syntax tree of a module of this package and of all it imports from the package.

    Comments, docstrings and formatting do not count.

    Parameters
    ----------
    module
        Dotted name inside the package, e.g. ``relevances`` or ``world.scenes``.
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(module)):
        digest.update(f"{name}\n{_syntax(name)}\n".encode())
    return digest.hexdigest()[:16]


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


def _syntax(module: str) -> str:
    """The syntax tree without docstrings."""
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [child for child in body if not _is_text(child)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def imported_modules(module: str) -> set[str]:
    """Modules of this package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "purelens":
            prefix = node.module.removeprefix("purelens").lstrip(".")
            for alias in node.names:
                inner = f"{prefix}.{alias.name}".lstrip(".")
                found.add(inner if _file(inner).is_file() else prefix)
    return found - {""}


def _closure(module: str) -> set[str]:
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(imported_modules(name))
    return seen


def file_digest(path: str | Path) -> str | None:
    """Digest the bytes of a file; None if there is no such file."""
    if not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def architecture_digest(architecture: str) -> str | None:
    """Digest the user's file that an architecture names: the .py of a factory or a .json; None for a library's name."""
    file = architecture.rpartition(":")[0] if ".py:" in architecture else architecture
    return file_digest(file) if file.endswith((".py", ".json")) else None


def folder_digest(folder: str | Path) -> str | None:
    """Digest the names, sizes and dates of all files below a folder; None if there is no such folder."""
    if not Path(folder).is_dir():
        return None
    found = []
    for root, _, files in os.walk(folder, followlinks=True):
        found += [os.path.join(root, name) for name in files]
    return files_digest(sorted(found))


def files_digest(paths: Iterable[str | Path]) -> str:
    """Digest the names, sizes and dates of files; one that is missing counts as such."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
            facts = f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n"
        except FileNotFoundError:
            facts = f"{path}\0missing\n"
        digest.update(facts.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
