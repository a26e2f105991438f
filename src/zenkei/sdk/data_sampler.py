"""Which sample is whose turn: shards by rank, shuffles each epoch, goes on in the middle of one.

    sampler = Sampler(train)                        train: data.Files, a Dataset, or a number
    loader = DataLoader(train, 64, sampler=sampler, num_workers=4)
    for epoch in range(sampler.epoch, 10):
        sampler.set_epoch(epoch)
        for batch in loader:
            step(batch)
            sampler.advance(len(batch))             what workers have fetched ahead does not count
            checkpoint_torch.save(n, model=model, sampler=sampler)

An epoch has one order for all ranks (`protocol.splits.order` of seed and epoch). From position p of
it rank r of w takes p + r, p + r + w, ... The state is the position, so it means the same to any
number of ranks: what was done is done once, what was not is shared anew. `ends` says what happens
where the ranks would not have equally many:

    pad     the first of the order are taken once more, at most w - 1 of them (as PyTorch does)
    drop    the last of the order, at most w - 1 of them, are left out
    uneven  neither: no sample twice, none left out; the first ranks have one more. For validation

An iteration that has come to its end is followed by the next epoch, with or without `set_epoch`.
Standard library; any loader that takes an iterable with a length works.
"""

from __future__ import annotations

import sys
from typing import Any, Iterator, Sequence, Sized

from zenkei.protocol import splits
from zenkei.sdk.context import context

VERSION = 1
ENDS = ("pad", "drop", "uneven")


class Sampler:
    """epoch: which one; position: samples of all ranks that are done in it.

    seed: of `data.Files` the one that the job file shuffles with, else the job's. rank, world_size:
    those of torch.distributed if it is set up, else those of the job. Not for several threads.
    """

    def __init__(
        self,
        samples: int | Sized,
        *,
        shuffle: bool = True,
        seed: int | None = None,
        ends: str = "pad",
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if ends not in ENDS:
            raise ValueError(f"`ends` is one of {', '.join(ENDS)}, not {ends!r}")
        own_rank, own_size = _place()
        self.rank = own_rank if rank is None else rank
        self.world_size = own_size if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} of {self.world_size}")
        self.samples = samples if isinstance(samples, int) else len(samples)
        self.identity = str(getattr(samples, "identity", ""))
        self.shuffle, self.ends = shuffle, ends
        self.seed = _seed_of(samples) if seed is None else seed
        self.epoch, self.position = 0, 0
        self._has_ended = False

    def __len__(self) -> int:
        """How many this rank has from here to the end of the epoch that comes."""
        return len(self._own(self._next()[1]))

    def __iter__(self) -> Iterator[int]:
        self.epoch, self.position = self._next()
        self._has_ended = False
        return self._run(self._own(self.position))

    def advance(self, samples: int) -> None:
        """So many samples of this rank are done; the other ranks do as many."""
        self.position = min(self._end(self.position), self.position + samples * self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Begin it; if it is the one that was gone on with, go on where it was."""
        if epoch != self.epoch or self._has_ended:
            self.epoch, self.position, self._has_ended = epoch, 0, False

    def state_dict(self) -> dict[str, Any]:
        """Of plain values. The same on all ranks, except after the last batch of `uneven` ones."""
        over = self.position >= self._end(self.position) and self.samples > 0
        return {
            "version": VERSION,
            "epoch": self.epoch + 1 if over else self.epoch,
            "position": 0 if over else self.position,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "samples": self.samples,
            "identity": self.identity,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, also with another number of ranks. Raises ValueError for other data."""
        if state.get("version") != VERSION:
            raise ValueError(f"a sampler's state of version {state.get('version')}")
        for key, own in (("samples", self.samples), ("identity", self.identity)):
            if state[key] != own:
                raise ValueError(
                    f"this state is of other data: {key} {state[key]!r}, and here {own!r}"
                )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
        self.seed, self.shuffle = int(state["seed"]), bool(state["shuffle"])
        self._has_ended = False

    def _next(self) -> tuple[int, int]:
        """Epoch and position that an iteration would begin with."""
        return (self.epoch + 1, 0) if self._has_ended else (self.epoch, self.position)

    def _end(self, position: int) -> int:
        """Where the epoch is over, if it is gone on with from there."""
        rest = (self.samples - position) % self.world_size
        if self.ends == "uneven" or rest == 0 or position >= self.samples:
            return max(self.samples, position)
        return self.samples - rest + (self.world_size if self.ends == "pad" else 0)

    def _own(self, position: int) -> range:
        """Positions of this rank from there."""
        return range(position + self.rank, self._end(position), self.world_size)

    def _run(self, own: range) -> Iterator[int]:
        order = self._order() if len(own) else ()
        for place in own:
            yield order[place % self.samples]
        self._has_ended = True

    def _order(self) -> Sequence[int]:
        if not self.shuffle:
            return range(self.samples)
        if "numpy" not in sys.modules:
            return splits.order(self.samples, self.seed, self.epoch)
        from zenkei.sdk import data_numpy

        found: Sequence[int] = memoryview(data_numpy.order(self.samples, self.seed, self.epoch))
        return found


def _seed_of(samples: Any) -> int:
    shuffle = getattr(getattr(samples, "dataset", None), "shuffle", None)
    seed = getattr(shuffle, "seed", None)
    return context().seed if seed is None else int(seed)


def _place() -> tuple[int, int]:
    torch: Any = sys.modules.get("torch")
    if (
        torch is not None
        and torch.distributed.is_available()
        and torch.distributed.is_initialized()
    ):
        return int(torch.distributed.get_rank()), int(torch.distributed.get_world_size())
    here = context()
    return here.rank, here.world_size
