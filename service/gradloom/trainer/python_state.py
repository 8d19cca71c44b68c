"""Finds Python-side state in user code that a traced step runs through once: numbers drawn by NumPy, counters, lists.

What a layer's `call`, a metric's `update_state` or a loss does in Python happens while the step is traced, and never
again: the graph holds the numbers and not the code that made them. Nothing is raised and nothing looks wrong. Here the
source is read for what can be seen; what hides behind a call into another module cannot.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

TRACED: Final = ("call", "__call__", "update_state", "result", "compute_loss", "update_step")
"""Methods through which a step, a metric or an update runs; what they call within their module is traced too."""

_SEED: Final = "keras.random with a keras.random.SeedGenerator of the layer"
_INSTEAD: Final[Mapping[str, str]] = {
    "numpy.random": _SEED,
    "random": _SEED,
    "secrets": _SEED,
    "uuid": _SEED,
    "time": "tf.timestamp()",
    "datetime": "tf.timestamp()",
}
_WEIGHT: Final = "a weight (add_weight with trainable=False) and its assign or assign_add"
_MUTATORS: Final = frozenset({"append", "extend", "insert", "pop", "popitem", "setdefault", "clear", "remove"})


@dataclass(frozen=True)
class Finding:
    """One place."""

    owner: str
    """The class, or the function."""
    file: str
    line: int
    what: str
    """The source of the place."""
    instead: str

    def __str__(self) -> str:
        place = f"line {self.line}" if self.file.startswith("<") else f"{self.file}, line {self.line}"
        return f"{self.owner}, {place}: `{self.what}` happens once, when the step is traced; use {self.instead}"


def findings(source: str, file: str, names: Sequence[str]) -> list[Finding]:
    """What is found in the classes and functions of these names in a module's source, by line."""
    module = _Module(ast.parse(source))
    found = {
        Finding(name, file, line, what, instead)
        for name in names
        for function in module.traced(name)
        for line, what, instead in _places(function, module)
    }
    return sorted(found, key=lambda finding: finding.line)


class _Module:
    """What a module's source defines at its top."""

    def __init__(self, tree: ast.Module):
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.variables = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        self.imports: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    self.imports[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom):
                self.imports.update((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)

    def traced(self, name: str) -> list[ast.FunctionDef]:
        """The function, or the class's methods that a step runs through, and what they call within the module."""
        methods = self._methods(name)
        pending = [self.functions[name]] if name in self.functions else []
        pending.extend(methods[root] for root in TRACED if root in methods)
        seen: list[ast.FunctionDef] = []
        while pending:
            function = pending.pop()
            if function in seen:
                continue
            seen.append(function)
            for node in ast.walk(function):
                if not isinstance(node, ast.Call):
                    continue
                if isinstance(node.func, ast.Name) and node.func.id in self.functions:
                    pending.append(self.functions[node.func.id])
                elif isinstance(node.func, ast.Attribute) and _is_of_self(node.func) and node.func.attr in methods:
                    pending.append(methods[node.func.attr])
        return seen

    def _methods(self, name: str) -> dict[str, ast.FunctionDef]:
        """Own methods and those of bases within the module."""
        methods: dict[str, ast.FunctionDef] = {}
        pending, seen = [name], set()
        while pending:
            node = self.classes.get(pending.pop(0))
            if node is None or node.name in seen:
                continue
            seen.add(node.name)
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    methods.setdefault(member.name, member)
            pending.extend(base.id for base in node.bases if isinstance(base, ast.Name))
        return methods


def _is_of_self(node: ast.AST) -> bool:
    """Whether a node is `self.something`."""
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def _places(function: ast.FunctionDef, module: _Module) -> Iterator[tuple[int, str, str]]:
    """Line, text and remedy of each place in a function."""
    rebound = {
        name for node in ast.walk(function) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names
    }
    for node in ast.walk(function):
        instead = _remedy(node, module, rebound)
        if instead:
            yield node.lineno, _text(node), instead  # type: ignore[attr-defined]


def _remedy(node: ast.AST, module: _Module, rebound: set[str]) -> str:
    if isinstance(node, ast.Call):
        return _remedy_of_call(node, module)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
    for target in targets:
        if isinstance(target, ast.Name) and target.id in rebound:
            return _WEIGHT
        if isinstance(target, ast.Subscript) and (_is_of_self(target.value) or _is_variable_of(target.value, module)):
            return _WEIGHT
        # What only keeps a value is harmless, or fails loudly.
        if _is_of_self(target) and (isinstance(node, ast.AugAssign) or _reads(node.value, target)):  # type: ignore[attr-defined]
            return _WEIGHT
    return ""


def _remedy_of_call(call: ast.Call, module: _Module) -> str:
    function = call.func
    if isinstance(function, ast.Name) and function.id == "print":
        return "tf.print"
    if isinstance(function, ast.Attribute) and function.attr in _MUTATORS:
        kept = _is_of_self(function.value) or _is_variable_of(function.value, module)
        return _WEIGHT if kept else ""
    name = _dotted(function, module.imports)
    return next((instead for prefix, instead in _INSTEAD.items() if f"{name}.".startswith(f"{prefix}.")), "")


def _is_variable_of(node: ast.AST, module: _Module) -> bool:
    return isinstance(node, ast.Name) and node.id in module.variables


def _reads(value: ast.AST, target: ast.AST) -> bool:
    text = ast.dump(target).replace("ctx=Store()", "ctx=Load()")
    return any(isinstance(node, ast.Attribute) and ast.dump(node) == text for node in ast.walk(value))


def _dotted(node: ast.AST, imports: Mapping[str, str]) -> str:
    """The full name of `np.random.normal`, by what the module imported; empty for what was not imported."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in imports:
        return ""
    return ".".join([imports[node.id], *reversed(parts)])


def _text(node: ast.AST) -> str:
    text = ast.unparse(node).splitlines()[0]
    return text if len(text) <= 60 else text[:57] + "..."
