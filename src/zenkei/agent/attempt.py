"""One attempt on one node as its supervisor holds it: document, spool, inbox, log, first cause.

Shared by the supervisor's parts. The first cause is the root cause: later ones change nothing.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Any, NamedTuple

from zenkei.agent import diary, heartbeat, notify
from zenkei.agent.groups import Group
from zenkei.agent.logfile import LogFile
from zenkei.agent.output import MAX_DETAIL
from zenkei.protocol import launch, logs, names, records

FULL = (errno.ENOSPC, errno.EDQUOT)
RETRY_S = 1.0


class Cause(NamedTuple):
    """Why the attempt ends: a stop reason, and how and when the rank that decided it ended.

    symptom, matched, tail: as `diagnosis` finds them when all ranks have ended.
    """

    reason: str
    code: int | None = None
    signal: int = 0
    rank: int = -1
    detail: str = ""
    at_us: int = 0
    symptom: str = ""
    matched: tuple[int, ...] = ()
    tail: tuple[str, ...] = ()


class Attempt:
    """Current directory: that of the attempt on this node.

    saved: step of the checkpoint that an order to stop waited for; -1: it has not come; None: there
    was no such order. interface: the one that leads to the gang's other nodes; empty: there are
    none, or not known.
    """

    def __init__(
        self,
        document: launch.Launch,
        journal: records.Journal,
        group: Group,
        secrets: dict[str, bytes],
    ) -> None:
        self.document = document
        self.journal = journal
        self.group = group
        self.secrets = secrets
        self.cause: Cause | None = None
        self.interface = ""
        self.disk_full = False
        self.saved: int | None = None
        self.directory = os.getcwd()
        self._inbox = records.Reader(names.INBOX_FILE)
        self._unwritten = 0
        self._log = LogFile(
            names.LOG_DIR,
            head_bytes=document.log_head_bytes,
            tail_bytes=document.log_tail_bytes,
        )

    def open(self) -> None:
        """Folders that ranks and readers expect."""
        folders = [names.METRICS_SUBDIR, names.STARTS_SUBDIR, names.OUTPUTS_DIR, names.TMP_DIR]
        if self.document.checkpoint is not None:
            folders += [names.CHECKPOINTS_DIR, names.MARKERS_DIR]
        for name in folders:
            os.makedirs(name, mode=0o700, exist_ok=True)

    def blame(self, cause: Cause) -> None:
        """The first one counts."""
        if self.cause is None:
            self.cause = cause if cause.at_us else cause._replace(at_us=time.time_ns() // 1000)

    def new_orders(self) -> list[records.Record]:
        """Orders of this attempt that have not been read before."""
        found = self._inbox.more()
        return [order for order in found if order["attempt"] == self.document.attempt]

    # -- log ---------------------------------------------------------------------------------------

    def write(self, chunk: logs.Chunk) -> None:
        """Into the log. A full disk does not stop the draining of pipes: bytes are counted."""
        try:
            if self._unwritten and not self.disk_full:
                self._note_loss(chunk.at_us)
            self._log.append(chunk)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._unwritten += len(chunk.data)
            self.disk_full = True

    def _note_loss(self, at_us: int) -> None:
        text = f"zenkei: the disk was full, {self._unwritten} bytes of output are lost\n"
        self._log.append(logs.Chunk(at_us, logs.NO_RANK, logs.SYSTEM, 0, text.encode()))
        self._unwritten = 0

    def remark(self, text: str) -> None:
        """A line of zenkei's own in the log."""
        data = f"zenkei: {text}\n".encode("utf-8", "backslashreplace")
        self.write(logs.Chunk(time.time_ns() // 1000, logs.NO_RANK, logs.SYSTEM, 0, data))

    def close(self) -> None:
        """All output is in the log, on the disk."""
        if self._unwritten:
            self.disk_full = False
            self.remark(f"the disk was full, {self._unwritten} bytes of output are lost")
        self._log.close(sync=True)

    # -- reports -----------------------------------------------------------------------------------

    def report(self, kind: str, *, sync: bool = True, **fields: Any) -> None:
        """Write a record, then wake whoever watches. On a full disk: until there is room."""
        while True:
            try:
                self.journal.append(kind, at_us=time.time_ns() // 1000, sync=sync, **fields)
                break
            except OSError as error:
                if error.errno not in FULL:
                    raise
                diary.note(f"{self.directory}: no room for a record")
                heartbeat.touch()
                time.sleep(RETRY_S)
        notify.wake(self.document)

    def report_exit(self, cause: Cause, *, sync: bool) -> None:
        fields = cause._replace(detail=cause.detail[:MAX_DETAIL])._asdict()
        fields["cause_us"] = fields.pop("at_us")
        fields["by_rank"] = self.cause is not None and self.cause.rank >= 0
        fields["ranks"] = self.document.nodes * self.document.ranks
        if self.saved is not None:
            fields["saved"] = self.saved
        self.report(records.EXITED, sync=sync, **fields)
