"""Whatever the bytes: a spec or InvalidInput with places and hints, never anything else."""

import string
from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st

from zenkei import spec
from zenkei.model.errors import InvalidInput
from zenkei.model.job import JobSpec
from zenkei.spec import limits
from zenkei.spec.keys import walk

PAGE = b"""
version: 1
name: &n digits
command: |
  python train.py --lr ${{ matrix.lr }} ${{ array.index }}
env: {python: 3.10, packages: [numpy>=2], vars: {A: no, B: "${{ matrix.lr }}"}, build: true}
resources: {nodes: 2, gpus: 4, gpu_type: [A100], cpus: 2.5, memory: 16GiB, tmp: 5GB}
launcher: mpi
matrix: {lr: [0.10, 1e-3], name: [*n, b]}
array: 3
time_limit: 1h30m
retry: {limit: 2, backoff: 1s, rules: [{exit_code: [2, 1], action: retry}]}
after: {ok: [41, 42.10], any: 40}
secrets: [WANDB, {name: a.b, file: FOO}]
constraints: {rack: [b, a], x: y}
labels: {<<: {a: b}, c: d}
code: {exclude: ["*.ckpt"]}
outputs: out
"""
TOKENS = [
    *(key.name for _, key in walk()),
    *("*n", "&n ", "<<", "- ", ": ", "? ", "[", "]", "{", "}", "|", ">", "!!x ", "---\n", "...\n"),
    *("'", '"', "#", "\t", "\n  ", "\x00", "\ufeff", "\u202e", "~", "null", "1:30", "0x1", ".inf"),
    *("${{", "}}", "%YAML 1.1\n", "\\", "\r", "\x85", "\u2028", "9" * 5000, "1" * 30 + ".5GiB"),
]


def attempt(make: Callable[[], JobSpec]) -> JobSpec | InvalidInput:
    try:
        return make()
    except InvalidInput as error:
        return error


def check(text: bytes) -> None:
    made = attempt(lambda: spec.parse(text, file="job.yaml", read=lambda path: text))
    if isinstance(made, JobSpec):
        assert spec.from_canonical(spec.canonical(made)) == made
        assert spec.vouched(spec.canonical(made)) == made
        for params in spec.members(made)[:3]:
            assert all("\0" not in word for word in spec.command(made, params))
            assert all("\0" not in value for value in spec.variables(made, params).values())
        return
    assert made.code == "invalid-job-file"
    assert 1 <= len(made.problems) <= limits.PROBLEMS
    for problem in made.problems:
        assert problem.at is not None
        assert problem.at.line >= 1
        assert problem.at.column >= 1
        assert problem.hint
        assert problem.message.isprintable()
        assert len(problem.message) < 400


def test_the_page_that_is_mutated_is_valid():
    assert spec.parse(PAGE, file="job.yaml").array == 3


@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbfcommand: x")
@example(b"command: \xff")
@example(b"\xff\xfec\x00")
@example(b"command: !<tag:%FF> x")
@example(b"? \n? \n")
@example(b'command: "a\\0b"')
@example(b'command: ["a", "b\\0"]\nenv: {vars: {A: "\\0"}}\nmatrix: {a: ["\\0"]}')
def test_arbitrary_bytes(text: bytes):
    check(text)


@given(st.text(alphabet=string.printable + "あ\u202e\x85", max_size=200))
def test_arbitrary_text(text: str):
    check(text.encode())


@given(st.lists(st.sampled_from(TOKENS), max_size=40))
def test_words_of_yaml_and_of_job_files_in_any_order(tokens: list[str]):
    check("".join(tokens).encode())


@given(
    st.integers(min_value=0, max_value=len(PAGE)),
    st.integers(min_value=0, max_value=12),
    st.one_of(st.binary(max_size=4), st.sampled_from(TOKENS).map(str.encode)),
)
def test_a_valid_file_with_a_piece_replaced(at: int, cut: int, piece: bytes):
    check(PAGE[:at] + piece + PAGE[at + cut :])


ANY = st.characters()  # lone surrogates too: flags hold what the terminal sent
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(ANY, max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from([k.name for _, k in walk()]), inner, max_size=4),
    ),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from([key.name for _, key in walk()]), VALUES, max_size=8))
@example({"command": ["./caf\udce9"]})
@example({"command": "x", "env": {"vars": {"A": "\udce9"}}, "name": "\udce9"})
def test_any_values_as_flags(values: dict[str, object]):
    made = attempt(lambda: spec.from_flags(values))
    if isinstance(made, InvalidInput):
        assert made.problems
        assert all(problem.at is None for problem in made.problems)
        assert all(problem.message.isprintable() for problem in made.problems)


@given(st.dictionaries(st.text(min_size=1, max_size=30), st.text(max_size=60), max_size=6))
@example({"train.py": "import mpi4py, torch\n", "requirements.txt": "numpy"})
@example({"pyproject.toml": "[project]\ndependencies = []", "uv.lock": ""})
@example({"on": "", "a b; rm -rf.py": "", "-x.py": "", "${{ x }}.py": ""})
@example({".python-version": "3.12\n", 'it\'s: "n".ipynb': ""})
def test_the_first_file_is_always_a_job_file(files: dict[str, str]):
    for directory in ("", "on", "12", "~", "a: b", "ディレクトリ", "\x1b[0m"):
        page = spec.init(files, directory=directory)
        parsed = spec.parse(page.encode(), file="job.yaml", read=lambda p: files[p].encode())
        assert parsed.command
