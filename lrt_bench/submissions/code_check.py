"""Reads a submission's mapping.py without running it: its syntax tree tells what it defines and imports."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field

from lrt_bench.submissions import code_limits

BASES = {"Mapping", "LinearMapping", "FixedLinear", "NetworkMapping"}
MODULES = ("lrt_bench", "lrt_bench.errors")  # and lrt_bench.mappings with all below it
TARGET = "lrt_bench.mappings.target"  # fits that run the target
MAX_CLASSES = 50


@dataclass
class CodeReport:
    """What was found: the one class, problems that refuse the submission, notes for its reviewer."""

    class_name: str | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_code(data: bytes) -> CodeReport:
    """Look at a mapping.py."""
    report = CodeReport()
    try:
        _read(data, report)
    except UnicodeDecodeError:
        report.problems.append("not UTF-8 text")
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f"line {line}: " if line else ""
        report.problems.append(f"{where}not Python: {getattr(error, 'msg', error)}")
    except (RecursionError, MemoryError):
        report.problems.append("not Python that can be read: nested too deeply")
    return report


def _read(data: bytes, report: CodeReport) -> None:
    text = data.decode("utf-8")
    if hidden := {c for c in text if not c.isprintable() and c not in "\n\r\t\f"}:
        names = ", ".join(sorted(f"U+{ord(c):04X}" for c in hidden)[:5])
        report.problems.append(f"characters that cannot be seen ({names}): remove them")
        return
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    if encoding not in ("utf-8", "utf-8-sig"):  # Python would run other code than is read here
        report.problems.append(f"its first lines declare the encoding {encoding}: want UTF-8")
        return
    tree = ast.parse(text)
    _find_class(tree, report)
    _check_imports(tree, report)
    report.problems += list(dict.fromkeys(code_limits.problems(text, tree, list(ast.walk(tree)))))


def _running(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements that run: what is under `if TYPE_CHECKING` does not."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _running(node.orelse)
        elif isinstance(node, ast.If | ast.Try):
            yield from _running(node.body)
            yield from _running(node.orelse)
        else:
            yield node


def _check_imports(tree: ast.Module, report: CodeReport) -> None:
    for node in _running(tree.body):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = ["." * node.level + (node.module or "")]
        for module in modules:
            if f"{module}.".startswith(f"{TARGET}."):
                report.problems.append(
                    f"line {node.lineno}: {module}: a submission is given no model that its fit could run: "
                    "fit on the states alone"
                )
            root = module.split(".")[0]
            if root == "lrt_bench" and module not in MODULES and not module.startswith("lrt_bench.mappings"):
                report.problems.append(
                    f"line {node.lineno}: {module} is not there in the runner: import from lrt_bench or "
                    "lrt_bench.mappings"
                )


def _find_class(tree: ast.Module, report: CodeReport) -> None:
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if len(classes) > MAX_CLASSES:
        report.problems.append(f"{len(classes)} classes in it, more than {MAX_CLASSES}")
        return
    imported = _imported_bases(tree)
    mappings = {name: root for name in classes if (root := _root(name, classes, imported, {}))}
    used = {base.id for name in mappings for base in classes[name].bases if isinstance(base, ast.Name)}
    leaves = [name for name in mappings if name not in used]
    if len(leaves) != 1:
        names = ", ".join(sorted(leaves)[:5]) or "none"
        report.problems.append(
            f"want exactly one class that inherits from lrt_bench.Mapping or LinearMapping; found: {names}"
        )
        return
    report.class_name = leaves[0]
    _check_methods(leaves[0], mappings[leaves[0]], classes, report)


def _imported_bases(tree: ast.Module) -> dict[str, str]:
    """Return what names stand for a class or module of lrt_bench: local name -> its name there."""
    names: dict[str, str] = {}
    for node in _running(tree.body):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lrt_bench":
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "lrt_bench":
                    names[alias.asname or "lrt_bench"] = "lrt_bench"
    return names


def _root(
    name: str, classes: dict[str, ast.ClassDef], imported: dict[str, str], known: dict[str, str | None]
) -> str | None:
    """Return the class of lrt_bench that a class of this file descends from; each class is looked at once."""
    if name not in known:
        known[name] = None  # where classes go round in a circle
        known[name] = _root_of_bases(name, classes, imported, known)
    return known[name]


def _root_of_bases(
    name: str, classes: dict[str, ast.ClassDef], imported: dict[str, str], known: dict[str, str | None]
) -> str | None:
    for base in classes[name].bases:
        if isinstance(base, ast.Name) and base.id in classes:
            if root := _root(base.id, classes, imported, known):
                return root
        elif isinstance(base, ast.Name) and base.id in imported:
            if imported[base.id] in BASES or imported[base.id] != imported[base.id].lower():
                return imported[base.id]
        elif isinstance(base, ast.Attribute):
            start: ast.expr = base
            while isinstance(start, ast.Attribute):
                start = start.value
            if isinstance(start, ast.Name) and start.id in imported:
                return base.attr
    return None


def _check_methods(name: str, root: str, classes: dict[str, ast.ClassDef], report: CodeReport) -> None:
    defined: set[str] = set()
    queue, seen = [name], set()
    while queue:
        current = queue.pop()
        if current in seen or current not in classes:
            continue
        seen.add(current)
        node = classes[current]
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        defined |= {item.name for item in node.body if isinstance(item, functions)}
        queue += [base.id for base in node.bases if isinstance(base, ast.Name)]
    if "transfer" in defined:
        report.problems.append(
            f"{name} defines transfer: a vector is carried over by the protocol, not the method"
        )
    if root == "Mapping" and (missing := {"fit", "__call__"} - defined):
        report.problems.append(f"{name} does not define {' and '.join(sorted(missing))}")
    if root == "LinearMapping" and not {"solve", "fit"} & defined:
        report.problems.append(f"{name} does not define solve")
    if root == "LinearMapping" and "__call__" in defined:
        report.problems.append(f"{name} defines __call__: a linear map is its weight and bias")
