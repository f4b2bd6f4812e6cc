"""Digest source files: their bytes, or for a Python file of the user what it computes.

See invariant 1 (fingerprints) in ``docs/reruns.md``.
"""

import ast
import errno
import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from purelens.config.inputs import FOLDER
from purelens.data.sources import open_source
from purelens.errors import UserError
from purelens.storage.files import digest_of, read_sealed, write_sealed
from purelens.storage.reading import checked_content

BUNDLED = Path(__file__).parents[2]
"""The folder of scripts, ``workflow_scripts``."""

NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)

MANY_FILES = 1000
"""From this number on, the log says that files are being read."""

logger = logging.getLogger("purelens")

Item = TypeVar("Item")


def _without_docstrings(path: Path) -> str:
    """Return the syntax tree of a program, which has no comments either."""
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
    """Collect everything that can be reached from some items."""
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


def bundled_digests(*names: str) -> dict[str, str | None]:
    """Digest files that stand beside the library's code and decide results, such as templates of pages.

    Parameters
    ----------
    *names
        Their paths in ``workflow_scripts``.

    Returns
    -------
    dict
        Digests by file name.
    """
    return {Path(name).name: file_digest(BUNDLED / name) for name in names}


def architecture_digest(architecture: str, digests: "Digests") -> str | None:
    """Digest what an architecture names: the .py of a factory, a .json or a folder; None for a library's name.

    For a program, the local modules that it imports count too; comments, docstrings and formatting do not.
    """
    model = architecture.removeprefix("timm:")
    if model.startswith(FOLDER):
        return folder_digest(model.removeprefix(FOLDER), digests)
    file = architecture.rpartition(":")[0] if ".py:" in architecture else architecture
    if not file.endswith(".py") or not Path(file).is_file():
        return file_digest(file) if file.endswith(".json") else None
    digest = hashlib.sha256()
    try:
        for path in sorted(_program(Path(file))):
            digest.update(f"{path.name}\n{_without_docstrings(path)}\n".encode())
    except (SyntaxError, ValueError):
        return file_digest(file)  # importing it reports the error
    return digest.hexdigest()[:16]


def _program(file: Path) -> set[Path]:
    """Find a file and everything that it imports from its folder."""

    def imports(path: Path) -> list[Path]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = [module for base, name in _imported(tree, path, file.parent) for module in _modules(base, name)]
        return [module for module in found if module.is_relative_to(file.parent)]

    return _reached([file], imports)


def _imported(tree: ast.Module, path: Path, top: Path) -> set[tuple[Path, str]]:
    """List everything that a program may import: the folder to look in, and the dotted name, modules inside packages too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(top, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # a dot is the folder of the file, each further one the folder above
            base = path.parents[min(node.level, len(path.parents)) - 1] if node.level else top
            names |= {(base, ".".join(filter(None, (node.module, alias.name)))) for alias in node.names}
    return names


def _modules(base: Path, name: str) -> list[Path]:
    """Find the files of a module: its own, and those of the packages that it lies in."""
    parts = name.split(".")
    packages = [base.joinpath(*parts[:n], "__init__.py") for n in range(len(parts) + 1)]
    modules = [base.joinpath(*parts[:n]).with_suffix(".py") for n in range(1, len(parts) + 1)]
    return [file for file in (*packages, *modules) if file.is_file()]


class Digests:
    """Digest the bytes of files, and remember the digests by size and dates.

    Parameters
    ----------
    memory
        JSON file that keeps them from run to run; None: they are not kept.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, list[Any]] = {}
        self._learned = False
        if memory is not None:
            self._known = read_sealed(memory) or {}

    def of(self, path: str | Path) -> str:
        """Digest a file: sha256 as hexadecimal digits; ``missing`` if it does not exist, ``no file`` if it is a pipe or device.

        Raises
        ------
        OSError
            If the system fails; that says nothing of the file.
        """
        try:
            status = os.stat(path)
        except OSError as error:
            if error.errno not in NOT_THERE:
                raise
            return "missing"
        if not stat.S_ISREG(status.st_mode):
            return "no file"
        return self._remembered(str(Path(path).absolute()), status, lambda: digest_of(path))

    def of_artifact(self, path: str | Path) -> str:
        """Read an artifact from end to end and digest what it holds; ``damaged`` if it does not fit its checksums."""

        def read() -> str:
            logger.info("reading %s, which was touched after it was made", path)
            return checked_content(path)

        content = self._remembered(f"{Path(path).absolute()}\0content", os.stat(path), read)
        self.keep()
        return content

    def _remembered(self, key: str, status: os.stat_result, compute: Callable[[], str]) -> str:
        """Return what was computed of a file with this size and these dates, or compute it."""
        facts = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        if self._known.get(key, [None])[:-1] != facts:
            self._known[key] = [*facts, compute()]
            self._learned = True
        return str(self._known[key][-1])

    def of_all(self, folder: str | Path, names: Sequence[str]) -> str:
        """Digest the names and bytes of files in a folder; a missing file counts as such."""
        paths = [os.path.join(folder, name) for name in names]
        if len(paths) > MANY_FILES:
            logger.info("reading %d files below %s", len(paths), folder)
        with ThreadPoolExecutor() as pool:
            values = list(pool.map(self.of, paths))
        self.keep()
        digest = hashlib.sha256()
        for name, value in zip(names, values, strict=True):
            digest.update(f"{name}\0{value}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]

    def keep(self) -> None:
        """Write the digests that were computed to the memory."""
        if self._memory is None or not self._learned:
            return
        write_sealed(self._memory, self._known)
        self._learned = False


def folder_digest(folder: str | Path, digests: Digests) -> str:
    """Digest the names and bytes of all files in a folder and in those inside it."""
    files = sorted(
        os.path.relpath(os.path.join(root, name), folder)
        for root, _, names in os.walk(folder, onerror=_raised)
        for name in names
    )
    return digests.of_all(folder, files)


def _raised(error: OSError) -> None:
    raise error


def source_digest(images: str | Path, digests: Digests) -> str | None:
    """Digest the names and bytes of the images of a folder or CSV source; None for any other source."""
    path = Path(images)
    if not path.is_dir() and path.suffix.lower() != ".csv":
        return None
    try:
        source = open_source(path)
    except UserError:
        return None  # the job that opens the source reports the error
    assert source.folder is not None, "folder and CSV sources have a folder"
    digest = digests.of_all(source.folder, source.paths)
    if not source.others:
        return digest
    # what is only listed counts by its name
    others = "\n".join(path for path, _ in source.others)
    return hashlib.sha256(f"{digest}\n{others}".encode(errors="surrogateescape")).hexdigest()[:16]
