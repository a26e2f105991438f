"""Members of a sweep, and the `${{ ... }}` templates that tell them apart.

`members` is called at submission, `command` and `variables` at launch. Only `matrix.NAME` and
`array.index` exist, and they are put in as the author wrote them: in a text command the shell reads
them again (as it does any text), in a list of arguments they stay one argument. The safe way into a
shell text is the variable: `"$ZENKEI_PARAM_LR"`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Final

from zenkei.model.errors import InvalidInput
from zenkei.model.job import JobSpec, Launcher
from zenkei.spec.launching import with_python
from zenkei.spec.problems import show

INDEX: Final = "array.index"
"""The array's place among a member's parameters; no matrix key can have a dot."""
PARAM_PREFIX: Final = "ZENKEI_PARAM_"
INDEX_VARIABLE: Final = "ZENKEI_ARRAY_INDEX"
SHELL: Final = ("/bin/sh", "-ec")
DETERMINISTIC: Final = {
    "PYTHONHASHSEED": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "TF_DETERMINISTIC_OPS": "1",
    "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
}
"""Order of sets; cuBLAS, TensorFlow and XLA (JAX) kernels. What has no variable is the program's:
`torch.use_deterministic_algorithms(True)`.
"""
_TEMPLATE: Final = re.compile(r"\$\{\{[ \t]*([A-Za-z0-9_.\-]{1,80})[ \t]*\}\}")
_OPENING: Final = "${{"


def members(spec: JobSpec) -> tuple[dict[str, str], ...]:
    """The parameters of each member, in order: last matrix key fastest, then the array's index.

    One empty dict if the job is no sweep. Keys are matrix names and `array.index`.
    """
    keys = tuple(spec.matrix)
    points = itertools.product(*spec.matrix.values())
    if not spec.array:
        return tuple(dict(zip(keys, point, strict=True)) for point in points)
    return tuple(
        {**dict(zip(keys, point, strict=True)), INDEX: str(index)}
        for point in points
        for index in range(spec.array)
    )


def command(spec: JobSpec, params: Mapping[str, str]) -> tuple[str, ...]:
    """The argv of one member. Raises InvalidInput if `params` lacks a parameter that it names."""
    asked = with_python(spec.command) if spec.launcher is Launcher.TORCHRUN else spec.command
    if isinstance(asked, str):
        return (*SHELL, _put_in(asked, params))
    return tuple(_put_in(word, params) for word in asked)


def variables(spec: JobSpec, params: Mapping[str, str]) -> dict[str, str]:
    """`env.vars` of one member, and its parameters as ZENKEI_PARAM_* and ZENKEI_ARRAY_INDEX.

    With `deterministic`, also the switches that make libraries repeat themselves, unless the author
    set them.
    """
    found = dict(DETERMINISTIC) if spec.deterministic else {}
    found |= {name: _put_in(value, params) for name, value in spec.env.vars.items()}
    for name, value in params.items():
        found[INDEX_VARIABLE if name == INDEX else param_variable(name)] = value
    return found


def param_variable(parameter: str) -> str:
    """`learning-rate` is ZENKEI_PARAM_LEARNING_RATE."""
    return PARAM_PREFIX + parameter.upper().replace("-", "_")


def known_names(matrix: Iterable[str], array: int) -> list[str]:
    """What templates may name in a job with these parameters."""
    return [f"matrix.{name}" for name in matrix] + ([INDEX] if array else [])


def unknown_templates(text: str, known: Iterable[str]) -> list[str]:
    """Each `${{ ... }}` of `text` that names nothing known, as written (up to its end)."""
    if _OPENING not in text:
        return []
    allowed, bad, at = set(known), [], 0
    while (at := text.find(_OPENING, at)) >= 0:
        match = _TEMPLATE.match(text, at)
        if match is None:
            end = text.find("}}", at)
            bad.append(text[at : end + 2] if end >= 0 else text[at : at + 80])
        elif match[1] not in allowed:
            bad.append(match[0])
        at += len(_OPENING)
    return bad


def template_name(template: str) -> str:
    """What stands between the braces."""
    return template.removeprefix(_OPENING).removesuffix("}}").strip()


def longest_bytes(text: str, widths: Mapping[str, int]) -> int:
    """Upper bound of `text` in bytes after replacement. widths: longest value by template name."""
    found = _TEMPLATE.findall(text)
    return len(text.encode()) + sum(widths.get(name, 0) for name in found)


def _put_in(text: str, params: Mapping[str, str]) -> str:
    if _OPENING not in text:
        return text

    def value(match: re.Match[str]) -> str:
        found = params.get(match[1].removeprefix("matrix."))
        if found is None:
            raise InvalidInput(
                "missing-parameter",
                f"the job needs a value for `{show(match[1])}`",
                hint=f"parameters given: {', '.join(params) or 'none'}",
            )
        return found

    return _TEMPLATE.sub(value, text)
