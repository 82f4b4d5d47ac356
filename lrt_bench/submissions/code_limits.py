"""What a mapping.py may carry along, in total, and what it may not reach: its own text, files, other code.

The limits are on sums. One long text and a hundred short ones hold the same numbers, and so do the digits of
a constant, a list of names, a docstring, and a comment that the code reads back from its own file.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence

MAX_SOURCE = 24_000  # bytes, comments included: five times the longest example
MAX_TEXT = 1_000  # characters of texts and bytes that are values, in total
MAX_DOCUMENTATION = 12_000  # characters of docstrings and comments, in total
MAX_NUMBERS = 128
MAX_DIGITS = 600  # of all numbers as they are written
MAX_NAMES = 5_000  # characters of different names, in total
MAX_NAME = 48
MAX_ELEMENTS = 32  # of one list, table, call or chain of operators

# Ways to the file itself, to other files, to other code, and to names as data.
FORBIDDEN_NAMES = {
    "__import__", "__file__", "__loader__", "__spec__", "__builtins__", "__doc__", "__cached__",
    "open", "eval", "exec", "compile", "globals", "locals", "breakpoint", "input", "memoryview",
}  # fmt: skip
FORBIDDEN_ATTRIBUTES = FORBIDDEN_NAMES - {"compile", "input", "open", "eval"} | {
    "__code__", "__globals__", "__subclasses__", "__annotations__", "f_globals", "f_locals", "f_back",
    "f_code", "gi_frame", "tb_frame", "load", "fromfile", "from_file", "memmap", "loadtxt", "genfromtxt",
    "load_library", "read_text", "read_bytes", "getsource", "hub", "ctypeslib", "DataSource", "frombuffer",
    "fromstring", "os", "sys", "builtins", "importlib", "ctypes", "pickle", "inspect", "linecache",
}  # fmt: skip
REFLECTION = {"getattr", "setattr", "delattr", "hasattr"}
ROOTS = {  # modules that a map of states needs; `lrt_bench` has a check of its own
    "__future__", "abc", "collections", "dataclasses", "enum", "functools", "itertools", "lrt_bench", "math",
    "numpy", "operator", "random", "torch", "typing", "warnings",
}  # fmt: skip


def problems(text: str, tree: ast.Module, every: Sequence[ast.AST]) -> Iterator[str]:
    """Yield a line for each limit that a source is beyond, and for each thing that it may not reach."""
    yield from _too_much(text, tree, every)
    yield from _out_of_reach(tree, every)


def _documentation(tree: ast.Module) -> set[int]:
    """Return the identities of the constants that are docstrings: they are no values of the code's."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            assert isinstance(first, ast.Expr)
            found.add(id(first.value))
    return found


def _too_much(text: str, tree: ast.Module, every: Sequence[ast.AST]) -> Iterator[str]:
    size = len(text.encode())
    if size > MAX_SOURCE:
        yield f"{size} bytes, more than {MAX_SOURCE}, comments included: data is not code"
    documentation = _documentation(tree)
    constants = [node for node in every if isinstance(node, ast.Constant)]
    sizes = {id(node): len(node.value) for node in constants if isinstance(node.value, str | bytes)}
    long = sum(size for node, size in sizes.items() if node not in documentation)
    if long > MAX_TEXT:
        yield f"texts of {long} characters in total, more than {MAX_TEXT}: data is not code"
    numbers, digits, comments = _written(text)
    about = comments + sum(size for node, size in sizes.items() if node in documentation)
    if about > MAX_DOCUMENTATION:
        yield f"comments and docstrings of {about} characters in total, more than {MAX_DOCUMENTATION}"
    for count, most, what in ((numbers, MAX_NUMBERS, "numbers"), (digits, MAX_DIGITS, "digits")):
        if count > most:
            yield (
                f"{count} {what} in it, more than {most}: what a method knows it learns from states; "
                "fitted weights go on the weights track"
            )
    yield from _names(every)
    for node in every:
        if len(elements := _elements(node)) > MAX_ELEMENTS:
            line = getattr(elements[0], "lineno", 0)
            yield f"line {line}: {len(elements)} elements in a row, more than {MAX_ELEMENTS}: this is data"


