"""Which edits change the digest of a function, and which do not."""

from pathlib import Path
from typing import Any

import pytest

from purelens.reruns import code_digests
from purelens.reruns.code_digests import CodeDigests
from purelens.reruns.definitions import Definition, Package

FILES = {
    "a.py": '"""Doc."""\nimport numpy as np\nfrom pkg.b import f\n\n\ndef g(x):\n    """Doc."""\n    return f(np.abs(x))\n',
    "b.py": (
        "import logging\n\nlog = logging.getLogger()\nLIMIT = 3\n\n\ndef f(x):\n    return x + LIMIT\n\n\n"
        "def unused(x):\n    return x\n"
    ),
    "errors.py": "class UserError(Exception):\n    pass\n",
    "inner/__init__.py": "",
    "inner/c.py": "from pkg.a import g\n\n\ndef start(x):\n    return g(x)\n",
}


START = Definition("start", "inner.c")


def digest(folder: Path, files: dict[str, Any], start: Definition = START) -> str:
    """Digest ``inner.c.start`` of a package of these files."""
    package = folder / "pkg"
    for path in [*package.rglob("*.py")] if package.is_dir() else []:
        path.unlink()
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return CodeDigests(Package(package, ["errors"])).digest(start)


SAME = {
    "a comment": {"b.py": FILES["b.py"].replace("x + LIMIT", "x + LIMIT  # why")},
    "a docstring": {"a.py": FILES["a.py"].replace('    """Doc."""', '    """Other."""')},
    "formatting": {"a.py": FILES["a.py"].replace("f(np.abs(x))", "f(  np.abs( x ) )")},
    "an annotation": {"b.py": FILES["b.py"].replace("f(x)", "f(x: int) -> int")},
    "another module": {"d.py": "x = 1\n"},
    "another definition of the module": {"b.py": FILES["b.py"].replace("    return x\n", "    return -x\n")},
    "an import that is not used": {"a.py": "import os\nfrom pkg.b import unused\n" + FILES["a.py"]},
    "another name of a library": {"a.py": FILES["a.py"].replace("as np", "as n").replace("np.", "n.")},
    "a library's function imported by its name": {
        "a.py": FILES["a.py"].replace("import numpy as np", "import numpy").replace("np.", "numpy.")
    },
    "a library's function imported from its module": {
        "a.py": FILES["a.py"].replace("import numpy as np", "from numpy import abs as size").replace("np.abs", "size")
    },
    "an annotation of a constant": {"b.py": FILES["b.py"].replace("LIMIT =", "LIMIT: int =")},
    "an import for annotations": {
        "b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\n" + FILES["b.py"]
    },
    "a logger renamed": {
        "b.py": FILES["b.py"]
        .replace("log =", "notes =")
        .replace("    return x + L", "    notes.info(x)\n    return x + L")
    },
    "an import inside the function": {
        "a.py": "import numpy as np\n\ndef g(x):\n    from pkg.b import f\n    return f(np.abs(x))\n"
    },
    "a definition moved to another module": {
        "a.py": FILES["a.py"].replace("pkg.b", "pkg.inner.d"),
        "inner/d.py": "def f(x):\n    return x + LIMIT\nLIMIT = 3\n",
        "b.py": "",
    },
    "a definition renamed": {
        "a.py": FILES["a.py"].replace("import f", "import plus").replace("f(np", "plus(np"),
        "b.py": FILES["b.py"].replace("def f(", "def plus(").replace("LIMIT", "MOST"),
    },
    "a definition imported through another module": {
        "a.py": FILES["a.py"].replace("pkg.b", "pkg.d"),
        "d.py": "from pkg.b import f\n",
    },
    "a definition used through its module": {
        "a.py": FILES["a.py"].replace("from pkg.b import f", "from pkg import b").replace("f(np", "b.f(np")
    },
    "a message in the log": {
        "b.py": FILES["b.py"].replace("    return x + LIMIT", "    log.info('%s', x)\n    return x + LIMIT")
    },
    "what only runs as a program": {"b.py": FILES["b.py"] + '\n\nif __name__ == "__main__":\n    print(f(1))\n'},
}


@pytest.mark.parametrize("name", SAME)
def test_what_decides_no_result_does_not_count(tmp_path: Path, name: str) -> None:
    assert digest(tmp_path, FILES | SAME[name]) == digest(tmp_path, FILES)


