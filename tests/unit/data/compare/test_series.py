"""Metrics step by step: the earliest value that differs decides."""

import numpy as np

from zenkei.data.compare.series import compare_series, decode, joined
from zenkei.model.verdict import Tolerance, Verdict
from zenkei.protocol import metrics as wire


def stream(**series: list[tuple[int, float]]) -> bytes:
    out = b""
    for name, points in series.items():
        out += wire.encode_name(name)
        for step, value in points:
            out += wire.encode_point(1, step, value, wire.name_key(name))
    return out


def one(**series: list[tuple[int, float]]):
    return {(0, name): found for name, found in decode(stream(**series)).items()}


def told(a, b, **tolerance):
    return compare_series(a, b, Tolerance(**tolerance))


def test_streams_are_read_as_the_reader_of_the_protocol_reads_them():
    data = stream(loss=[(1, 0.5), (2, float("nan"))], **{"a" * 70: [(wire.NO_STEP, 3.0)]})
    data += b"\0" * 5  # torn
    read = wire.Reader().feed(data)
    found = decode(data)
    assert [(p.name, p.step) for p in read] == [
        (name, int(step)) for name, one in found.items() for step in one.steps
    ]


def test_a_name_whose_text_looks_like_a_point_is_no_point():
    text = "x" * 28 + "iopk" + "y" * 10
    assert list(decode(stream(**{text: [(1, 2.0)]}))) == [text]


def test_equal_metrics_are_identical_nan_included():
    a = one(loss=[(1, 1.0), (2, float("nan"))])
    found = told(a, one(loss=[(1, 1.0), (2, float("nan"))]))
    assert (found.verdict, found.points, found.differences) == (Verdict.IDENTICAL, 2, ())


def test_the_earliest_step_over_all_metrics_is_named_first():
    a = one(loss=[(1, 1.0), (2, 2.0), (3, 3.0)], acc=[(1, 0.1), (2, 0.2)])
    b = one(loss=[(1, 1.0), (2, 2.0), (3, 9.0)], acc=[(1, 0.1), (2, 0.3)])
    found = told(a, b)
    first = found.differences[0]
    assert found.verdict is Verdict.DIFFERENT
    assert (first.name, first.step, first.a, first.b) == ("acc", 2, "0.2", "0.3")


def test_what_is_close_enough_does_not_hide_what_is_not():
    a = one(loss=[(1, 1.0), (2, 2.0)])
    b = one(loss=[(1, 1.0 + 1e-9), (2, 3.0)])
    found = told(a, b, everywhere=1e-6)
    assert (found.verdict, found.differences[0].step) == (Verdict.DIFFERENT, 2)
    near = told(a, one(loss=[(1, 1.0 + 1e-9), (2, 2.0)]), everywhere=1e-6)
    assert (near.verdict, near.differences[0].step) == (Verdict.WITHIN, 1)


def test_a_metric_can_have_a_tolerance_of_its_own_or_none_at_all():
    a, b = one(loss=[(1, 1.0)], speed=[(1, 5.0)]), one(loss=[(1, 1.1)], speed=[(1, 7.0)])
    found = told(a, b, named=(("loss", 0.2),), ignored=("speed",))
    assert (found.verdict, found.metrics) == (Verdict.WITHIN, 1)


def test_missing_metrics_other_steps_and_shorter_series_are_differences():
    a = one(loss=[(1, 1.0), (2, 2.0)])
    assert told(a, one(acc=[(1, 1.0)])).differences[0].why == "only the first reports it"
    assert told(a, one(loss=[(1, 1.0), (5, 2.0)])).differences[0].why == "another step"
    shorter = told(a, one(loss=[(1, 1.0)])).differences[0]
    assert (shorter.step, shorter.why) == (2, "only the first goes on from here")


def test_zenkeis_own_metrics_are_left_out():
    a, b = one(**{wire.PROGRESS: [(1, 0.1)]}), one(**{wire.PROGRESS: [(1, 0.2)]})
    assert told(a, b).verdict is Verdict.IDENTICAL


def test_steps_that_an_attempt_did_again_count_as_it_did_them():
    first = decode(stream(loss=[(1, 1.0), (2, 2.0), (3, 99.0)]))
    second = decode(stream(loss=[(3, 3.0), (4, 4.0)]))
    found = joined([first, second])["loss"]
    assert found.steps.tolist() == [1, 2, 3, 4]
    assert np.array_equal(found.values, [1.0, 2.0, 3.0, 4.0])
