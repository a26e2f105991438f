"""A real PyTorch training on CPUs is identical when it is run again; what differs in a checkpoint

is found by a job in its environment. The environment is the one that all tests of PyTorch share.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator

import pytest

from tests.system.cli_runs import Place, a_place
from tests.system.frameworks import shared_environments

pytestmark = [pytest.mark.timeout(300)]
TRAIN = """\
import os
import torch
from zenkei import sdk
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
x, y = torch.randn(256, 8), torch.randn(256, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(20):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    sdk.report(step=step, loss=loss.item())
state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 20}
if os.environ.get("NUDGE"):
    state["model"]["2.bias"] += float(os.environ["NUDGE"])
torch.save(state, os.path.join(os.environ["ZENKEI_OUTPUT_DIR"], "model.pt"))
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with a_place() as found:
        (found.home / "envs").symlink_to(shared_environments())
        found.write("train.py", TRAIN)
        yield found


def train(place: Place, **variables: str) -> str:
    document = {
        "command": ["python", "train.py"],
        "env": {"packages": ["torch", "numpy"], "vars": variables},
        "seed": 7,
        "deterministic": True,
    }
    place.write("job.yaml", json.dumps(document))
    place.ok("run", "--no-output")
    return str(place.ok("show", "-", "--json").json()["id"])


def test_a_pytorch_training_is_identical_and_its_switches_stand_in_the_record(place: Place) -> None:
    first = train(place)
    done = place.run("verify", first)
    assert (done.code, done.stdout.split(":")[0]) == (0, "identical"), done.stdout
    record = json.loads(place.ok("result", "record", first).stdout)
    assert {"hash", "torch"} <= set(record["start_hook"]["seeded"])
    assert "torch.use_deterministic_algorithms" in record["start_hook"]["switches"]
    assert record["start_hook"]["not_reached"] == []
    assert "torch" in record["imported"]


def test_a_checkpoint_is_looked_into_by_a_job_and_the_first_tensor_is_named(place: Place) -> None:
    first, nudged = train(place), train(place, NUDGE="1e-4")
    done = place.run("verify", first, "--against", nudged, "--json")
    assert done.code == 1, textwrap.indent(done.stderr, "  ")
    found = done.json()["verdict"]["comparison"]
    assert (found["first"]["name"], found["first"]["where"]) == ("model.pt", "model.2.bias[0]")
    near = place.run("verify", first, "--against", nudged, "--tolerance", "*.pt=1e-2")
    assert (near.code, near.stdout.split(":")[0]) == (0, "within tolerance")
