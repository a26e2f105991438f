"""The same mount where the kernel takes EROFS from block devices only: a loop device a file.

Called by `ladder`. Needs root and one free loop device a pack, so it is for versions of few packs.
The devices go by themselves when the mount does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from zenkei.data.node import mounting
from zenkei.data.node.mounting import NotMounted

MAX_DEVICES: Final = 256
_CTL_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_READ_ONLY, _AUTOCLEAR = 1, 4
_CONFIG_BYTES, _FLAGS_AT, _TRIES = 304, 60, 20


def mount_image(image: Path, packs: Sequence[Path], at: Path) -> None:
    """As `mounting.mount_image`."""
    if len(packs) + 1 > MAX_DEVICES:
        raise NotMounted(f"{len(packs)} packs need more than {MAX_DEVICES} loop devices")
    with contextlib.ExitStack() as opened:
        devices = [_attach(path, opened) for path in (image, *packs)]
        mounting.mount_image(devices[0], devices[1:], at)


def _attach(path: Path, opened: contextlib.ExitStack) -> Path:
    """A read-only device over the file; it lives until it is closed and not mounted any more."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, file)
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        opened.callback(os.close, control)
        for _ in range(_TRIES):
            device = Path(f"/dev/loop{fcntl.ioctl(control, _CTL_GET_FREE)}")
            descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
            opened.callback(os.close, descriptor)
            config = bytearray(_CONFIG_BYTES)
            struct.pack_into("<II", config, 0, file, 512)
            struct.pack_into("<I", config, _FLAGS_AT, _READ_ONLY | _AUTOCLEAR)
            try:
                fcntl.ioctl(descriptor, _CONFIGURE, config)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device
    except OSError as error:
        what = "no loop devices here" if error.errno == errno.ENOENT else "no loop device"
        raise NotMounted(f"{what}: {error.strerror}") from error
    raise NotMounted("loop devices are taken faster than they can be set up")
