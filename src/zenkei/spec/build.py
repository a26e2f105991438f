"""From the fields of a job file to a JobSpec: defaults, and the rules that join several keys.

Called by `parsing`. Everything with an order that means nothing is sorted here (packages, GPU
models, allowed values, dependencies, secrets), so that the same wish has the same hash.
"""

from __future__ import annotations

from typing import Any, Final

from zenkei.model.job import (
    After,
    CheckpointPolicy,
    CheckpointRanks,
    CodeRequest,
    Dependency,
    HangAction,
    HangPolicy,
    JobSpec,
    Launcher,
    ResourceRequest,
    RetryAction,
    RetryPolicy,
    RetryRule,
    SecretUse,
    Topology,
)
from zenkei.model.resources import WHOLE_GPU_MILLI, Request
from zenkei.spec import launching, limits, names
from zenkei.spec.datasets import build_datasets
from zenkei.spec.envfiles import Read, read_env
from zenkei.spec.expand import (
    INDEX,
    known_names,
    longest_bytes,
    param_variable,
    template_name,
    unknown_templates,
)
from zenkei.spec.kinds import TEMPLATE_MARK
from zenkei.spec.problems import CREDENTIAL, Code, Reading, listing, nearest, show
from zenkei.spec.shapes import Fields
from zenkei.spec.tree import Mapping, Node

DEFAULTS: Final = JobSpec(name="", command="")


def build(fields: Fields, to: Reading, read: Read | None) -> JobSpec:
    """The spec; meaningless if problems were recorded (the caller raises them)."""
    if not fields.wrote("command") and not _meant(to, "command"):
        hint = "add what runs, for example `command: python train.py`"
        to.add(fields.node, Code.MISSING_KEY, "`command` is missing", hint)
    command = _command(fields)
    if isinstance(command, tuple) and command and not command[0].strip():
        hint = "begin with the program; its arguments follow"
        to.add(fields.at("command"), Code.BAD_VALUE, "the first word of `command` is empty", hint)
    launcher = Launcher(fields.get("launcher", Launcher.NONE))
    env = read_env(fields.get("env"), to, read)
    matrix = _matrix(fields.get("matrix"), to)
    array = fields.get("array", 0)
    _check_members(fields, matrix, array, to)
    _check_templates(fields, matrix, array, to)
    resources = _resources(fields.get("resources"), launcher, to)
    launching.check(fields, command, launcher, resources, to)
    secrets = _secrets(fields, to)
    for use in secrets:
        if use.variable in env.vars:
            message = f"`{use.variable}` is set by `secrets` and by `env.vars`"
            to.add(fields.at("secrets"), Code.CONFLICT, message, "keep one of them")
    return JobSpec(
        name=fields.get("name") or names.default_job_name(to.path, command),
        command=command,
        project=fields.get("project", DEFAULTS.project),
        queue=fields.get("queue", DEFAULTS.queue),
        priority=fields.get("priority", DEFAULTS.priority),
        env=env,
        resources=resources,
        launcher=launcher,
        code=_code(fields.get("code")),
        seed=fields.get("seed"),
        deterministic=fields.get("deterministic", DEFAULTS.deterministic),
        retry=_retry(fields, resources.node.memory_bytes, to),
        time_limit_s=fields.get("time_limit"),
        grace_s=fields.get("grace", DEFAULTS.grace_s),
        after=_after(fields, to),
        array=array,
        matrix=matrix,
        labels={name: value for name, value, _, _ in _table(fields, "labels")},
        constraints={
            name: tuple(sorted({text for text, _ in values}))
            for name, values, _, _ in _table(fields, "constraints")
        },
        secrets=secrets,
        outputs=names.clean_path(fields.get("outputs", DEFAULTS.outputs)),
        checkpoint=_checkpoint(fields.get("checkpoint")),
        hang=_hang(fields.get("hang"), to),
        rdma=fields.get("rdma", False),
        topology=_topology(fields, to),
        datasets=build_datasets(
            fields, names.clean_path(fields.get("outputs", DEFAULTS.outputs)), to
        ),
    )


def _meant(to: Reading, key: str) -> bool:
    """True if a misspelled key was probably this one: one problem is enough."""
    return any(p.hint.startswith(f"did you mean `{key}`?") for p in to.problems)


def _table(fields: Fields, name: str) -> list[tuple[str, Any, Node, Any]]:
    table: Fields | None = fields.get(name)
    return [] if table is None else list(table.items())


