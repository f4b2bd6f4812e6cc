"""Select neurons of a layer."""

import re

from purelens.errors import UserError


def neuron_ranges(ids: list[int], n_neurons: int) -> str | list[int | str]:
    """Write ascending neuron numbers in one way only: ``all``, or the longest ranges, such as ``['0-31', '40']``."""
    if len(ids) == n_neurons:
        return "all"
    breaks = [i for i in range(1, len(ids)) if ids[i] != ids[i - 1] + 1]
    runs = [ids[start:stop] for start, stop in zip([0, *breaks], [*breaks, len(ids)], strict=True)]
    return [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]


def neuron_ids(neurons: str | list[int | str], n_neurons: int, layer: str) -> list[int]:
    """Resolve ``all``, numbers and ranges to neuron numbers.

    Parameters
    ----------
    neurons
        ``all``, or a list of numbers and ranges such as ``'16-31'``.
    n_neurons
        Number of neurons of the layer.
    layer
        Its name, for the message.

    Returns
    -------
    list
        Numbers, ascending.

    Raises
    ------
    UserError
        For a number outside the layer, or a range that is none.
    """
    if neurons == "all":
        return list(range(n_neurons))
    ids: set[int] = set()
    for item in neurons:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(item))
        if not match:
            raise UserError(
                f"config: neurons of layer {layer}: {item!r} is neither a number nor a range such as '16-31'"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < n_neurons:
            raise UserError(f"config: neurons of layer {layer}: {item} is not within 0-{n_neurons - 1}")
        ids.update(range(first, last + 1))
    return sorted(ids)
