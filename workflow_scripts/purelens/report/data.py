"""Write the data of the explorer as scripts: a page opened from the disk may load scripts, but no JSON."""

import json
import math
from pathlib import Path
from typing import Any

BEFORE, AFTER = "PureLens.add(", ");\n"


def as_script(values: Any) -> str:
    """Write values as JSON that may stand inside a ``<script>``: nothing in it can end the script."""
    return json.dumps(_plain(values), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    """Replace NaN and infinite numbers by null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def data_script(key: str, values: Any) -> str:
    """Return a script that hands values to the page under a key."""
    return f"{BEFORE}{as_script(key)},{as_script(values)}{AFTER}"


def write_data(path: Path, key: str, values: Any) -> None:
    """Write values so that a page finds them under a key.

    Parameters
    ----------
    path
        The script.
    key
        Under which the page asks for the values.
    values
        Anything that JSON can hold; NaN becomes null.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data_script(key, values), encoding="utf-8")


def read_data(path: Path) -> Any:
    """Read what `write_data` wrote."""
    text = path.read_text(encoding="utf-8").removeprefix(BEFORE).removesuffix(AFTER)
    _, end = json.JSONDecoder().raw_decode(text)
    return json.loads(text[end + 1 :])


def rounded(values: Any, digits: int = 4) -> list[Any]:
    """Round an array to significant digits: nested lists of numbers."""
    if getattr(values, "ndim", 0):
        return [rounded(value, digits) for value in values]
    return number(values, digits)  # type: ignore[return-value]


def number(value: Any, digits: int = 4) -> float:
    """Round a number to significant digits."""
    return float(f"{value:.{digits}g}")