def _command(fields: Fields) -> str | tuple[str, ...]:
    found = fields.get("command", "")
    return found if isinstance(found, str) else tuple(text for text, _ in found)


def _resources(fields: Fields | None, launcher: Launcher, to: Reading) -> ResourceRequest:
    if fields is None:
        return ResourceRequest()
    milli = fields.get("gpus", 0)
    nodes, least = _nodes(fields, to)
    count, share = divmod(milli, WHOLE_GPU_MILLI)
    if count and share:
        hint = "ask for whole GPUs (1, 2, 8) or for a share of one (0.5)"
        message = f"`resources.gpus` cannot be {milli / 1000:g}"
        to.add(fields.at("gpus"), Code.BAD_VALUE, message, hint)
    if share and not count and nodes > 1:
        message = f"a share of a GPU is for one node, the job asks for {nodes}"
        to.add(fields.at("gpus"), Code.CONFLICT, message, "ask for whole GPUs, or for one node")
    if "gpu_type" in fields and not milli and not fields.wrote("gpus"):
        message = "`resources.gpu_type` is given, but no GPUs are asked for"
        to.add(fields.at("gpu_type"), Code.CONFLICT, message, "add `gpus: 1`")
    per_gpu = count if launcher in (Launcher.MPI, Launcher.TORCHRUN) and not share else 0
    return ResourceRequest(
        nodes=nodes,
        least=least,
        ranks=fields.get("ranks", max(1, min(per_gpu, limits.RANKS))),
        node=Request(
            cpu_milli=fields.get("cpus", 1000),
            memory_bytes=fields.get("memory", 0),
            tmp_bytes=fields.get("tmp", 0),
            gpu_count=count or (1 if share else 0),
            gpu_milli=share or (WHOLE_GPU_MILLI if count else 0),
            gpu_kinds=tuple(sorted({text for text, _ in fields.get("gpu_type", ())})),
        ),
    )


def _nodes(fields: Fields, to: Reading) -> tuple[int, int]:
    """How many at most, and at least (0: the same)."""
    found = fields.get("nodes", 1)
    if isinstance(found, int):
        return found, 0
    if "max" not in found:
        if _understood(found):
            message = "`resources.nodes` has no `max`"
            to.add(found.node, Code.MISSING_KEY, message, "write `nodes: {min: 2, max: 8}`")
        return found.get("min", 1), 0
    least, most = found.get("min", 1), found.get("max")
    if least > most:
        message = f"`resources.nodes.min` is {least}, which is more than `max`, {most}"
        to.add(found.at("min"), Code.CONFLICT, message, "the smaller number is `min`")
    return most, least if least < most else 0


def _understood(found: Fields) -> bool:
    """Whether nothing was refused in it: one problem is enough."""
    return not isinstance(found.node, Mapping) or len(found.node.pairs) == len(found)


def _topology(fields: Fields, to: Reading) -> Topology:
    found = fields.get("topology")
    if found is None:
        return Topology()
    if isinstance(found, str):
        return Topology(level=found)
    if found.wrote("required") and found.wrote("preferred"):
        message = "`topology` has a level that is required and one that is preferred"
        to.add(fields.at("topology"), Code.CONFLICT, message, "keep one of them")
    elif not len(found) and _understood(found):
        message = "`topology` names no level"
        to.add(fields.at("topology"), Code.MISSING_KEY, message, "write `topology: rack`")
    required = "required" in found
    return Topology(level=found.get("required" if required else "preferred", ""), required=required)


def _code(found: bool | Fields | None) -> CodeRequest:
    if found is None or isinstance(found, bool):
        return CodeRequest(enabled=found is not False)
    return CodeRequest(
        include=tuple(text for text, _ in found.get("include", ())),
        exclude=tuple(text for text, _ in found.get("exclude", ())),
    )


