"""The datasets of a job: `from zenkei.sdk import data`.

    digits = data.open("digits")           as the job file names it
    digits.path                            where it lies, read-only
    train = digits.files("train")          paths of one part of the split, or of all files
    train[0], train.path(0), train.read(0) relative, absolute, its bytes
    train.arrays()["size"]                 NumPy columns
    sampler = data.Sampler(train)          whose turn is it: see `data_sampler`
    digits.torch("train", load=decode)     a PyTorch Dataset: see `data_torch`

By hand the same program runs with `data.open("digits", path="../digits", split={"train": 0.8})`;
in a job both are ignored if the job file says it. Standard library, Python 3.8; NumPy and PyTorch
are imported by what needs them, and a split is reckoned with NumPy if the program has loaded it.
Everything here can be pickled, sent to forked and spawned workers, and used by several threads.
"""

from __future__ import annotations

import builtins
import os
import sys
from array import array
from typing import Any, Iterator, Mapping, Sequence
from typing import overload as _overload

from zenkei.protocol import dataindex, datasets, names, splits
from zenkei.protocol.dataindex import Index
from zenkei.protocol.dataparts import Parts
from zenkei.protocol.datasets import Given
from zenkei.protocol.splits import Split
from zenkei.sdk.data_byhand import index_of
from zenkei.sdk.data_sampler import Sampler

__all__ = ["Dataset", "Files", "Sampler", "given", "open"]


def given() -> tuple[Given, ...]:
    """What the job has; empty by hand, or if the job file names none.

    Raises OSError, ValueError if the document is there and cannot be read.
    """
    path = os.environ.get(names.DATASETS, "")
    if not path:
        return ()
    with builtins.open(path, "rb") as file:
        return datasets.load(file.read(datasets.MAX_DOCUMENT_BYTES + 1))


def open(  # noqa: A001 - `data.open` is what people look for
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    split: Mapping[str, float] | None = None,
    seed: int = 0,
    by: str = splits.BY_FILE,
) -> Dataset:
    """A dataset of the job by name, `name@number`, or where the job file puts it (`at`).

    path: where it lies if there is no such dataset in the job, because the program runs by hand.
    split, seed, by: the split if the job file gives none. Raises LookupError for a name that is
    not there or stands for several, ValueError for a split that cannot be.
    """
    known = given()
    found = [one for one in known if name in (one.name, f"{one.name}@{one.number}", one.at)]
    if not found and path is not None:
        folder = os.path.abspath(os.fspath(path))
        if not os.path.isdir(folder):
            raise NotADirectoryError(f"the dataset `{name}`: {folder} is no directory")
        found = [Given(name=name, digest="", path=folder)]
    if not found:
        raise LookupError(_not_there(name, known))
    if len(found) > 1:
        ways = ", ".join(f"`{one.name}@{one.number}`, `{one.at}`" for one in found)
        raise LookupError(f"the job has `{name}` more than once; open one of {ways}")
    one = found[0]
    if split is not None and one.split is None:
        one = one._replace(split=splits.check(Split(tuple(split.items()), seed, by)))
    return Dataset(one)


def _not_there(name: str, known: Sequence[Given]) -> str:
    if known:
        return (
            f"the job has no dataset `{name}`; it has {', '.join(sorted({k.name for k in known}))}"
        )
    return (
        f"there is no dataset `{name}`: name it under `datasets` in the job file, or give its"
        ' directory to run by hand: data.open(name, path="...")'
    )


class Dataset:
    """One version. path: its directory. digest: of the version; empty by hand."""

    def __init__(self, one: Given, index: bytes | None = None) -> None:
        """index: of a directory that was listed already."""
        self.given = one
        self.name, self.number, self.digest, self.path = one.name, one.number, one.digest, one.path
        self.split, self.shuffle = one.split, one.shuffle
        self._index = None if index is None else Index(index)
        self._parts: dict[str, Sequence[int]] | None = None

    def __repr__(self) -> str:
        return f"<dataset {self.name}@{self.number or 'hand'} in {self.path}>"

    def __reduce__(self) -> tuple[Any, ...]:
        by_hand = self._index is not None and not self.given.index_path
        return Dataset, (self.given, bytes(self.index.buffer) if by_hand else None)

    @property
    def index(self) -> Index:
        """Rows of the whole version, by number. Raises OSError, ValueError."""
        if self._index is None:
            path = self.given.index_path
            by_content = self.split is not None and not self.digest  # no version is known
            index = Index.open(path) if path else index_of(self.path, by_content)
            if self.digest and path and index.digest != self.digest:
                raise ValueError(f"{path} is the index of {index.digest}, not of {self.digest}")
            self._index = index
        return self._index

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of the split, in the job file's order."""
        return tuple(name for name, _ in self.split.parts) if self.split else ()

    def files(self, part: str | None = None, *, shuffle: bool | None = None) -> Files:
        """The files of a part, or all.

        In the order that the job file's `shuffle` asks for, else by directory and name; shuffle:
        False for the latter always. Raises LookupError for a part that there is not.
        """
        if part is None:
            rows = self.index.files()
        elif part in self.parts:
            if self._parts is None:
                self._parts = _parts_of(self.given, self.index)
            rows = self._parts[part]
        else:
            there = ", ".join(self.parts) or "none: the job file gives no `split`"
            raise LookupError(f"the dataset `{self.name}` has no part `{part}`; there is {there}")
        found = Files(self, part or "", rows)
        if self.shuffle is None or shuffle is False:
            return found
        return found.shuffled(self.shuffle.seed, self.shuffle.epoch)

    def __len__(self) -> int:
        """Files of the version."""
        return self.index.sizes.files

    def read(self, file: int | str) -> bytes:
        """Content by its path, or by its place in `files(shuffle=False)`."""
        if isinstance(file, str):
            with builtins.open(os.path.join(self.path, file), "rb") as opened:
                return opened.read()
        return self.files(shuffle=False).read(file)

    def torch(self, part: str | None = None, load: Any = None) -> Any:
        """`data_torch.FileDataset` of a part, in the order of `files`."""
        from zenkei.sdk.data_torch import FileDataset

        return FileDataset(self.files(part), load)


