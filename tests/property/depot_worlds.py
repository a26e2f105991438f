"""Every interleaving of programs that work on one depot: what they do is run, not described.

A program is a function of a depot. It is deterministic, so what it does next follows from the
answers it has had: it is run from its start with those, and stopped at the first call that has
none. The explorer answers the calls of all programs in every order, lets time leap between any two
of them, and leaves programs standing wherever they are, as if they were killed or asleep. States
seen before are not looked at again. Times of objects are as coarse as can be: they differ only if
time has leapt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from zenkei.data.depots.depot import Stored, no_object
from zenkei.model.errors import ZenkeiError

Objects = dict[str, tuple[bytes, float]]
"""Content and time by name."""


class Stop(BaseException):
    """A program is at a call that has no answer yet."""


class Missing(NamedTuple):
    """An answer: there is no such object."""

    name: str


class Stub:
    """The depot that a program sees. atomic: whether removal on a condition is one step."""

    location = "stub"

    def __init__(self, answers: tuple[Any, ...], *, atomic: bool) -> None:
        self._answers = answers
        self._at = 0
        self._atomic = atomic
        self._now_s: list[float] = []
        self.waiting: tuple[Any, ...] | None = None
        self.result: Any = None
        """Set by a program as soon as it has it; it may have something left to do."""

    def ask(self, *call: Any) -> Any:
        if self._at == len(self._answers):
            # what a `finally` asks on the way out is asked again in its time
            self.waiting = self.waiting or call
            raise Stop
        answer = self._answers[self._at]
        self._at += 1
        if isinstance(answer, Missing):
            raise no_object(answer.name)
        return answer

    def registry(self) -> tuple[str, ...]:
        """What was committed so far, and with it the time: read right before a collection."""
        digests, now_s = self.ask("registry")
        self._now_s.append(now_s)
        return tuple(digests)

    def now_s(self) -> float:
        return float(self._now_s.pop() if self._now_s else self.ask("now_s"))

    def remove_untouched(self, stored: Stored) -> bool:
        if self._atomic:
            return bool(self.ask("remove_untouched", stored))
        found = self.ask("stat", stored.name)
        if found is not None and found.modified_s != stored.modified_s:
            return False
        self.ask("remove", stored.name)
        return True

    def remove_garbage(self) -> int:
        return 0

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        return lambda *args: self.ask(verb, *args)


Program = Callable[[Stub], None]


class World(NamedTuple):
    """jumps: how far time may still leap. answers, idle: by program; idle: it waited in vain."""

    objects: tuple[tuple[str, tuple[bytes, float]], ...]
    now_s: float
    jumps: tuple[float, ...]
    answers: tuple[tuple[Any, ...], ...]
    idle: tuple[bool, ...]


@dataclass
class Explorer:
    """enter: called with the number of a program before it runs, for what it gets from elsewhere.

    wrong: what is wrong in a state, given objects and the results of programs that have ended.
    """

    programs: list[Program]
    wrong: Callable[[Objects, list[Any]], str]
    atomic: bool = True
    enter: Callable[[int], None] = lambda index: None
    max_states: int = 1_000_000
    states: int = 0
    ended: set[Any] = field(default_factory=set)
    """Every result that any program has had."""
    _next: dict[Any, tuple[tuple[Any, ...] | None, Any]] = field(default_factory=dict)

    def explore(self, objects: Objects, jumps: tuple[float, ...] = ()) -> str:
        """How the first bad state comes to be, a step a line; empty if there is none."""
        first = self._first(objects, jumps)
        seen = {first}
        stack: list[tuple[World, Any]] = [(first, None)]
        while stack:
            world, story = stack.pop()
            self.states += 1
            assert self.states < self.max_states, "too many states"
            for step, after in self._steps(world):
                if after in seen:
                    continue
                seen.add(after)
                told = (step, story)
                if wrong := self.wrong(dict(after.objects), self._results(after)):
                    return "\n".join([*_lines(told), wrong])
                stack.append((after, told))
        return ""

    def wander(
        self, objects: Objects, jumps: tuple[float, ...], dice: random.Random, walks: int
    ) -> str:
        """As `explore`, along some ways only, each to its end."""
        for _ in range(walks):
            world = self._first(objects, jumps)
            told: Any = None
            # some are slow throughout a walk, else all would end at about the same time
            haste = [dice.random() ** 3 + 0.01 for _ in self.programs]
            while ready := self._ready(world):
                self.states += 1
                if world.jumps and dice.random() < 0.02:
                    step, world = next(self._leaps(world))
                else:
                    (i,) = dice.choices(ready, [haste[i] for i in ready])
                    step, world = self._step(world, i)
                told = (step, told)
                if wrong := self.wrong(dict(world.objects), self._results(world)):
                    return "\n".join([*_lines(told), wrong])
        return ""

    def _first(self, objects: Objects, jumps: tuple[float, ...]) -> World:
        count = len(self.programs)
        return World(tuple(sorted(objects.items())), 0.0, jumps, ((),) * count, (False,) * count)

    def _results(self, world: World) -> list[Any]:
        results = [self._look(i, answers)[1] for i, answers in enumerate(world.answers)]
        self.ended.update(result for result in results if result)
        return results

    def _look(self, i: int, answers: tuple[Any, ...]) -> tuple[tuple[Any, ...] | None, Any]:
        """What it asks next (None: it has ended), and its result."""
        key = (i, answers)
        if key not in self._next:
            stub = Stub(answers, atomic=self.atomic)
            self.enter(i)
            try:
                self.programs[i](stub)
            except Stop:
                pass
            except ZenkeiError as error:
                if not stub.waiting:  # else it was raised while it was stopped
                    stub.result = error.code
            self._next[key] = (stub.waiting, stub.result)
        return self._next[key]

    def _steps(self, world: World) -> Iterator[tuple[str, World]]:
        yield from self._leaps(world)
        for i in self._ready(world):
            yield self._step(world, i)

    def _leaps(self, world: World) -> Iterator[tuple[str, World]]:
        for at, jump in enumerate(world.jumps):
            rest = world.jumps[:at] + world.jumps[at + 1 :]
            awake = (False,) * len(world.idle)
            leap = world._replace(now_s=world.now_s + jump, jumps=rest, idle=awake)
            yield f"{jump:.0f} s pass", leap

    def _ready(self, world: World) -> list[int]:
        """Programs that have something to do."""
        found = []
        for i, answers in enumerate(world.answers):
            call, _ = self._look(i, answers)
            if call is not None and not (call[0] == "sleep" and world.idle[i]):
                found.append(i)
        return found

    def _step(self, world: World, i: int) -> tuple[str, World]:
        call, _ = self._look(i, world.answers[i])
        assert call is not None
        return f"{i}: {_shown(call)}", self._answered(world, i, call)

    def _answered(self, world: World, i: int, call: tuple[Any, ...]) -> World:
        objects = dict(world.objects)
        if call[0] == "registry":
            results = [r for r in self._results(world) if r and r.startswith("b3:")]
            answer: Any = (tuple(results), world.now_s)
        else:
            answer = _act(objects, world.now_s, call)
        after = tuple(sorted(objects.items()))
        # who waits looks again once somebody else has changed something, and once in vain
        idle = list(world.idle) if after == world.objects else [False] * len(world.idle)
        idle[i] = call[0] == "sleep" or world.idle[i]
        answers = list(world.answers)
        answers[i] = (*answers[i], answer)
        return world._replace(objects=after, answers=tuple(answers), idle=tuple(idle))


def _act(objects: Objects, now_s: float, call: tuple[Any, ...]) -> Any:
    """What the depot does; the contract of `depot.Depot`."""
    verb: str = call[0]
    name: Any = call[1] if len(call) > 1 else ""
    if verb == "put" or (verb == "put_new" and name not in objects):
        objects[name] = (bytes(call[2]), now_s)
        return True
    if verb == "read":
        return objects[name][0] if name in objects else Missing(name)
    if verb == "touch" and name in objects:
        objects[name] = (objects[name][0], now_s)
        return True
    if verb == "stat":
        return _stored(objects, name) if name in objects else None
    if verb == "names":
        return tuple(_stored(objects, found) for found in sorted(objects) if found.startswith(name))
    if verb == "remove":
        objects.pop(name, None)
    if verb == "remove_untouched":
        if name.name in objects and objects[name.name][1] != name.modified_s:
            return False
        objects.pop(name.name, None)
        return True
    return {"now_s": now_s, "put_new": False, "touch": False}.get(verb)


def _stored(objects: Objects, name: str) -> Stored:
    content, modified_s = objects[name]
    return Stored(name=name, size=len(content), modified_s=modified_s)


def _shown(call: tuple[Any, ...]) -> str:
    shown = [str(getattr(word, "name", word))[:16] for word in call[1:2]]
    more = [word.decode("ascii", "replace")[:24] for word in call[2:] if isinstance(word, bytes)]
    return " ".join([call[0], *shown, *more])


def _lines(told: Any) -> list[str]:
    lines = []
    while told is not None:
        line, told = told
        lines.append(line)
    return lines[::-1]