def _retry(fields: Fields, memory_bytes: int, to: Reading) -> RetryPolicy:
    found = fields.get("retry", 0)
    if isinstance(found, int):
        return RetryPolicy(limit=found)
    rules = []
    for rule, node in found.get("rules", ()):
        _check_rule(rule, node, to)
        if "action" in rule:
            made = RetryRule(
                action=RetryAction(rule.get("action")),
                exit_codes=tuple(sorted({code for code, _ in rule.get("exit_code", ())})),
                pattern=rule.get("log", ""),
            )
            rules.append(made)
    doubles = any(rule.action is RetryAction.MORE_MEMORY for rule in rules)
    if doubles and not memory_bytes and not to.problems:
        message = "`retry.rules` ask for more memory, but `resources.memory` is not given"
        to.add(found.at("rules"), Code.CONFLICT, message, "add `memory: 16GiB` to `resources`")
    if "limit" not in found and any(rule.action is not RetryAction.GIVE_UP for rule in rules):
        message = (
            "`retry.rules` say retry, but `retry.limit` is missing, so nothing would be retried"
        )
        to.add(found.at("rules"), Code.MISSING_KEY, message, "add `limit: 3`")
    return RetryPolicy(
        limit=found.get("limit", 0), backoff_s=found.get("backoff", 1.0), rules=tuple(rules)
    )


def _check_rule(rule: Fields, node: Node, to: Reading) -> None:
    has_code = rule.wrote("exit_code") or rule.wrote("log")
    missing = "" if rule.wrote("action") else "action"
    missing = missing if has_code else "exit_code` or `log"
    if missing:
        message = f"a rule of `retry.rules` needs `{missing}`"
        to.add(node, Code.MISSING_KEY, message, "write `- {exit_code: 75, action: retry}`")


def _checkpoint(found: bool | Fields | None) -> CheckpointPolicy | None:
    if found is None or found is False:
        return None
    if found is True:
        return CheckpointPolicy()
    default = CheckpointPolicy()
    signal = found.get("signal", default.signal)
    return CheckpointPolicy(
        signal="" if signal == "none" else signal,
        ranks=CheckpointRanks(found.get("ranks", default.ranks)),
        grace_s=found.get("grace", default.grace_s),
        every_s=found.get("every", default.every_s),
        keep=found.get("keep", default.keep),
    )


def _hang(found: bool | Fields | None, to: Reading) -> HangPolicy:
    default = HangPolicy()
    if found is None or isinstance(found, bool):
        return default if found is not False else HangPolicy(enabled=False)
    timeout_s = found.get("timeout", default.timeout_s)
    quiet_s = found.get("quiet", min(default.quiet_s, timeout_s or default.quiet_s))
    if timeout_s and timeout_s < quiet_s:
        message = (
            f"`hang.timeout` ({timeout_s:g} s) is shorter than `hang.quiet` ({quiet_s:g} s),"
            " below which nothing is a hang"
        )
        to.add(found.at("timeout"), Code.CONFLICT, message, "raise it, or lower `quiet`")
    return HangPolicy(
        action=HangAction(found.get("action", default.action)),
        quiet_s=quiet_s,
        startup_s=found.get("startup", max(quiet_s, default.startup_s)),
        timeout_s=timeout_s,
    )


def _after(fields: Fields, to: Reading) -> tuple[Dependency, ...]:
    found = fields.get("after")
    if found is None:
        return ()
    if isinstance(found, Fields):
        asked = [(After(n), job, at) for n, jobs, _, _ in found.items() for job, at in jobs]
    elif isinstance(found, list):
        asked = [(After.OK, job, at) for job, at in found]
    else:
        asked = [(After.OK, found, fields.at("after"))]
    chosen: dict[Any, After] = {}
    for after, job, node in asked:
        if chosen.setdefault(job, after) is not after:
            message = f"job {job} stands under `{chosen[job]}` and under `{after}` of `after`"
            to.add(node, Code.CONFLICT, message, "keep one of them")
    return tuple(Dependency(job=job, after=chosen[job]) for job in sorted(chosen))


def _matrix(fields: Fields | None, to: Reading) -> dict[str, tuple[str, ...]]:
    matrix: dict[str, tuple[str, ...]] = {}
    variables: dict[str, str] = {}
    for name, values, _, key in [] if fields is None else list(fields.items()):
        variable = param_variable(name)
        if variables.setdefault(variable, name) != name:
            message = f"`{name}` and `{variables[variable]}` would both be ${variable}"
            to.add(key, Code.CONFLICT, message, "rename one of them")
        texts: dict[str, None] = {}
        for text, at in values:
            if text in texts:
                message = f"`{show(text)}` stands twice in `matrix.{name}`"
                to.add(at, Code.CONFLICT, message, "to repeat a run, use `array`")
            texts[text] = None
            if TEMPLATE_MARK in text or CREDENTIAL.search(text):
                message = f"`{show(text)}` cannot be a value of `matrix`"
                hint = "values are plain texts: no templates, no credentials"
                to.add(at, Code.BAD_VALUE, message, hint)
        matrix[name] = tuple(texts)
    return matrix