DIFFERENT = {
    "the function": {
        "inner/c.py": FILES["inner/c.py"].replace("g(x)\n", "-g(x)\n", 1).replace("return g", "return -g")
    },
    "a function that it calls": {"a.py": FILES["a.py"].replace("np.abs", "np.exp")},
    "a function farther away": {"b.py": FILES["b.py"].replace("x + LIMIT", "x - LIMIT")},
    "a constant": {"b.py": FILES["b.py"].replace("LIMIT = 3", "LIMIT = 4")},
    "a constant that is changed later": {"b.py": FILES["b.py"] + "\nLIMIT += 1\n"},
    "a call when the module is imported": {"b.py": FILES["b.py"] + "\nprint()\n"},
    "a default": {"b.py": FILES["b.py"].replace("f(x)", "f(x=1)")},
    "a decorator": {"b.py": FILES["b.py"].replace("def f", "@str\ndef f")},
    "another function of the same name": {"a.py": FILES["a.py"].replace("from pkg.b import f", "from math import f")},
    "a library's function of the same name": {"a.py": FILES["a.py"].replace("import numpy", "import torch")},
    "what a quoted annotation names": {
        "b.py": FILES["b.py"].replace("f(x)", "f(x: 'Box')") + "\n\nclass Box:\n    def get(self):\n        return 1\n"
    },
    "a branch of the module": {"b.py": FILES["b.py"] + "\nif LIMIT:\n    LIMIT = 9\n"},
    "a loop of the module": {"b.py": FILES["b.py"] + "\nfor name in 'ab':\n    globals()[name] = 1\n"},
    "an item that is set later": {"b.py": FILES["b.py"] + "\nunused.limit = 1\n"},
    "what an annotation names": {
        "b.py": FILES["b.py"].replace("f(x)", "f(x: Box)") + "\n\nclass Box:\n    def get(self):\n        return 1\n"
    },
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_decides_a_result_counts(tmp_path: Path, name: str) -> None:
    assert digest(tmp_path, FILES | DIFFERENT[name]) != digest(tmp_path, FILES)


def test_the_words_of_an_error_do_not_count(tmp_path: Path) -> None:
    text = "from pkg.errors import UserError\n\ndef start(x):\n    if x:\n        raise UserError(f'no {x}')\n    return x\n"
    before = digest(tmp_path, FILES | {"inner/c.py": text})
    assert digest(tmp_path, FILES | {"inner/c.py": text.replace("no {x}", "none of {x + 1}")}) == before
    assert (
        digest(tmp_path, FILES | {"inner/c.py": text, "errors.py": "class UserError(OSError):\n    pass\n"}) == before
    )
    assert digest(tmp_path, FILES | {"inner/c.py": text.replace("if x:", "if not x:")}) != before


def test_the_annotation_of_a_local_variable_does_not_count(tmp_path: Path) -> None:
    text = "from pkg.a import g\n\ndef start(x):\n    y = g(x)\n    return y\n"
    before = digest(tmp_path, FILES | {"inner/c.py": text})
    assert digest(tmp_path, FILES | {"inner/c.py": text.replace("y =", "y: int =")}) == before
    assert digest(tmp_path, FILES | {"inner/c.py": text.replace("    y =", "    z: int\n    y =")}) == before


def test_the_annotations_of_a_class_are_its_fields(tmp_path: Path) -> None:
    text = "class Box:\n    x: int\n\ndef start(x):\n    return Box()\n"
    before = digest(tmp_path, FILES | {"inner/c.py": text})
    assert digest(tmp_path, FILES | {"inner/c.py": text.replace("x: int", "x: str")}) != before


LOCAL = "from pkg.b import f\n\ndef start(x):\n    {binding}\n    return f(x)\n"


@pytest.mark.parametrize("binding", ["f = abs", "for f in x: pass", "from math import f", "def f(x): return x"])
def test_a_local_name_is_not_that_of_the_module(tmp_path: Path, binding: str) -> None:
    files = FILES | {"inner/c.py": LOCAL.format(binding=binding)}
    before = digest(tmp_path, files)
    assert digest(tmp_path, files | {"b.py": "def f(x):\n    return 7\n"}) == before


def test_a_name_in_a_class_body_is_not_seen_by_its_methods(tmp_path: Path) -> None:
    box = "class Box:\n    f = 1\n    def get(self):\n        return f(2)\n"
    text = f"from pkg.b import f\n\n{box}\ndef start(x):\n    return Box()\n"
    files = FILES | {"inner/c.py": text}
    assert digest(tmp_path, files | {"b.py": "def f(x):\n    return 7\n"}) != digest(tmp_path, files)


CIRCLE = "def start(x):\n    return other(x - 1) if x else 0\n\ndef other(x):\n    return start(x - 2) if x else 1\n"


def test_functions_that_call_each_other(tmp_path: Path) -> None:
    before = digest(tmp_path, FILES | {"inner/c.py": CIRCLE})
    assert digest(tmp_path, FILES | {"inner/c.py": CIRCLE.replace("else 1", "else 2")}) != before
    assert digest(tmp_path, FILES | {"inner/c.py": CIRCLE + "\nunrelated = 1\n"}) == before
    moved = {"inner/c.py": "from pkg.b import start\n", "b.py": CIRCLE}
    assert digest(tmp_path, FILES | moved) == before


def test_a_function_that_calls_itself_may_be_renamed(tmp_path: Path) -> None:
    text = "def start(x):\n    return start(x - 1) if x else 0\n"
    before = digest(tmp_path, FILES | {"inner/c.py": text})
    renamed = FILES | {"inner/c.py": text.replace("start", "begin")}
    assert digest(tmp_path, renamed, Definition("begin", "inner.c")) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("if LIMIT:\n    A = 1\nelse:\n    A = 2\n", "if not LIMIT:\n    A = 1\nelse:\n    A = 2\n"),
        (
            "try:\n    A = int('1')\nexcept ValueError:\n    A = 2\n",
            "try:\n    A = int('1')\nexcept ValueError:\n    A = 3\n",
        ),
        (
            "try:\n    from math import exp as A\nexcept ImportError:\n    A = 2\n",
            "try:\n    from math import log as A\nexcept ImportError:\n    A = 2\n",
        ),
        ("A = {}\nfor key in 'ab':\n    A[key] = 1\n", "A = {}\nfor key in 'ab':\n    A[key] = 2\n"),
    ],
    ids=["condition", "except", "import", "loop"],
)
def test_all_of_a_compound_statement_counts(tmp_path: Path, before: str, after: str) -> None:
    text = "LIMIT = 1\n{}\ndef start(x):\n    return A\n"
    first = digest(tmp_path, FILES | {"inner/c.py": text.format(before)})
    assert digest(tmp_path, FILES | {"inner/c.py": text.format(after)}) != first


