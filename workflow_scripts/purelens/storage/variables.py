"""Describe the variables of an artifact."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """A variable of a schema.

    Attributes
    ----------
    dims
        Names of its dimensions.
    dtype
        NumPy type, or ``str``.
    description, units
        What is stored with it.
    optional
        Whether artifacts may lack it.
    rounds
        Whether it may be stored in 16 bits (config key ``storage``).
    compressed
        Whether it is compressed.
    """

    dims: tuple[str, ...]
    dtype: str
    description: str
    units: str = "1"
    optional: bool = False
    rounds: bool = False
    compressed: bool = False


@dataclass(frozen=True)
class Schema:
    """The contents of a kind of artifact.

    Attributes
    ----------
    version
        Changes with the layout: artifacts of another version are remade.
    rule
        The rule that makes it.
    variables
        Its variables by name. A name that ends in ``/*`` is a group with a variable for each lower layer.
    """

    version: int
    rule: str
    variables: dict[str, Variable]
