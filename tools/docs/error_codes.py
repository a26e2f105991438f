"""Every error code of the product, found in its source by reading the syntax tree.

Called by `errors_page` and by tests/docs. A code is the first argument of a class of the error tree
(`model.errors.ZenkeiError` and `client.failure.Failure` with all that derive from them), `code=` of
a `Problem`, or a member of an enum named `Code`. Where a helper passes its own parameter on, the
calls of the helper are read instead. What cannot be read is reported: a page that misses a code
silently would be worse than none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOTS = frozenset({"ZenkeiError", "Failure"})
CODE_ENUM = "Code"


@dataclass(frozen=True, kw_only=True, order=True)
class Use:
    """One place that can raise a code. kind: the class of the error tree, or `Problem`."""

    code: str
    kind: str
    file: str
    line: int


@dataclass(kw_only=True)
class Found:
    """uses: by code. unread: places whose code is not a text in the source."""

    uses: list[Use] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def codes(self) -> frozenset[str]:
        return frozenset(use.code for use in self.uses)


@dataclass(frozen=True, kw_only=True)
class _Helper:
    """A function that passes a parameter on as a code: its calls carry the text."""

    name: str
    parameter: str
    position: int
    kind: str
    file: str


def scan(paths: Iterable[Path], root: Path) -> Found:
    """Codes in `paths`; places are shown relative to `root`."""
    trees = [(str(p.relative_to(root)), ast.parse(p.read_text("utf-8"))) for p in paths]
    classes = _error_classes(tree for _file, tree in trees)
    own = _with_own_code([tree for _file, tree in trees], classes)
    found = Found()
    helpers: list[_Helper] = []
    for file, tree in trees:
        for call, scope in _calls(tree):
            kind = _called_name(call)
            if kind in classes - own or kind == "Problem":
                _note(call, kind, 0, "code", scope, file, found, helpers)
            elif _is_super_init(call) and scope.owner in own:
                _note(call, scope.owner, 0, "code", scope, file, found, helpers)
        found.uses += _enum_members(file, tree)
    _follow(helpers, trees, found)
    found.uses.sort()
    return found


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """Where a call stands: class and function around it."""

    owner: str = ""
    function: ast.FunctionDef | None = None


def _calls(tree: ast.AST, scope: _Scope = _Scope()) -> Iterator[tuple[ast.Call, _Scope]]:
    for node in ast.iter_child_nodes(tree):
        inner = scope
        if isinstance(node, ast.ClassDef):
            inner = _Scope(owner=node.name)
        elif isinstance(node, ast.FunctionDef):
            inner = _Scope(owner=scope.owner, function=node)
        if isinstance(node, ast.Call):
            yield node, scope
        yield from _calls(node, inner)


def _error_classes(trees: Iterable[ast.AST]) -> frozenset[str]:
    """Names of the error classes: the roots and whatever derives from them, over all files."""
    bases: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                names = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                bases.setdefault(node.name, set()).update(names)
    known = set(ROOTS)
    while True:
        more = {name for name, of in bases.items() if of & known} - known
        if not more:
            return frozenset(known)
        known |= more


def _with_own_code(trees: list[ast.Module], classes: frozenset[str]) -> frozenset[str]:
    """Error classes whose `__init__` brings the code: what is given to them is the message."""
    nodes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    own = {
        node.name
        for node in nodes
        if node.name in classes - ROOTS
        for call, _scope in _calls(node)
        if _is_super_init(call) and call.args and _texts(call.args[0])
    }
    while True:
        bases = {n.name for n in nodes for b in n.bases if ast.unparse(b).split(".")[-1] in own}
        if bases <= own:
            return frozenset(own)
        own |= bases


def _note(
    call: ast.Call,
    kind: str,
    position: int,
    parameter: str,
    scope: _Scope,
    file: str,
    found: Found,
    helpers: list[_Helper],
) -> None:
    value = _argument(call, position, parameter)
    if value is None:
        return  # a class of the tree that brings its own code
    for text in _texts(value):
        found.uses.append(Use(code=text, kind=kind, file=file, line=call.lineno))
    if _texts(value) or _is_of_enum(value, scope) or _is_passing(value):
        return
    helper = _helper(value, scope, kind, file)
    if helper is not None:
        helpers.append(helper)
    else:
        found.unread.append(f"{file}:{call.lineno}: {ast.unparse(value)}")


def _argument(call: ast.Call, position: int, parameter: str) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == parameter:
            return keyword.value
    return call.args[position] if len(call.args) > position else None


def _texts(value: ast.expr) -> list[str]:
    """The texts that an expression can be: a constant, or either side of an `if`."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return [value.value]
    if isinstance(value, ast.IfExp):
        return [*_texts(value.body), *_texts(value.orelse)]
    return []


def _is_of_enum(value: ast.expr, scope: _Scope) -> bool:
    """`Code.NAME`, or `str(code)` of a parameter that is declared to be one."""
    if isinstance(value, ast.Attribute):
        return ast.unparse(value.value).endswith(CODE_ENUM)
    if not isinstance(value, ast.Call) or scope.function is None:
        return False
    arguments = (*scope.function.args.args, *scope.function.args.kwonlyargs)
    declared = {a.arg for a in arguments if a.annotation and ast.unparse(a.annotation) == CODE_ENUM}
    return [ast.unparse(argument) for argument in value.args] == [*declared][:1]


def _is_passing(value: ast.expr) -> bool:
    """A code that comes from another error, of an answer or of a part: found where that is made."""
    text = ast.unparse(value)
    return text.endswith(".code") or "'code'" in text


def _helper(value: ast.expr, scope: _Scope, kind: str, file: str) -> _Helper | None:
    function = scope.function
    if not isinstance(value, ast.Name) or function is None:
        return None
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    if value.id in [argument.arg for argument in function.args.kwonlyargs]:
        position = len(names) + 100
    elif value.id in names:
        position = names.index(value.id) - (names[0] in ("self", "cls"))
    else:
        return None
    name = scope.owner if function.name == "__init__" else function.name
    return _Helper(name=name, parameter=value.id, position=position, kind=kind, file=file)


def _follow(helpers: list[_Helper], trees: list[tuple[str, ast.Module]], found: Found) -> None:
    done: set[_Helper] = set()
    while helpers:
        helper = helpers.pop()
        if helper in done:
            continue
        done.add(helper)
        for file, tree in trees:
            for call, scope in _calls(tree):
                if _calls_helper(call, file, helper):
                    _note(
                        call,
                        helper.kind,
                        helper.position,
                        helper.parameter,
                        scope,
                        file,
                        found,
                        helpers,
                    )


def _calls_helper(call: ast.Call, file: str, helper: _Helper) -> bool:
    """A private helper is called in its own file only; others may share its name elsewhere."""
    is_near = file == helper.file or not helper.name.startswith("_")
    return is_near and _called_name(call) == helper.name


def _called_name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _is_super_init(call: ast.Call) -> bool:
    return ast.unparse(call.func) == "super().__init__"


def _enum_members(file: str, tree: ast.Module) -> list[Use]:
    return [
        Use(code=str(item.value.value), kind="Problem", file=file, line=item.lineno)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == CODE_ENUM
        for item in node.body
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant)
    ]
