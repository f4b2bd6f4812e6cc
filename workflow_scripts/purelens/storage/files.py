"""Replace files and folders atomically, and digest their bytes.

See invariant 4 (atomic replacement) in ``docs/reruns.md``.
"""

import ctypes
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

UNFINISHED, CHECKPOINT, LOCK = ".part", ".checkpoint", ".lock"
"""Endings of the hidden files beside a file that a job is writing."""

MOST_TEXT_BYTES = 2**30

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Constants of Linux for ``renameat2``: the current folder, and the flag that exchanges two names."""


@contextmanager
def replace_when_whole(path: str | Path) -> Iterator[Path]:
    """Write a file under a temporary name beside it, and rename it when the block ends without an error.

    Parameters
    ----------
    path
        The file. What a killed job left behind for it is removed first.

    Yields
    ------
    pathlib.Path
        The temporary name to write to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = unfinished_path(path)
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def unfinished_path(path: Path, ending: str = UNFINISHED) -> Path:
    """Return the hidden name under which a file or folder is written until it is whole."""
    return path.with_name(f".{path.name}{ending}")


def find_unfinished(folder: str | Path) -> Iterator[tuple[Path, Path]]:
    """Find the hidden files and folders of interrupted jobs, each with the path that it was written for."""
    for ending in (UNFINISHED, CHECKPOINT, LOCK):
        for leftover in sorted(Path(folder).rglob(f".*{ending}")):
            name = leftover.name[1:].removesuffix(UNFINISHED).removesuffix(CHECKPOINT).removesuffix(LOCK)
            yield leftover, leftover.with_name(name)


def remove_leftovers(path: Path) -> None:
    """Remove the hidden files that were begun for a file, but not the lock of the job that writes it."""
    for ending in (UNFINISHED, CHECKPOINT, CHECKPOINT + UNFINISHED):
        unfinished_path(path, ending).unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file to its place, once its bytes are on the disk."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())  # a crash after the rename must not leave a name without bytes
    temporary.replace(path)


@contextmanager
def replace_folder_when_whole(folder: str | Path) -> Iterator[Path]:
    """Fill a temporary folder beside a folder, and exchange the two when the block ends without an error.

    Parameters
    ----------
    folder
        The folder.

    Yields
    ------
    pathlib.Path
        The temporary folder to write to.
    """
    folder = Path(folder)
    temporary = unfinished_path(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if not folder.exists():
            temporary.replace(folder)
        elif not _exchange(temporary, folder):
            # a file system without the exchange: readers miss the folder for a moment
            shutil.rmtree(folder)
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    return rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def digest_of(path: str | Path) -> str:
    """Digest the bytes of a file: sha256, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: str | Path) -> str:
    """Read a text of the user's.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no regular file (a pipe would wait for ever), too large, or no text.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    if status.st_size > MOST_TEXT_BYTES:
        raise ValueError(f"it is larger than {MOST_TEXT_BYTES // 2**20} MB")
    text = Path(path).read_text(encoding="utf-8-sig")
    if "\0" in text:
        raise ValueError("it is no text: there are null bytes in it")
    return text


def write_json(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write a small JSON file atomically."""
    with replace_when_whole(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_sealed(path: Path, values: Any) -> None:
    """Write what can be found out again, with a digest; a disk that is full or read-only is no error."""
    text = json.dumps(values)  # in their order, which may mean something
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}", encoding="utf-8")
        temporary.replace(path)


def read_sealed(path: Path) -> Any:
    """Read what `write_sealed` wrote; None if it is not there, or was damaged or edited."""
    try:
        digest, _, text = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        return None
    return json.loads(text) if hashlib.sha256(text.encode()).hexdigest() == digest else None