class Files(Sequence[str]):
    """Paths below `dataset.path`, by place in this order; made when they are asked for.

    rows: their numbers in the version's index. part: empty for all files, or a selection.
    """

    def __init__(self, dataset: Dataset, part: str, rows: Sequence[int]) -> None:
        self.dataset, self.part, self.rows = dataset, part, rows

    def __repr__(self) -> str:
        return f"<{len(self)} files of {self.dataset.name} {self.part}>"

    def __reduce__(self) -> tuple[Any, ...]:
        rows = self.rows if isinstance(self.rows, (range, array)) else array("I", self.rows)
        return Files, (self.dataset, self.part, rows)

    def __len__(self) -> int:
        return len(self.rows)

    @_overload
    def __getitem__(self, place: int) -> str: ...

    @_overload
    def __getitem__(self, place: slice) -> Files: ...

    def __getitem__(self, place: int | slice) -> str | Files:
        if isinstance(place, slice):
            return Files(self.dataset, self.part, self.rows[place])
        return os.fsdecode(self._row(place).path)

    def __iter__(self) -> Iterator[str]:
        index = self.dataset.index
        for row in self.rows:
            yield os.fsdecode(index.path(row))

    @property
    def identity(self) -> str:
        """Of what a sampler's state is about: version and split, not their order."""
        split = self.dataset.split if self.part else None
        return "/".join([self.dataset.digest, self.part, *map(str, split[1:] if split else ())])

    def path(self, place: int) -> str:
        """Absolute."""
        return os.path.join(self.dataset.path, self[place])

    def size(self, place: int) -> int:
        return self._row(place).size

    def digest(self, place: int) -> str:
        """`b3:` and 64 digits; empty if nobody has read the content yet."""
        digest = self._row(place).digest
        return "b3:" + digest.hex() if any(digest) else ""

    def group(self, place: int) -> str:
        """The directory of the top that it lies below: often its class. Empty at the top."""
        return self[place].rpartition("/")[0].partition("/")[0]

    def read(self, place: int) -> bytes:
        """Its content. Raises OSError, also if it is shorter or longer than the version says."""
        row = self._row(place)
        path = os.path.join(self.dataset.path, os.fsdecode(row.path))
        with builtins.open(path, "rb", buffering=0) as file:
            content = file.read(row.size + 1)
            while len(content) < row.size:  # one call gives 2 GiB at most
                more = file.read(row.size + 1 - len(content))
                if not more:
                    break
                content += more
        if len(content) != row.size:
            raise OSError(f"{path} is not {row.size} bytes, as its version says")
        return content

    def shuffled(self, seed: int = 0, epoch: int = 0) -> Files:
        """The same files in the order of `protocol.splits.order`."""
        return Files(self.dataset, self.part, _pick(self.rows, _order(len(self), seed, epoch)))

    def arrays(self) -> dict[str, Any]:
        """NumPy columns in this order: row, size, digest (n, 32), group, is_program.

        group: numbers into `groups`, -1 for a file at the top. Paths are not among them: a million
        are 100 MB of objects.
        """
        import numpy as np

        from zenkei.sdk import data_numpy

        index = self.dataset.index
        numbers = np.asarray(self.rows, np.uint32)
        rows = data_numpy.rows_of(index)[numbers]
        found = {key: rows[key] for key in ("size", "digest", "is_program")}
        group = np.asarray(index.groups()[1], np.int32)[rows["directory"]]
        return {"row": numbers, "group": group, **found}

    @property
    def groups(self) -> list[str]:
        """Directories of the top that have files, of the whole version, sorted by their bytes."""
        return [os.fsdecode(name) for name in self.dataset.index.groups()[0]]

    def array(self, place: int) -> Any:
        """A `.npy` file, mapped. Nothing in it is executed."""
        import numpy as np

        return np.load(self.path(place), mmap_mode="r", allow_pickle=False)

    def _row(self, place: int) -> dataindex.Row:
        return self.dataset.index[self.rows[place]]


def _parts_of(one: Given, index: Index) -> dict[str, Sequence[int]]:
    """Rows of each part of its split, read or reckoned."""
    split = one.split
    if split is None:
        return {}
    if one.rows_path:
        parts = Parts.open(one.rows_path, one.rows_digest)
        if parts.digest != index.sizes.digest or parts.split != split:
            raise ValueError(f"{one.rows_path} is of another version or split")
        return parts.rows
    files = index.files()
    found: dict[str, Sequence[int]] = {}
    for (name, _), places in zip(split.parts, _divide(index, split)):
        found[name] = places if isinstance(files, range) else _pick(files, places)
    return found


def _divide(index: Index, split: Split) -> Sequence[Any]:
    if "numpy" not in sys.modules:
        return splits.divide(index.words(split.by), split)
    from zenkei.sdk import data_numpy

    return [
        array("I", part.tobytes())
        for part in data_numpy.divide(data_numpy.words(index, split.by), split)
    ]


def _order(count: int, seed: int, epoch: int) -> Sequence[int]:
    if "numpy" not in sys.modules:
        return splits.order(count, seed, epoch)
    from zenkei.sdk import data_numpy

    return array("I", data_numpy.order(count, seed, epoch).tobytes())


def _pick(rows: Sequence[int], places: Sequence[int]) -> array[int]:
    """rows[places]."""
    return array("I", map(rows.__getitem__, places))
