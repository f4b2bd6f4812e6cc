"""Files that are there whole or not at all."""

import ctypes
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replace_when_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it when the block ends, remove it when it fails.

    What a killed job left behind for the same path is removed first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the hidden files that were begun for ``path``."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        left.unlink()


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file, once it is on the disk."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def replace_folder_when_whole(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder beside ``folder``; it takes its place when the block ends, and is removed when it fails."""
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if not folder.exists():
            temporary.replace(folder)
        elif not _exchange(temporary, folder):
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
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    return rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def digest_of(path: str | Path) -> str:
    """Digest of the bytes of a file: sha256, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str | Path, values: Mapping[str, Any]) -> None:
    """Write a small JSON file, whole or not at all."""
    with replace_when_whole(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
