"""Parse a package into definitions, and write each definition as tokens that do not depend on where it stands.

A definition is what binds a name at the top of a module: a function, a class or an assignment. Its tokens are its syntax tree
in order, without anything that decides no result: comments, docstrings, imports, function annotations, log messages and the
arguments of ``UserError``. A name that stands for another definition of the package becomes a reference to it. A name that was
imported from a library becomes its full dotted name, whatever it was imported as. Where a statement's effect is not known, it
counts for all definitions of its module: a digest may change too often, but never too rarely.

See invariant 1 (fingerprints) in ``docs/reruns.md``.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WHOLE_MODULE = "*"
"""The name of a definition that stands for all of a module, where the module itself is used as a value."""

UNSTABLE_FIELDS = ("ctx", "kind", "type_comment", "type_ignores", "type_params")
"""Fields of syntax trees that carry no meaning here, or that only some versions of Python have."""

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True, order=True)
class Definition:
    """A name bound at the top of a module.

    Attributes
    ----------
    name
        The name, or ``WHOLE_MODULE``.
    module
        Dotted name of the module inside its package.
    """

    name: str
    module: str


Token = str | Definition
Scope = dict[str, Token | None]
"""What each name of a function stands for; None for a local variable."""


class Module:
    """The definitions and imports of one file.

    Parameters
    ----------
    source
        The text of the file.
    package
        The package whose imports are followed.

    Attributes
    ----------
    statements
        The statements that bind each name.
    imports
        What each imported name stands for.
    effects
        Statements that bind nothing, such as calls: they run before any definition of the module is used.
    """

    def __init__(self, source: str, package: "Package") -> None:
        self.statements: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, Token] = {}
        self.effects: list[ast.stmt] = []
        self._package = package
        for statement in ast.parse(source).body:
            self._add(statement)

    def _add(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self.imports.update(self._package.imported(statement))
        elif _is_main(statement) or _is_docstring(statement):
            return
        else:
            for inner in within([statement]):
                if isinstance(inner, ast.Import | ast.ImportFrom):  # such as that of ``if TYPE_CHECKING``
                    self.imports.update(self._package.imported(inner))
            for name in bound([statement]):
                self.statements.setdefault(name, []).append(statement)
            if not _only_binds(statement):
                self.effects.append(statement)


class Package:
    """The modules of a package, parsed when they are first asked for.

    Parameters
    ----------
    folder
        The folder of the package; it has the package's name.
    opaque
        Modules whose definitions are not looked into: none of their code counts.
    """

    def __init__(self, folder: Path, opaque: Sequence[str] = ()) -> None:
        self.folder, self.opaque = folder, tuple(opaque)
        self._modules: dict[str, Module] = {}

    def path_of(self, module: str) -> Path:
        """Locate a module by its dotted name; the file need not exist."""
        path = self.folder.joinpath(*module.split("."))
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    def module(self, name: str) -> Module:
        """Parse a module, by its dotted name."""
        if name not in self._modules:
            self._modules[name] = Module(self.path_of(name).read_text(encoding="utf-8"), self)
        return self._modules[name]

    def script(self, path: Path) -> Module:
        """Parse a file that imports from the package."""
        return Module(path.read_text(encoding="utf-8"), self)

    def resolve(self, token: Token) -> Token:
        """Follow re-exports to the module that defines a name; a name that no module defines becomes a text."""
        if isinstance(token, str) or token.name == WHOLE_MODULE or token.module in self.opaque:
            return token
        module = self.module(token.module)
        if token.name in module.statements:
            return token
        return self.resolve(module.imports.get(token.name, f"name {token.name}"))

    def imported(self, statement: ast.Import | ast.ImportFrom) -> dict[str, Token]:
        """List the names that an import statement binds, and what each stands for."""
        names: dict[str, Token] = {}
        for alias in statement.names:
            if isinstance(statement, ast.ImportFrom):
                names[alias.asname or alias.name] = self.member(statement.module or "", alias.name)
                continue
            dotted = alias.name if alias.asname else alias.name.partition(".")[0]
            package, _, inner = dotted.partition(".")
            own = package == self.folder.name
            names[alias.asname or dotted] = Definition(WHOLE_MODULE, inner) if own else f"library {dotted}"
        return names

    def member(self, dotted: str, name: str) -> Token:
        """Tell what a name of a module or package stands for: a module, a definition, or something of a library."""
        package, _, inner = dotted.partition(".")
        if package != self.folder.name:
            return f"library {dotted}.{name}"
        nested = f"{inner}.{name}".lstrip(".")
        return Definition(WHOLE_MODULE, nested) if self.path_of(nested).is_file() else Definition(name, inner)

    def tokens(self, definition: Definition) -> Iterator[Token]:
        """Write a definition as tokens.

        Parameters
        ----------
        definition
            As `resolve` gives it.

        Yields
        ------
        str or Definition
            Parts of the syntax tree, and references to other definitions.
        """
        if definition.module in self.opaque:
            yield "opaque"
            return
        module = self.module(definition.module)
        if definition.name == WHOLE_MODULE:
            for name in sorted(module.statements):
                yield name
                yield Definition(name, definition.module)
            return
        writer = TokenWriter(self, definition)
        if definition.name in module.imports:  # bound in one branch, imported in another
            yield module.imports[definition.name]
        for statement in [*module.statements[definition.name], *module.effects]:
            yield from writer.write(statement, [])


class TokenWriter:
    """Write the syntax tree of a definition as tokens.

    Parameters
    ----------
    package, definition
        The definition and its package. Where the definition binds its own name, the name is left out.
    """

    def __init__(self, package: Package, definition: Definition) -> None:
        self._package, self._definition = package, definition

    def write(self, node: ast.AST, scopes: list[Scope]) -> Iterator[Token]:
        """Write a node. Its names are looked up in the scopes, the innermost last, and then in the module."""
        if isinstance(node, ast.Name):
            yield self._binding(node.id, scopes) if isinstance(node.ctx, ast.Store) else self._meaning(node.id, scopes)
        elif isinstance(node, ast.Attribute):
            yield from self._attribute(node, scopes)
        elif isinstance(node, Function):
            yield from self._function(node, scopes)
        elif isinstance(node, ast.ClassDef):
            yield from self._class(node, scopes)
        elif isinstance(node, Comprehension):
            scope: Scope = dict.fromkeys(bound(node.generators))
            yield from self._fields(node, [*scopes, scope])
        elif isinstance(node, ast.Raise) and _is_user_error(node.exc):
            yield "Raise UserError"
        elif isinstance(node, ast.AnnAssign):
            if node.value:
                yield from self._fields(ast.Assign([node.target], node.value), scopes)
        elif not (isinstance(node, ast.Import | ast.ImportFrom) or _is_docstring(node) or self._is_log(node, scopes)):
            yield from self._fields(node, scopes)

    def _fields(self, node: ast.AST, scopes: list[Scope]) -> Iterator[Token]:
        yield type(node).__name__
        for field, value in ast.iter_fields(node):
            if value in (None, []) or field in UNSTABLE_FIELDS:
                continue
            yield field
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, ast.AST):
                    yield from self.write(item, scopes)
                else:
                    yield repr(item)

    def _meaning(self, name: str, scopes: list[Scope]) -> Token:
        for scope in reversed(scopes):
            if name in scope:
                return scope[name] or f"variable {name}"
        return self._package.resolve(Definition(name, self._definition.module))

    def _binding(self, name: str, scopes: list[Scope]) -> str:
        own = name == self._definition.name and not scopes
        return "binds itself" if own else f"binds {name}"

    def _attribute(self, node: ast.Attribute, scopes: list[Scope]) -> Iterator[Token]:
        known = self._member(node, scopes)
        if known is None:
            yield from self._fields(node, scopes)
        else:
            yield known

    def _member(self, node: ast.expr, scopes: list[Scope]) -> Token | None:
        """Tell what a dotted name stands for: ``torch.autograd.grad`` is ``grad``, imported from there; None: not known."""
        if isinstance(node, ast.Name):
            return self._meaning(node.id, scopes)
        owner = self._member(node.value, scopes) if isinstance(node, ast.Attribute) else None
        if owner is None or not isinstance(node, ast.Attribute):
            return None
        if isinstance(owner, Definition) and owner.name == WHOLE_MODULE:
            dotted = f"{self._package.folder.name}.{owner.module}"
            return self._package.resolve(self._package.member(dotted, node.attr))
        return f"{owner}.{node.attr}" if isinstance(owner, str) and owner.startswith("library ") else None

    def _is_log(self, node: ast.AST, scopes: list[Scope]) -> bool:
        """Tell whether a statement only writes to a logger of a module."""
        call = node.value if isinstance(node, ast.Expr) else None
        owner = call.func.value if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else None
        token = self._meaning(owner.id, scopes) if isinstance(owner, ast.Name) else None
        if not isinstance(token, Definition) or token.name == WHOLE_MODULE or token.module in self._package.opaque:
            return False
        made = [getattr(s, "value", None) for s in self._package.module(token.module).statements.get(token.name, [])]
        return bool(made) and all(isinstance(v, ast.Call) and ast.unparse(v.func) == "logging.getLogger" for v in made)

    def _function(self, node: Function, scopes: list[Scope]) -> Iterator[Token]:
        yield f"function {node.name}" if scopes and not isinstance(node, ast.Lambda) else "function"
        given = node.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        for part in [*given.defaults, *given.kw_defaults, *getattr(node, "decorator_list", [])]:
            if part is not None:
                yield from self.write(part, scopes)
        yield f"{len(given.posonlyargs)} {len(given.args)} {len(given.kwonlyargs)}"
        yield from (argument.arg if argument else "-" for argument in arguments)
        scope = self._scope_of(node, [argument.arg for argument in arguments if argument])
        for statement in _body(node):
            yield from self.write(statement, [*scopes, scope])
        # what an annotation names may be what the function is given, so its methods count; how it is spelled does not
        annotations = [argument.annotation for argument in arguments if argument] + [getattr(node, "returns", None)]
        named = [token for part in annotations if part for token in self.write(_unquoted(part), scopes)]
        yield from sorted({token for token in named if isinstance(token, Definition)})

    def _scope_of(self, node: Function, arguments: Sequence[str]) -> Scope:
        body = _body(node)
        scope: Scope = dict.fromkeys([*arguments, *bound(body)])
        for inner in within(body):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                scope.update(self._package.imported(inner))
            elif isinstance(inner, ast.Global | ast.Nonlocal):
                for name in inner.names:
                    scope.pop(name, None)
        return scope

    def _class(self, node: ast.ClassDef, scopes: list[Scope]) -> Iterator[Token]:
        yield f"class {node.name}" if scopes else "class"
        for part in [*node.bases, *node.keywords, *node.decorator_list]:
            yield from self.write(part, scopes)
        # functions do not see the names of the class body: its scope is empty, and only says that we are no longer at the top
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):  # of a class, annotations make fields
                yield from self._fields(statement, [*scopes, {}])
            else:
                yield from self.write(statement, [*scopes, {}])


def within(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Walk through statements, and not into the functions and classes inside them, which have scopes of their own."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function | ast.ClassDef | Comprehension):
            waiting.extend(ast.iter_child_nodes(node))


def bound(nodes: Sequence[ast.AST]) -> set[str]:
    """Collect the names that statements bind in their own scope, not in those of functions and classes inside them."""
    names: set[str] = set()
    for node in within(nodes):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
    return names


def _only_binds(statement: ast.stmt) -> bool:
    """Tell whether a statement of a module does nothing but bind names (or import)."""
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return all(isinstance(target, ast.Name | ast.Tuple) for target in targets)
    if isinstance(statement, ast.If):  # such as ``if TYPE_CHECKING``
        return all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in [*statement.body, *statement.orelse])
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _unquoted(annotation: ast.expr) -> ast.expr:
    """Parse an annotation that is written as a text."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _body(node: Function) -> list[ast.AST]:
    return [node.body] if isinstance(node, ast.Lambda) else [*node.body]


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_user_error(raised: ast.expr | None) -> bool:
    return isinstance(raised, ast.Call) and ast.unparse(raised.func).rpartition(".")[2] == "UserError"


def _is_main(node: ast.stmt) -> bool:
    """Tell whether a statement is ``if __name__ == "__main__"``, which does not run where a module is imported."""
    return isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__ ==")
