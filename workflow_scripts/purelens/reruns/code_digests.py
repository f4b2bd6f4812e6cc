"""Digest the code that decides a result: all definitions that the function of a rule reaches, wherever they stand.

The digest of a definition is that of its tokens (see `purelens.reruns.definitions`), in which each reference to another
definition is replaced by the digest of that one. So names and places do not count: a function that is moved or renamed keeps
its digest, and so does everything that calls it. See invariant 1 (fingerprints) in ``docs/reruns.md``.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from purelens.reruns.definitions import Definition, Package, Token

OPAQUE = ("errors", "progress", "storage.schemas", "storage.lens_schemas", "storage.variables")
"""Modules that decide no result: they tell users how work goes, or describe what is stored (a schema has its own version)."""

BEFORE_EACH_JOB = Definition("seed_everything", "workflow.seeding")
"""What `purelens.workflow.job.run` calls before the function of a rule, and decides results too."""


@cache
def code_digest(rule: str) -> str:
    """Digest the code of a rule: of the function that its script calls, and of what every job does first.

    Parameters
    ----------
    rule
        Name of the rule, of its script beside this package, and of the function.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    return _digests().combined([function_of(rule), BEFORE_EACH_JOB])


@cache
def definition_digest(module: str, name: str) -> str:
    """Digest a definition of this package, with all that it reaches: 16 hexadecimal digits.

    Parameters
    ----------
    module
        Dotted name inside the package, e.g. ``world.scenes``.
    name
        Of the function, class or constant.
    """
    return _digests().combined([Definition(name, module)])


def function_of(rule: str) -> Definition:
    """Find the function that the script of a rule calls."""
    package = _digests().package
    target = package.script(package.folder.parent / f"{rule}.py").imports[rule]
    assert isinstance(target, Definition)
    return target


def reached_by(rule: str) -> set[Definition]:
    """List all definitions that decide the result of a rule."""
    return _digests().reached(function_of(rule))


@cache
def _digests() -> "CodeDigests":
    return CodeDigests(Package(Path(__file__).parents[1], OPAQUE))


class CodeDigests:
    """Digests of the definitions of a package.

    Parameters
    ----------
    package
        The package.
    """

    def __init__(self, package: Package) -> None:
        self.package = package
        self._tokens: dict[Definition, list[Token]] = {}
        self._circles: dict[Definition, tuple[Definition, ...]] = {}
        self._known: dict[Definition, str] = {}

    def combined(self, definitions: Iterable[Definition]) -> str:
        """Digest several definitions together: 16 hexadecimal digits."""
        return _hash([self.digest(definition) for definition in definitions])[:16]

    def digest(self, definition: Definition) -> str:
        """Digest a definition with all that it reaches: 64 hexadecimal digits."""
        resolved = self.package.resolve(definition)
        assert isinstance(resolved, Definition), f"{definition.module} does not define {definition.name}"
        if resolved not in self._known:
            self._known.update(self._digest_circle(self._circle_of(resolved)))
        return self._known[resolved]

    def reached(self, definition: Definition) -> set[Definition]:
        """List a definition and all that it reaches, but those of opaque modules."""
        reached: set[Definition] = set()
        waiting: list[Token] = [self.package.resolve(definition)]
        while waiting:
            token = waiting.pop()
            if isinstance(token, Definition) and token not in reached and token.module not in self.package.opaque:
                reached.add(token)
                waiting.extend(self._tokens_of(token))
        return reached

    def _tokens_of(self, definition: Definition) -> list[Token]:
        if definition not in self._tokens:
            self._tokens[definition] = list(self.package.tokens(definition))
        return self._tokens[definition]

    def _digest_circle(self, circle: tuple[Definition, ...]) -> Mapping[Definition, str]:
        """Digest definitions that reach each other: references inside the circle are names, all others digests."""
        alone = len(circle) == 1

        def written(token: Token) -> str:
            if isinstance(token, str):
                return token
            if token in circle:
                return "itself" if alone else f"circle {token.name}"
            return self.digest(token)

        texts = {m: _hash(["" if alone else m.name, *map(written, self._tokens_of(m))]) for m in circle}
        return {member: _hash([texts[member], *sorted(texts.values())]) for member in circle}

    def _circle_of(self, definition: Definition) -> tuple[Definition, ...]:
        """Find the definitions that reach this one and are reached by it; most are alone."""
        if definition not in self._circles:
            self._visit(definition, {}, {}, [])
        return self._circles[definition]

    def _visit(
        self,
        definition: Definition,
        number: dict[Definition, int],
        lowest: dict[Definition, int],
        unfinished: list[Definition],
    ) -> None:
        """Find the strongly connected components below a definition (Tarjan 1972)."""
        number[definition] = lowest[definition] = len(number)
        unfinished.append(definition)
        for token in self._tokens_of(definition):
            if not isinstance(token, Definition) or token in self._circles:
                continue
            if token not in number:
                self._visit(token, number, lowest, unfinished)
                lowest[definition] = min(lowest[definition], lowest[token])
            elif token in unfinished:
                lowest[definition] = min(lowest[definition], number[token])
        if lowest[definition] == number[definition]:
            start = unfinished.index(definition)
            circle = tuple(sorted(unfinished[start:]))
            del unfinished[start:]
            self._circles.update(dict.fromkeys(circle, circle))


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
