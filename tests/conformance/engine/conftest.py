"""One suite for all engines that run something: `world` opens callers on one place.

What attempts do is named by `Does`; each engine's world knows how to say it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.builders import node, part
from tests.testbeds.local_place import LocalPlace
from zenkei.engines.inline import InlineEngine
from zenkei.model.cluster import Node
from zenkei.model.data import Digest
from zenkei.model.errors import InternalError
from zenkei.model.ids import AttemptId, JobId
from zenkei.model.job import CheckpointPolicy, Exit, JobSpec
from zenkei.ports.engine import Engine, LaunchOrder, ResumePoint

POLICY = CheckpointPolicy(signal="")


class Does(Enum):
    """What the ranks of an attempt do; the value is a command of the shell."""

    SUCCEED = "true"
    FAIL = "echo the last words >&2; exit 3"
    WAIT = "exec sleep 1000"
    SAVE = (
        "until [ -e $ZENKEI_CHECKPOINT_ASK ]; do sleep 0.01; done;"
        "echo x > $ZENKEI_CHECKPOINT_DIR/step-7;"
        'echo \'{"saved": 7, "path": "step-7"}\' >> $ZENKEI_CHECKPOINT_MARKER; exec sleep 1000'
    )
    RESUME = 'echo "{\\"resumed\\": $ZENKEI_RESUME_STEP}" >> $ZENKEI_CHECKPOINT_MARKER'


WHOLE, DAMAGED = (Digest("b3:" + digit * 64) for digit in "12")
"""Manifests of checkpoints: one that can be laid out, one that cannot."""


class World(Protocol):
    """A place with an engine on it."""

    @property
    def engine(self) -> Engine: ...

    def again(self) -> Engine:
        """A new caller on the same place; the one before has died."""

    def order(
        self, number: int, does: Does, nodes: int = 1, resume: ResumePoint | None = None
    ) -> LaunchOrder: ...

    def wait(self, attempt: AttemptId, kind: type) -> Any:
        """Until a caller that starts now would be told such a report; all reports it is told."""

    def close(self) -> None: ...


class Checkpoints:
    """Trees of a place whose jobs have no code."""

    def checkout(self, tree: Digest, to: Path) -> None:
        if tree == DAMAGED:
            raise InternalError("damaged", "the content is damaged")
        to.mkdir()


class LocalWorld:
    def __init__(self, place: LocalPlace) -> None:
        place.artefacts = Checkpoints()
        self._place = place

    @property
    def engine(self) -> Engine:
        return self._place.engine

    def again(self) -> Engine:
        return self._place.open()

    def order(
        self, number: int, does: Does, nodes: int = 1, resume: ResumePoint | None = None
    ) -> LaunchOrder:
        order = self._place.order(number, does.value, nodes=nodes, checkpoint=POLICY)
        return replace(order, resume=resume)

    def wait(self, attempt: AttemptId, kind: type) -> Any:
        return self._place.wait(attempt, kind)

    def close(self) -> None:
        self._place.close()


class InlineWorld:
    def __init__(self, engine: InlineEngine) -> None:
        self.engine = engine

    def again(self) -> Engine:
        self.engine.rescan()
        return self.engine

    def order(
        self, number: int, does: Does, nodes: int = 1, resume: ResumePoint | None = None
    ) -> LaunchOrder:
        return LaunchOrder(
            attempt=AttemptId(JobId(number), 1),
            spec=JobSpec(name="test", command=does.value, checkpoint=POLICY),
            nodes=tuple((n, part(n.name)) for n in self.engine.inventory()[:nodes]),
            resume=resume,
        )

    def wait(self, attempt: AttemptId, kind: type) -> Any:
        self.engine.rescan()
        told, _ = self.engine.observe("")
        found = [r for r in told if getattr(r, "attempt", None) == attempt]
        assert any(isinstance(r, kind) for r in found)
        return found

    def close(self) -> None:
        """Nothing runs outside this process."""


def _program(order: LaunchOrder) -> Exit | None:
    return {
        Does.SUCCEED.value: Exit(code=0),
        Does.FAIL.value: Exit(code=3, detail="the last words"),
        Does.WAIT.value: None,
        Does.SAVE.value: None,
        Does.RESUME.value: Exit(code=0),
    }[str(order.spec.command)]


def _answer(order: LaunchOrder) -> int | None:
    return 7 if order.spec.command == Does.SAVE.value else None


def _two_nodes() -> tuple[Node, ...]:
    return tuple(node(f"n{k}", cluster="local") for k in (1, 2))


@pytest.fixture(params=["inline", "local", "local-cold"])
def world(request: pytest.FixtureRequest, short_tmp: Path) -> Iterator[World]:
    if request.param == "inline":
        engine = InlineEngine(_two_nodes(), _program, "local", _answer)
        engine.damaged.add(DAMAGED)
        opened: World = InlineWorld(engine)
    else:
        opened = LocalWorld(LocalPlace(short_tmp / "home", warm=request.param == "local"))
    yield opened
    opened.close()
