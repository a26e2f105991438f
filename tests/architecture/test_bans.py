"""The control plane never runs or unpickles what a user sent, and never hands text to a shell."""

import ast

import pytest

from tests.architecture.source_tree import parse, python_files, short

BANNED_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
BANNED_ATTRIBUTES = {
    ("os", "system"),
    ("os", "popen"),
    ("subprocess", "getoutput"),
    ("subprocess", "getstatusoutput"),
    ("asyncio", "create_subprocess_shell"),
    ("yaml", "load_all"),
    ("yaml", "unsafe_load"),
    ("yaml", "unsafe_load_all"),
    ("yaml", "full_load"),
    ("yaml", "full_load_all"),
    ("joblib", "load"),
    ("jsonpickle", "decode"),
}
BANNED_NAMES = {
    "UnsafeLoader",
    "CUnsafeLoader",
    "FullLoader",
    "CFullLoader",
    "PickleType",
    "allow_pickle",
}
# subclasses of these build nothing but plain values
SAFE_LOADERS = ("SafeLoader", "CSafeLoader")


def violations(tree: ast.Module) -> list[str]:
    """What of the banned things stands in `tree`, with lines."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            found += [(line, a.name) for a in node.names if _top(a.name) in BANNED_MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [(line, what) for what in _imported(node)]
        elif isinstance(node, ast.Call):
            found += [(line, what) for what in _called(node)]
        elif isinstance(node, ast.Attribute):
            found += [(line, what) for what in _named(node)]
    return [f"{line}: {what}" for line, what in sorted(found)]


def _top(name: str) -> str:
    return name.partition(".")[0]


def _imported(node: ast.ImportFrom) -> list[str]:
    module = node.module or ""
    names = [alias.name for alias in node.names]
    if _top(module) in BANNED_MODULES:
        return [f"from {module}"]
    return [
        f"from {module} import {name}"
        for name in names
        if (module, name) in BANNED_ATTRIBUTES or name in BANNED_NAMES
    ]


def _called(node: ast.Call) -> list[str]:
    found = []
    name = ast.unparse(node.func)
    if name in BANNED_CALLS:
        found.append(f"{name}()")
    if name == "yaml.load" and not _loads_safely(node):
        found.append("yaml.load without a safe loader")
    for keyword in node.keywords:
        is_off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg in ("shell", "allow_pickle") and not is_off:
            found.append(f"{keyword.arg}=")
    return found


def _loads_safely(node: ast.Call) -> bool:
    loaders = [k.value for k in node.keywords if k.arg == "Loader"] + node.args[1:2]
    return any(ast.unparse(loader).endswith(SAFE_LOADERS) for loader in loaders)


def _named(node: ast.Attribute) -> list[str]:
    owner = ast.unparse(node.value)
    banned = (owner, node.attr) in BANNED_ATTRIBUTES or node.attr in BANNED_NAMES
    return [f"{owner}.{node.attr}"] if banned else []


def test_the_product_never_executes_or_unpickles_data():
    found = {short(path): violations(parse(path)) for path in python_files("src")}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "import marshal",
        "import dill",
        "import yaml; yaml.load(text)",
        "import yaml; yaml.load(text, Loader=yaml.Loader)",
        "import yaml; yaml.load(text, yaml.UnsafeLoader)",
        "import yaml; yaml.unsafe_load(text)",
        "from yaml import unsafe_load",
        "numpy.load(f, allow_pickle=True)",
        "numpy.load(f, allow_pickle=flag)",
        "eval(text)",
        "exec(text)",
        "compile(text, 'x', 'exec')",
        "__import__(name)",
        "subprocess.run(line, shell=True)",
        "subprocess.Popen(line, shell=flag)",
        "os.system(line)",
        "run = os.popen",
        "await asyncio.create_subprocess_shell(line)",
        "Column('x', sqlalchemy.PickleType)",
    ],
)
def test_the_ban_bites_on(planted):
    assert violations(ast.parse(planted)) != []


@pytest.mark.parametrize(
    "allowed",
    [
        "yaml.load(text, Loader=yaml.CSafeLoader)",
        "yaml.load(text, Loader=StrictSafeLoader)",
        "numpy.load(f, allow_pickle=False)",
        "subprocess.run(['ls'], shell=False)",
        "re.compile('x')",
        "graph.compile()",
    ],
)
def test_the_ban_leaves_alone(allowed):
    assert violations(ast.parse(allowed)) == []
