"""Files of a dataset as PyTorch wants them: `from zenkei.sdk import data_torch`.

    train = data_torch.FileDataset(digits.files("train"), load=decode)
    loader = DataLoader(train, 64, sampler=data.Sampler(train), num_workers=4)

Workers may be forked or spawned (then `load` is a function of a module). Importing this module
imports PyTorch; without PyTorch the class works as any sequence does.
"""

from __future__ import annotations

from typing import Any, Callable

from zenkei.sdk.data import Files

try:
    from torch.utils.data import Dataset as _Base  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    _Base = object  # type: ignore[assignment,misc,unused-ignore]


class FileDataset(_Base):  # type: ignore[misc,unused-ignore]
    """Item i is `load(path)`, with the absolute path of file i; without `load` its bytes.

    files: their paths, classes (`files.group(i)`) and columns.
    """

    def __init__(self, files: Files, load: Callable[[str], Any] | None = None) -> None:
        self.files, self.load = files, load
        self.dataset, self.identity = files.dataset, files.identity

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> Any:
        return self.files.read(place) if self.load is None else self.load(self.files.path(place))
