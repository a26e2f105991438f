"""Names for the datasets of a capsule: which version somebody means, what a new one is called.

Called by `capsules`. Content alone gives nobody a right: a capsule without data is joined to what
its importer may read already, and to nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from zenkei.control.capsulefacts import Data
from zenkei.control.datasets import no_dataset
from zenkei.model.access import Principal, may
from zenkei.model.dataset import (
    LATEST,
    Dataset,
    DatasetEvent,
    DatasetEventKind,
    DatasetPin,
    DatasetVersion,
    Permission,
)
from zenkei.model.errors import Conflict
from zenkei.ports.datasets import DatasetChange, Registry

MOST_NAME = 100
DIGITS = (8, 16, 64)


@dataclass(kw_only=True, slots=True)
class Bound:
    """pins: with names and numbers of this installation. names: here, by name there.

    changes: datasets that have to be made.
    """

    pins: list[DatasetPin] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    changes: list[DatasetChange] = field(default_factory=list)


class Names:
    """See the module's docstring."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def readable(self, who: Principal, pin: DatasetPin) -> None:
        """Raises NotFound, as if there were none, for content that `who` may not read.

        Of content whose names were all removed nobody can say who might: operators may.
        """
        if self.find(who, pin) is None and not who.operator:
            named = [d.name for d in self._registry.datasets() if may(who, Permission.READ, d)]
            raise no_dataset(pin.name, named)

    def find(self, who: Principal, pin: DatasetPin) -> DatasetVersion | None:
        """A version with this content that `who` may read; that of the same name if there is."""
        found = [
            version
            for version in self._registry.version_of(pin.digest)
            if (rows := self._registry.dataset(version.dataset)) is not None
            and may(who, Permission.READ, rows.dataset)
        ]
        found.sort(key=lambda version: (version.dataset != pin.name, version.dataset))
        return found[0] if found else None

    def bind(self, who: Principal, data: tuple[Data, ...], came_from: str) -> Bound:
        """data: those that are missing are left out."""
        bound = Bound()
        made: dict[str, str] = {}
        for one in data:
            pin = one.pin
            known = self.find(who, pin)
            if known is not None:
                name, number = known.dataset, known.number
            elif not one.included:
                continue
            else:
                number = 1
                name = made.get(pin.digest) or self._free(pin, set(made.values()))
                if pin.digest not in made:
                    made[pin.digest] = name
                    bound.changes.append(_new(who, name, pin, came_from))
            bound.names[pin.name] = name
            bound.pins.append(replace(pin, name=name, number=number))
        return bound

    def _free(self, pin: DatasetPin, taken: set[str]) -> str:
        """A name that nobody has."""
        names = [pin.name]
        for digits in DIGITS:
            end = f"-imported-{pin.digest.removeprefix('b3:')[:digits]}"
            names.append(pin.name[: MOST_NAME - len(end)] + end)
        for name in names:
            if name not in taken and self._registry.dataset(name) is None:
                return name
        raise Conflict(
            "dataset-exists",
            f"there is a dataset `{names[-1]}` already, of somebody else",
            hint="ask for permission to read it, then import the capsule again",
        )


def _new(who: Principal, name: str, pin: DatasetPin, came_from: str) -> DatasetChange:
    version = DatasetVersion(
        dataset=name,
        number=1,
        digest=pin.digest,
        files=pin.files,
        size_bytes=pin.size_bytes,
        stored_bytes=pin.size_bytes,
        message=f"imported with a capsule: {pin.name}@{pin.number} of {came_from}",
        by=who.name,
    )
    created = DatasetEvent(dataset=name, kind=DatasetEventKind.CREATED, by=who.name)
    return DatasetChange(
        name=name,
        read=0,
        dataset=Dataset(name=name, owner=who.name, newest=1),
        versions=(version,),
        tags={LATEST: 1},
        events=(
            created,
            replace(created, kind=DatasetEventKind.COMMITTED, number=1),
            replace(
                created, kind=DatasetEventKind.TAGGED, number=1, details={"tag": LATEST, "from": ""}
            ),
        ),
    )
