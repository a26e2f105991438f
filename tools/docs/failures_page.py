"""`docs/guides/failures.md`: why a job failed. The table of symptoms is the code's own."""

from __future__ import annotations

from tools.docs.markdown import code, page, table
from zenkei.agent import diagnosis
from zenkei.agent.output import TAIL_BYTES
from zenkei.agent.supervisor import PEERS_GRACE_S
from zenkei.lifecycle.outcome import HUNG_RESTARTS, MAX_REQUEUES
from zenkei.lifecycle.symptoms import MEANINGS, follows
from zenkei.protocol import symptoms

LOOK = """
`zenkei run` and `zenkei wait` end with the cause in one line and with what to do about it;
`zenkei show JOB` begins with them and adds the last lines of the rank that failed first:

```text
job 42: train, failed (exited with code 1 (rank 3))
failed: rank 3 on node-2 failed first: CUDA out of memory (exit code 1)
hint: use a smaller batch, accumulate gradients, or ask for larger GPUs with `resources.gpu_type`
  | Traceback (most recent call last):
  |   File "train.py", line 71, in <module>
  | torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
```

`zenkei show --json JOB` has the same under `cause`: `text`, `hint`, `failure`, `symptom`, `rank`,
`node`, `tail`. `zenkei logs JOB` has everything that was printed.
"""

FIRST = """
When one rank of a gang fails, the others lose their connections or wait in vain, and each of them
prints an error of its own. What counts is the first cause, not the first error:

- Each node keeps the last {tail} KiB of every rank's output, with secrets masked and colours taken
  out, and looks in it for the symptoms below.
- The rank that failed first is the root cause, unless its words are only a consequence (marked
  below) and another rank shows a cause, in what it had written before it was stopped.
- A rank that zenkei itself stopped is never blamed for being stopped.
- The other ranks are stopped at once; they have {grace:g} s, because what they do together cannot
  be finished any more.
"""

FOLLOWS = """
In this order; the first that applies decides.

1. **The job's own rules**, `retry.rules`. A rule names exit codes, a regular expression (`log`), or
   both, and then both must match. With a rule that retries, failures that no rule names are not
   retried.
2. **The symptom**, as in the table. What would fail again (a package that is missing, a syntax
   error) is given up at once, whatever `retry.limit` says: a rule of yours can say otherwise.
3. **The class** of what ended the attempt, as in [states](../reference/states.md).

Words are weaker evidence than what zenkei has seen itself. So a failure that the program's words
blame on the machine costs no retry the first time it happens on a node, and the next attempt goes
elsewhere; if the same node fails the job again, it counts. No job is sent back more than
{requeues} times without getting further: a new checkpoint, of a later step than any before, sets
that count back, so a long training may be preempted and lose nodes as often as it likes. A job that
hangs is started again elsewhere, from its last checkpoint, at least {hung} times even with
`retry: 0`, unless `hang.action` is `fail`. [How a hang is told from a long
silence](../concepts/hangs.md), and what a job can say about itself; `zenkei stacks JOB` shows where
its ranks were.

`more_memory` and the table's "twice the memory" need a `resources.memory` to double. It is doubled
once: a job that runs out of twice its memory is given up.
"""

RULES = """
```yaml
name: train
command: python train.py
retry:
  limit: 3
  backoff: 30s
  rules:
    - {exit_code: 75, action: retry}
    - {log: "Licensed number of users already reached", action: retry}
    - {log: "FileNotFoundError.*/mnt/share", action: elsewhere}
    - {log: "loss is nan", action: give_up}
```

A pattern is Python's; it is searched, on the node, in the last {tail} KiB of every rank, and `^`
and `$` stand for the ends of lines. It has {cpu:g} s: one that takes longer is named in the job's
log and counts as not found; after {slow} such patterns the rest are not tried.
"""


def failures() -> str:
    """Raises KeyError for a symptom without a meaning."""
    kib = TAIL_BYTES >> 10
    rules = RULES.replace("{tail}", str(kib)).replace("{slow}", str(diagnosis.SLOW_PATTERNS))
    return page(
        "Why did my job fail",
        "A job that fails says why, says what it does about it, and says what you can do.",
        "## Look",
        LOOK,
        "## Which rank was it",
        FIRST.format(tail=kib, grace=PEERS_GRACE_S),
        "## What follows",
        FOLLOWS.format(requeues=MAX_REQUEUES, hung=HUNG_RESTARTS),
        "## Rules of your own",
        rules.replace("{cpu:g}", f"{diagnosis.PATTERN_CPU_S:g}"),
        "## Symptoms",
        "A consequence (→) is what is seen of another rank's failure: it is the answer only if no "
        "rank shows a cause.",
        table(["symptom", "meaning", "failure class", "zenkei", "what to do"], _rows()),
    )


def _rows() -> list[list[str]]:
    rows = []
    for name, meaning in MEANINGS.items():
        mark = " →" if symptoms.is_consequence(name) else ""
        title = meaning.title or "an exception of the program, as its last line says"
        rows.append(
            [code(name) + mark, title, code(meaning.failure), follows(meaning), meaning.hint]
        )
    return rows
