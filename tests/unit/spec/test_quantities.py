"""Amounts with units are read exactly or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenkei.spec.quantities import (
    duration_ms,
    integer,
    show_bytes,
    show_ms,
    size_bytes,
    thousandths,
)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("16GiB", 16 << 30),
        ("512MiB", 512 << 20),
        ("1.5GB", 1_500_000_000),
        ("100kB", 100_000),
        ("64Gi", 64 << 30),
        ("1 TiB", 1 << 40),
        ("16gib", 16 << 30),
        ("7B", 7),
        ("0.1GiB", 107_374_183),
        ("16", None),
        ("16G", None),
        ("-1GiB", None),
        ("1e3MB", None),
        ("GiB", None),
        ("16 GiB each", None),
        ("１６GiB", None),
        ("9" * 400 + "B", None),
    ],
)
def test_sizes(text: str, amount: int | None):
    assert size_bytes(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1.5h", 5_400_000),
        ("90m", 5_400_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        ("45s", 45_000),
        ("500ms", 500),
        ("2d", 172_800_000),
        ("1w", 604_800_000),
        ("5400", 5_400_000),
        ("0.25", 250),
        ("1:30", None),
        ("30m1h", None),
        ("1h1h", None),
        ("h", None),
        ("", None),
        ("1h30", None),
        ("1s" * 400, None),
    ],
)
def test_durations(text: str, amount: int | None):
    assert duration_ms(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0.5", 500), ("4", 4000), ("1.0", 1000), ("0.125", 125), ("0.0005", None), ("1/2", None)],
)
def test_thousandths(text: str, amount: int | None):
    assert thousandths(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0", 0), ("-5", -5), ("+5", 5), ("012", None), ("1_000", None), ("1.0", None), ("٣", None)],
)
def test_integers(text: str, amount: int | None):
    assert integer(text) == amount


@given(st.integers(min_value=1, max_value=1 << 50))
def test_a_size_that_is_shown_reads_back(amount: int):
    assert size_bytes(show_bytes(amount)) == amount


@given(st.integers(min_value=0, max_value=10**12))
def test_a_duration_that_is_shown_reads_back(amount: int):
    assert duration_ms(show_ms(amount)) == amount
