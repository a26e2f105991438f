"""Bodies of requests, validated by pydantic. A submit's body is the job file itself.

Extra keys are refused: a misspelled option is never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")]


class Body(BaseModel):
    """Common rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Cancel(Body):
    """grace_s: seconds between SIGTERM and SIGKILL; the job's own if absent."""

    grace_s: float | None = Field(default=None, ge=0, le=86_400, allow_inf_nan=False)


class Rerun(Body):
    """request_key: makes a repeated request harmless."""

    request_key: str = Field(default="", max_length=200, pattern=r"^[\x21-\x7e]*$")


class Flags(Body):
    """`zenkei run [flags] -- COMMAND`: keys of a job file, given by hand."""

    command: list[str] = Field(min_length=1, max_length=100_000)
    flags: dict[str, Any] = Field(default_factory=dict)


class VirtualNodes(Body):
    """Declared sizes of virtual nodes. 0 nodes: back to this machine as it is."""

    nodes: int = Field(ge=0, le=10_000)
    gpus_per_node: int = Field(default=0, ge=0, le=64)
    cpus_per_node: float = Field(default=1, gt=0, le=10_000, allow_inf_nan=False)
    memory_per_node: Text = "1GiB"


class Shutdown(Body):
    """jobs: also stop everything that runs."""

    jobs: bool = False
