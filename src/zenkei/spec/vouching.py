"""A canonical spec from a stranger: taken only if a job file could have said it.

Called for specs that come with capsules. The canonical form is written by zenkei and read without
asking much; here the spec is put back into the keys of a job file, read as one, with every limit
and rule, and must come out as it was.
"""

from __future__ import annotations

from typing import Any, Final

from zenkei.model.dataset import DatasetRequest
from zenkei.model.errors import InvalidInput
from zenkei.model.job import CheckpointPolicy, JobSpec, RetryPolicy
from zenkei.spec.codec import canonical, from_canonical
from zenkei.spec.editing import wishes
from zenkei.spec.parsing import from_flags

Values = dict[str, Any]
MOST_CHARS: Final = 16 << 20
_LOCK: Final = "pylock.toml"
_REQUIREMENTS: Final = "requirements.txt"


def vouched(text: str) -> JobSpec:
    """Raises InvalidInput (`bad-canonical-spec`)."""
    if len(text) > MOST_CHARS:
        raise _refused("it is too long")
    try:
        spec = from_canonical(text)
        files = {_REQUIREMENTS: spec.env.requirements, _LOCK: spec.env.lock}
        read = from_flags(values(spec), read=lambda path: files[path].encode())
    except (InvalidInput, OverflowError, ValueError, TypeError, KeyError) as error:
        raise _refused(_why(error)) from error
    again = _with_texts(read, spec)
    if canonical(again) != text or again != spec:
        raise _refused("it is not as zenkei writes it")
    return spec


def _with_texts(read: JobSpec, spec: JobSpec) -> JobSpec:
    """Lock files are kept as they are, whatever their kind."""
    from dataclasses import replace

    return replace(
        read, env=replace(read.env, requirements=spec.env.requirements, lock=spec.env.lock)
    )


def values(spec: JobSpec) -> Values:
    """The keys of a job file that means `spec`, with all of them written out."""
    found: Values = {
        "name": spec.name,
        "command": spec.command if isinstance(spec.command, str) else list(spec.command),
        "project": spec.project,
        "env": _env(spec),
        "launcher": spec.launcher.value,
        "code": _code(spec),
        "seed": spec.seed,
        "deterministic": spec.deterministic,
        "retry": _retry(spec.retry),
        "grace": _time(spec.grace_s),
        "after": _after(spec),
        "array": spec.array or None,
        "matrix": {name: list(texts) for name, texts in spec.matrix.items()} or None,
        "labels": dict(spec.labels) or None,
        "constraints": {name: list(texts) for name, texts in spec.constraints.items()} or None,
        "secrets": [
            {"name": use.name, "file" if use.as_file else "env": use.variable}
            for use in spec.secrets
        ],
        "outputs": spec.outputs,
        "checkpoint": _checkpoint(spec.checkpoint),
        "hang": _hang(spec),
        "rdma": spec.rdma,
        "datasets": [_dataset(one) for one in spec.datasets],
    }
    for key, value in wishes(spec).items():
        home, _, name = key.rpartition(".")
        (found.setdefault(home, {}) if home else found)[name] = value
    return {key: value for key, value in found.items() if value is not None}


def _env(spec: JobSpec) -> Values:
    env = spec.env
    found: Values = {
        "python": env.python or None,
        "packages": list(env.packages),
        "vars": dict(env.vars) or None,
        "build": env.build,
        # what looks like a secret was called public where it was written
        "public": list(env.vars)[:100],
    }
    return {key: value for key, value in found.items() if value not in (None, [])}


def _code(spec: JobSpec) -> bool | Values:
    code = spec.code
    lists = {"include": list(code.include), "exclude": list(code.exclude)}
    wanted = {key: value for key, value in lists.items() if value}
    return wanted or code.enabled


def _retry(retry: RetryPolicy) -> Values:
    rules = []
    for rule in retry.rules:
        made: Values = {"action": rule.action.value}
        if rule.exit_codes:
            made["exit_code"] = list(rule.exit_codes)
        if rule.pattern:
            made["log"] = rule.pattern
        rules.append(made)
    return {"limit": retry.limit, "backoff": _time(retry.backoff_s), "rules": rules}


def _checkpoint(policy: CheckpointPolicy | None) -> bool | Values:
    if policy is None:
        return False
    found: Values = {
        "signal": policy.signal or "none",
        "ranks": policy.ranks.value,
        "grace": _time(policy.grace_s),
        "keep": policy.keep,
    }
    if policy.every_s:
        found["every"] = _time(policy.every_s)
    return found


def _hang(spec: JobSpec) -> bool | Values:
    hang = spec.hang
    if not hang.enabled:
        return False
    found: Values = {
        "action": hang.action.value,
        "quiet": _time(hang.quiet_s),
        "startup": _time(hang.startup_s),
    }
    if hang.timeout_s:
        found["timeout"] = _time(hang.timeout_s)
    return found


def _after(spec: JobSpec) -> Values | None:
    found: dict[str, list[str]] = {}
    for dependency in spec.after:
        found.setdefault(dependency.after.value, []).append(str(dependency.job))
    return found or None


def _dataset(request: DatasetRequest) -> Values:
    found: Values = {"name": request.name, "at": request.at}
    if request.version.startswith("@"):
        found["version"] = request.version[1:]
    elif request.version:
        found["tag"] = request.version.removeprefix(":")
    if request.split is not None:
        split = request.split
        found["split"] = {**dict(split.parts), "seed": split.seed, "by": split.by}
    if request.shuffle is not None:
        found["shuffle"] = {"seed": request.shuffle.seed, "epoch": request.shuffle.epoch}
    return found


def _time(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _why(error: Exception) -> str:
    if isinstance(error, InvalidInput) and error.problems:
        return error.problems[0].message
    return str(error)[:500]


def _refused(why: str) -> InvalidInput:
    return InvalidInput(
        "bad-canonical-spec",
        f"the spec in it cannot be a job's: {why}",
        hint="it was written by a newer zenkei, or altered",
    )
