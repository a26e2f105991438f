"""A host that was cut off and comes back while its attempt is still being ended elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.test_checkpoint_orders import launch, steps
from tests.system.test_fencing import frozen
from tests.testbeds.isolation import Isolation, divide
from tests.testbeds.local_place import LocalPlace, until
from zenkei.engines.local.layout import Layout
from zenkei.model.data import CheckpointPart
from zenkei.model.errors import PermanentEngineError
from zenkei.model.ids import AttemptId
from zenkei.model.job import StopReason
from zenkei.ports.engine import Cleared, Released
from zenkei.protocol import names

TWO_CHECKPOINTS = """
save(1, f"1-{rank}")
while not os.path.exists("further"): time.sleep(0.01)
with open(os.path.join(V["ZENKEI_OUTPUT_DIR"], "model"), "w") as file:
    file.write("of a host that was cut off")
save(7, f"7-{rank}")
time.sleep(1000)
"""
CUT, OTHER = 0, 1


@pytest.fixture
def place(short_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Layout, "node", divide(Layout.node))
    with LocalPlace(short_tmp / "home") as opened:
        yield opened


def until_told(place: LocalPlace, attempt: AttemptId, step: int) -> None:
    """Until both supervisors have recorded a checkpoint, wherever that is seen."""
    text = f'"step":{step}'.encode()
    spools = [place.node_dir(attempt, rank) / names.SPOOL_FILE for rank in (CUT, OTHER)]
    until(lambda: all(text in spool.read_bytes() for spool in spools), f"step {step}")


def go_further(place: LocalPlace, attempt: AttemptId) -> None:
    for rank in (CUT, OTHER):
        (place.node_dir(attempt, rank) / "work" / "further").touch()


def refused(place: LocalPlace, attempt: AttemptId) -> None:
    """What lies on the host is neither a result nor a checkpoint."""
    kept = str(place.node_dir(attempt, OTHER) / names.OUTPUTS_DIR)
    assert place.engine.outputs(attempt) == (kept,)
    for step in (1, 7):
        part = CheckpointPart(node_rank=CUT, path=f"{step}-{CUT}")
        with pytest.raises(PermanentEngineError, match="fenced"):
            place.engine.saved(attempt, step, (part,))


def test_what_a_host_did_after_it_was_given_up_counts_for_nothing_when_it_comes_back(
    place: LocalPlace,
) -> None:
    attempt = launch(place, TWO_CHECKPOINTS, nodes=2)
    until(lambda: steps(place, attempt) == [1], "the first checkpoint")
    with Isolation(place.node_dir(attempt, CUT)) as isolated:
        go_further(place, attempt)
        until_told(place, attempt, 7)
        # the other has not ended yet: the attempt is still the current one when the host returns
        with frozen(place.supervisor_pid(attempt, OTHER)):
            place.engine.fence("node-1", attempt)
            refused(place, attempt)
            isolated.end()
            place.wait(attempt, Cleared)
            assert steps(place, attempt) == [1]
            refused(place, attempt)
    place.wait(attempt, Released)
    assert place.exited(attempt).reason is StopReason.NODE_LOST
    assert steps(place, attempt) == [1]
    place.engine.lift("node-1", attempt)
    refused(place, attempt)