def test_what_a_function_inside_imports_is_its_own(tmp_path: Path) -> None:
    inner = "    def inner():\n        from math import f\n        return f\n"
    files = FILES | {"inner/c.py": f"from pkg.b import f\n\ndef start(x):\n{inner}    return f(x), inner()\n"}
    before = digest(tmp_path, files)
    assert digest(tmp_path, files | {"b.py": "def f(x):\n    return 7\n"}) != before


def test_names_that_are_bound_together_are_told_apart(tmp_path: Path) -> None:
    text = "A, B = 1, 2\n\ndef start(x):\n    return x + A\n"
    before = digest(tmp_path, FILES | {"inner/c.py": text})
    assert digest(tmp_path, FILES | {"inner/c.py": text.replace("x + A", "x + B")}) != before


def test_methods_are_told_apart(tmp_path: Path) -> None:
    box = "class Box:\n    def one(self):\n        return 1\n    def two(self):\n        return 2\n"
    text = f"{box}\ndef start(x):\n    return Box().one()\n"
    before = digest(tmp_path, FILES | {"inner/c.py": text})
    swapped = text.replace("def one", "def tmp").replace("def two", "def one").replace("def tmp", "def two")
    assert digest(tmp_path, FILES | {"inner/c.py": swapped}) != before


def test_scores_do_not_decide_what_runs_on_a_gpu() -> None:
    """Editing how explanations or segmentations are scored makes no network run again."""
    for rule in ("ablate", "heatmaps"):
        names = {definition.name for definition in code_digests.reached_by(rule)}
        assert not names & {"auprc_columns", "pearson_columns", "average_precision", "counts", "summary"}, rule
    assert "auprc_columns" in {definition.name for definition in code_digests.reached_by("simulate")}


def test_modules_that_do_not_count_are_there() -> None:
    package = code_digests._digests().package
    for module in (*code_digests.OPAQUE, code_digests.BEFORE_EACH_JOB.module):
        assert package.path_of(module).is_file()
