"""`fits`: the one predicate for planner and applier."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenkei.model.resources import (
    Capacity,
    Device,
    DeviceShare,
    Free,
    Misfit,
    Request,
    could_fit,
    fits,
    matches,
)

FOUR = Capacity(
    cpu_milli=8000,
    memory_bytes=100,
    tmp_bytes=100,
    devices=tuple(Device(index=i, kind="A100" if i < 2 else "H100") for i in range(4)),
)


def test_whole_gpus_take_the_lowest_free_indices() -> None:
    free = Free.of(FOUR)
    free.gpu_milli[0] = 0
    assert fits(FOUR, free, Request(gpu_count=2, gpu_milli=1000)) == ((1, 1000), (2, 1000))


def test_a_share_goes_to_the_fullest_device_that_has_room() -> None:
    free = Free.of(FOUR)
    free.gpu_milli = [1000, 500, 300, 0]
    assert fits(FOUR, free, Request(gpu_count=1, gpu_milli=400)) == (DeviceShare(1, 400),)


def test_only_allowed_models_are_given() -> None:
    asked = Request(gpu_count=1, gpu_milli=1000, gpu_kinds=("H100",))
    assert fits(FOUR, Free.of(FOUR), asked) == (DeviceShare(2, 1000),)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (Request(cpu_milli=8001), Misfit.CPU_CAPACITY),
        (Request(memory_bytes=101), Misfit.MEMORY_CAPACITY),
        (Request(tmp_bytes=101), Misfit.TMP_CAPACITY),
        (Request(gpu_count=5, gpu_milli=1000), Misfit.GPU_CAPACITY),
        (Request(gpu_count=1, gpu_milli=1000, gpu_kinds=("V100",)), Misfit.GPU_KIND),
        (Request(gpu_count=3, gpu_milli=1000, gpu_kinds=("A100",)), Misfit.GPU_CAPACITY),
    ],
)
def test_what_an_empty_node_cannot_give_is_a_permanent_misfit(
    request_: Request, why: Misfit
) -> None:
    assert could_fit(FOUR, request_) is why
    assert fits(FOUR, Free.of(FOUR), request_) is why
    assert why.permanent


def test_what_a_full_node_cannot_give_now_is_not_permanent() -> None:
    full = Free(0, 0, 0, [0, 0, 0, 0])
    needs = {
        Misfit.CPU: Request(cpu_milli=1),
        Misfit.MEMORY: Request(cpu_milli=0, memory_bytes=1),
        Misfit.TMP: Request(cpu_milli=0, tmp_bytes=1),
        Misfit.GPU: Request(cpu_milli=0, gpu_count=1, gpu_milli=1),
    }
    for why, request_ in needs.items():
        assert fits(FOUR, full, request_) is why
        assert not why.permanent


requests = st.builds(
    Request,
    cpu_milli=st.integers(0, 9000),
    memory_bytes=st.integers(0, 120),
    tmp_bytes=st.integers(0, 120),
    gpu_count=st.integers(0, 5),
    gpu_milli=st.sampled_from([250, 500, 1000]),
)


@given(st.lists(requests, max_size=30))
def test_taking_what_fits_never_goes_below_zero_and_comes_back(asked: list[Request]) -> None:
    free, held = Free.of(FOUR), []
    for request_ in asked:
        devices = fits(FOUR, free, request_)
        if not isinstance(devices, Misfit):
            assert len(devices) == request_.gpu_count == len({d.index for d in devices})
            free.take(request_, devices)
            held.append((request_, devices))
        assert min(free.cpu_milli, free.memory_bytes, free.tmp_bytes, *free.gpu_milli) >= 0
    for request_, devices in held:
        free.give_back(request_, devices)
    assert free == Free.of(FOUR)


def test_labels_match_any_allowed_value_of_every_key() -> None:
    labels = {"rack": "r1", "disk": "nvme"}
    assert matches(labels, {})
    assert matches(labels, {"rack": ("r1", "r2"), "disk": ("nvme",)})
    assert not matches(labels, {"rack": ("r2",)})
    assert not matches(labels, {"absent": ("x",)})


def islands(*numbers: int, numa: tuple[int, ...] = ()) -> Capacity:
    places = zip(numbers, numa or (0,) * len(numbers), strict=True)
    return Capacity(
        cpu_milli=8000,
        memory_bytes=0,
        tmp_bytes=0,
        devices=tuple(
            Device(index=i, kind="A100", island=island, numa=at)
            for i, (island, at) in enumerate(places)
        ),
    )


@pytest.mark.parametrize(
    ("capacity", "taken", "count", "devices"),
    [
        (islands(0, 1, 0, 1), (), 2, (0, 2)),
        (islands(0, 1, 0, 1, 1), (0,), 1, (2,)),
        (islands(0, 0, 0, 1, 1), (), 2, (3, 4)),
        (islands(0, 0, 0, 1, 1), (3,), 4, (0, 1, 2, 4)),
        (islands(0, 0, 1, 1, 1, 2, 2), (), 5, (0, 1, 2, 3, 4)),
        (islands(0, 0, 0, 0, numa=(0, 1, 0, 1)), (), 2, (0, 2)),
        (islands(0, 0, 0, 1, numa=(1, 0, 0, 0)), (), 3, (0, 1, 2)),
    ],
)
def test_whole_gpus_lie_in_the_smallest_island_that_suffices_else_in_few(
    capacity: Capacity, taken: tuple[int, ...], count: int, devices: tuple[int, ...]
) -> None:
    free = Free.of(capacity)
    free.take(Request(cpu_milli=0), tuple(DeviceShare(i, 1000) for i in taken))
    found = fits(capacity, free, Request(gpu_count=count, gpu_milli=1000))
    assert not isinstance(found, Misfit)
    assert tuple(share.index for share in found) == devices


@pytest.mark.parametrize(
    ("on", "fit"),
    [
        (((3, 400),), True),
        (((0, 400),), False),
        (((3, 500),), False),
        (((2, 400), (3, 400)), False),
        (((9, 400),), False),
    ],
)
def test_named_devices_are_taken_or_nothing_is(on: tuple[tuple[int, int], ...], fit: bool) -> None:
    free = Free.of(FOUR)
    free.gpu_milli[0] = 300
    named = tuple(DeviceShare(*one) for one in on)
    found = fits(FOUR, free, Request(gpu_count=1, gpu_milli=400), named)
    assert found == (named if fit else Misfit.GPU)