def _check_members(
    fields: Fields, matrix: dict[str, tuple[str, ...]], array: int, to: Reading
) -> None:
    count = max(1, array)
    for values in matrix.values():
        count *= max(1, len(values))
    if count > limits.MEMBERS:
        node = fields.at("matrix" if matrix else "array")
        message = f"the job would have {count} members, the limit is {limits.MEMBERS}"
        to.add(node, Code.TOO_LARGE, message, "split it into several jobs")


def _check_templates(
    fields: Fields, matrix: dict[str, tuple[str, ...]], array: int, to: Reading
) -> None:
    known = known_names(matrix, array)
    widths = {
        f"matrix.{n}": max((len(v.encode()) for v in vs), default=0) for n, vs in matrix.items()
    }
    widths[INDEX] = len(str(array))
    texts = _templated(fields)
    for text, where, node in texts:
        for template in dict.fromkeys(unknown_templates(text, known)):
            message = f"`{show(template)}` in `{where}` names nothing"
            to.add(node, Code.TEMPLATE, message, _template_hint(template, known))
        if where.startswith("command") and CREDENTIAL.search(text):
            hint = "set it with `zenkei secret set NAME`, write `secrets: [NAME]`, and use $NAME"
            to.add(node, Code.SECRET, "`command` holds a credential", hint)
    if sum(longest_bytes(text, widths) for text, _, _ in texts) > 4 * limits.COMMAND_BYTES:
        message = "command and variables are too large after their templates are replaced"
        to.add(fields.at("command"), Code.TOO_LARGE, message, "put long texts into files")
    for text, where, node in texts:
        if longest_bytes(text, widths) > limits.COMMAND_BYTES:
            message = f"`{where}` is over {limits.COMMAND_BYTES} bytes with its templates replaced"
            to.add(node, Code.TOO_LARGE, message, "put long texts into files")


def _templated(fields: Fields) -> list[tuple[str, str, Node | None]]:
    """Texts in which templates are replaced, each with its key and place."""
    command = fields.get("command", "")
    texts: list[tuple[str, str, Node | None]] = []
    if isinstance(command, str):
        texts.append((command, "command", fields.at("command")))
    else:
        texts += [(text, f"command[{i}]", node) for i, (text, node) in enumerate(command)]
    env: Fields | None = fields.get("env")
    if env is not None:
        texts += [(value, f"env.vars.{name}", node) for name, value, node, _ in _table(env, "vars")]
    return texts


def _template_hint(template: str, known: list[str]) -> str:
    if not known:
        return "only jobs with `matrix` or `array` have templates"
    meant = nearest(template_name(template), known)
    start = f"did you mean `{meant}`? " if meant else ""
    return f"{start}known: {listing(known)}"


def _secrets(fields: Fields, to: Reading) -> tuple[SecretUse, ...]:
    uses: dict[str, SecretUse] = {}
    for found, node in fields.get("secrets", ()):
        use = _secret(found, node, to)
        if use is None:
            continue
        if uses.setdefault(use.variable, use) != use:
            message = f"two secrets would be put into `{use.variable}`"
            to.add(node, Code.CONFLICT, message, "give one of them another variable")
    return tuple(uses[variable] for variable in sorted(uses))


def _secret(found: str | Fields, node: Node, to: Reading) -> SecretUse | None:
    if isinstance(found, str):
        bad = names.variable(found)
        if bad:
            hint = f"say which variable: `{{name: {show(found)}, env: VARIABLE}}`"
            to.add(node, Code.BAD_VALUE, f"`{show(found)}` {bad[0]}", hint)
            return None
        return SecretUse(name=found, variable=found)
    name = found.get("name")
    if name is None:
        if not found.wrote("name"):
            message = "an entry of `secrets` has no `name`"
            to.add(node, Code.MISSING_KEY, message, "write `{name: wandb, env: WANDB_API_KEY}`")
        return None
    if "env" in found and "file" in found:
        message = f"secret `{name}` is given as `env` and as `file`"
        to.add(node, Code.CONFLICT, message, "list it twice to have both")
        return None
    if "env" not in found and "file" not in found:
        return _secret(str(name), node, to)
    as_file = "file" in found
    return SecretUse(name=name, variable=found.get("file" if as_file else "env"), as_file=as_file)
