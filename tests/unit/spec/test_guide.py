"""docs/guides/job-file.md: its examples are job files, and no key is left out."""

import re
from pathlib import Path

import pytest

from zenkei import spec
from zenkei.spec.keys import walk

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "guides" / "job-file.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LATER = ("checkpoint", "hang", "resources.nodes")


@pytest.mark.parametrize("name", sorted({k.name for s, k in walk() if s.name not in LATER}))
def test_every_key_is_explained(name: str):
    assert re.search(rf"(^|[`{{. ])({name})(:|`)", TEXT, re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_of_the_guide_is_a_job_file(block: str):
    assert spec.parse(block.encode(), file="guide/job.yaml").command


def test_the_guide_counts_its_sweep_rightly():
    sweep = next(block for block in BLOCKS if "matrix" in block)
    assert len(spec.members(spec.parse(sweep.encode(), file="job.yaml"))) == 12
    assert "= 12 members" in TEXT


def test_the_guide_has_examples():
    assert len(BLOCKS) >= 8