def _written(text: str) -> tuple[int, int, int]:
    """Return how many numbers a source has, their characters, and those of its comments."""
    numbers = digits = comments = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NUMBER:
            numbers, digits = numbers + 1, digits + len(token.string)
        elif token.type == tokenize.COMMENT:
            comments += len(token.string)
    return numbers, digits, comments


def _names(every: Sequence[ast.AST]) -> Iterator[str]:
    names = set()
    for node in every:
        for field in ("id", "attr", "arg", "name", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                names.add(value)
    total = sum(map(len, names))
    if total > MAX_NAMES:
        yield f"names of {total} characters in total, more than {MAX_NAMES}: data is not code"
    if long := [name for name in names if len(name) > MAX_NAME]:
        yield f"a name of {max(map(len, long))} characters, more than {MAX_NAME}"


def _elements(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return node.elts
    if isinstance(node, ast.Dict):
        return node.values
    if isinstance(node, ast.Call):
        return [*node.args, *(keyword.value for keyword in node.keywords)]
    if isinstance(node, ast.JoinedStr | ast.BoolOp):
        return node.values
    return node.comparators if isinstance(node, ast.Compare) else []


def _out_of_reach(tree: ast.Module, every: Sequence[ast.AST]) -> Iterator[str]:
    top = set(map(id, _top_level(tree.body)))
    called = {id(node.func) for node in every if isinstance(node, ast.Call)}
    for node in every:
        line = f"line {getattr(node, 'lineno', 0)}:"
        if isinstance(node, ast.Import | ast.ImportFrom):
            if id(node) not in top:
                yield f"{line} an import inside a function or class: import at the top, for a reviewer to see"
            yield from (f"{line} {problem}" for problem in _imports(node))
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
            yield f"{line} {node.id}: not for a submission, which learns from states alone"
        elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_ATTRIBUTES:
            yield f"{line} .{node.attr}: not for a submission, which learns from states alone"
        elif isinstance(node, ast.Name) and node.id in REFLECTION and id(node) not in called:
            yield f"{line} {node.id} under another name: write the attribute out"
        yield from (f"{line} {problem}" for problem in _reflection(node))


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            handlers = [part for handler in getattr(node, "handlers", []) for part in handler.body]
            yield from _top_level([*node.body, *node.orelse, *handlers])
        else:
            yield node


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    else:
        modules = ["." * node.level + (node.module or "")]
        for alias in node.names:
            if alias.name in FORBIDDEN_ATTRIBUTES | FORBIDDEN_NAMES:
                yield f"import of {alias.name}: not for a submission, which learns from states alone"
            if alias.name == "*":
                yield "import of *: name what is used"
    for module in modules:
        if module.split(".")[0] not in ROOTS:
            usual = ", ".join(sorted(ROOTS - {"__future__"}))
            yield f"import of {module}: a submission imports {usual}; ask for another in an issue"


def _reflection(node: ast.AST) -> Iterator[str]:
    """Attributes by names that are computed: no reader can tell what they reach."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFLECTION:
        name = node.args[1] if len(node.args) > 1 else None
        if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
            yield f"{node.func.id} by a computed name: write the attribute out"
        elif name.value in FORBIDDEN_ATTRIBUTES | FORBIDDEN_NAMES:
            yield f"{node.func.id} of {name.value}: not for a submission, which learns from states alone"
    elif isinstance(node, ast.Attribute) and node.attr in ("attrgetter", "methodcaller", "__getattribute__"):
        yield f".{node.attr}: attributes by computed names: write the attribute out"
    elif isinstance(node, ast.alias) and node.name in ("attrgetter", "methodcaller"):
        yield f"import of {node.name}: attributes by computed names: write the attribute out"
