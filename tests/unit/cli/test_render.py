"""What reaches a terminal is harmless, aligned, and in the reader's terms."""

import pytest

from zenkei.cli import render


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\x00b", "\x7f", "\u202egnp.exe", "\x08"]
)
def test_no_control_character_survives(text):
    for shown in (render.clean(text), render.harmless(text), render.harmless(text, progress=True)):
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e" for c in shown)
        assert "\\" in shown, "what was there is still to be seen"


def test_a_cleaned_text_stays_on_one_line():
    assert render.clean("a\nb\tc\rd") == "a\\nb c\\x0dd"


def test_output_keeps_its_lines_and_tabs():
    assert render.harmless("a\r\n\tb\n日本") == "a\n\tb\n日本"


def test_a_progress_bar_moves_only_where_it_may():
    assert render.harmless("10%\r20%", progress=True) == "10%\r20%"
    assert render.harmless("10%\r20%") == "10%\n20%"


def test_columns_are_aligned_whatever_the_script():
    shown = render.table(("A", "B"), [("日本", "1"), ("abc", "22")], right={1})
    assert shown.splitlines() == ["A      B", "日本   1", "abc   22"]


def test_a_table_cannot_be_broken_by_its_cells():
    shown = render.table(("A",), [("x\ny\x1b[2J",)])
    assert len(shown.splitlines()) == 2
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("us", "text"),
    [(-5, "0s"), (0, "0s"), (59_999_999, "59s"), (61_000_000, "1m01s"), (3_660_000_000, "1h01m"),
     (90_000_000_000, "1d01h")],
)  # fmt: skip
def test_spans_have_two_units(us, text):
    assert render.span(us) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 30, "1.0 GiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_have_a_unit(count, text):
    assert render.size(count) == text


def test_a_moment_that_has_not_come_is_a_dash():
    assert render.clock(0) == "-"


def test_there_is_no_colour_outside_of_a_terminal(capsys):
    assert render.state("failed") == "failed"
    assert render.paint("x", "31") == "x"


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("学習中", 5, "学習…"), ("ab", 1, "…"), ("", 0, "")],
)
def test_a_text_is_cut_by_columns_not_by_characters(text, width, shown):
    assert render.fit(text, width) == shown


def test_one_long_name_does_not_push_the_others_columns_away(monkeypatch):
    monkeypatch.setattr(render, "columns", lambda stream: 40)
    rows = [("7", "x" * 100, "failed", "exited with code 1"), ("8", "n", "running", "")]
    lines = render.table(("JOB", "NAME", "STATE", "WHY"), rows, cut=True).splitlines()
    assert max(map(len, lines)) <= 40
    assert "failed   exited with…" in lines[1]


def test_on_a_narrow_terminal_the_last_column_gives_way(monkeypatch):
    rows = [("1", "because of " + "x" * 60), ("2", "short")]
    wide = render.table(("JOB", "WHY"), rows)
    assert "x" * 60 in wide
    monkeypatch.setattr(render, "columns", lambda stream: 30)
    lines = render.table(("JOB", "WHY"), rows, cut=True).splitlines()
    assert max(map(render.width_of, lines)) == 30
    assert lines[1].endswith("x…")
    assert lines[2] == "2    short"
    assert render.table(("JOB", "WHY"), rows) == wide, "what may be copied is never cut"
