"""A simulation as one page: figures, plots, tables. Everything is inside, nothing is fetched.

Called by `zenkei sim run --report FILE`. Plots are SVG; their numbers stand in tables beside them.
Pure. Cost: O(jobs log jobs).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Final, NamedTuple

from zenkei.model.resources import WHOLE_GPU_MILLI
from zenkei.sim.clock import START_US
from zenkei.sim.figures import Part, quantile
from zenkei.sim.replaying import Story
from zenkei.sim.running import Played, size_of
from zenkei.sim.scripts import Script

WIDTH, HEIGHT = 860, 240
LEFT, BOTTOM, TOP, RIGHT = 62, 34, 14, 12
POINTS: Final = 400
MOST_QUEUES: Final = 8
COLOURS: Final = (
    "#1f77b4",
    "#e0701a",
    "#2a8f3c",
    "#b5303a",
    "#7a56b0",
    "#8a6140",
    "#c05fa5",
    "#6b6f75",
)
STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:900px;margin:2rem auto;
padding:0 1rem}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2.2rem}table{border-collapse:
collapse;margin:.6rem 0}td,th{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}svg text{font:12px
system-ui,sans-serif;fill:#444}.legend span{margin-right:1.2rem;white-space:nowrap}
.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.4em}
"""


class Line(NamedTuple):
    """A line of a plot: (x, y) with rising x."""

    name: str
    points: Sequence[tuple[float, float]]


def page(played: Played, script: Script, cpu_s: float) -> str:
    """The whole document."""
    found = played.figures
    unit, span_s = _unit(found.makespan_s or 1.0)
    whole = _gpus(played)
    policy = escape(script.setting.policy.decode("utf-8", "replace")[:400])
    ran = f"seed {script.setting.seed}; {cpu_s:.1f} s of one core"
    parts = [
        f"<h1>{found.jobs:,} jobs on {len(played.nodes)} nodes</h1>",
        f"<p>Policy: <code>{policy}</code>; {ran}.</p>",
        _table(("Figure", "Value"), [(name, _show(value)) for name, value in _figures(played)]),
        "<h2>GPUs in use</h2>",
        _plot([Line("in use", busy(played, span_s))], f"time ({unit})", "GPUs", most=whole),
        "<h2>Jobs that wait</h2>",
        _plot([Line("waiting", waiting(played, span_s))], f"time ({unit})", "jobs"),
        "<h2>How long jobs wait, by size</h2>",
        _waits(played, size_of),
        _parts(played.by_size()),
    ]
    queues = played.by_queue()
    if len(queues) > 1:
        parts += [
            "<h2>How long jobs wait, by queue</h2>",
            _waits(played, lambda story: story.job.queue),
            "<h2>GPUs by queue</h2>",
            _plot(shares(played, queues, span_s), f"time ({unit})", "GPUs", most=whole),
        ]
    parts.append(_parts(queues))
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    title = f"<title>Simulation of {found.jobs} jobs</title><style>{STYLE}</style>"
    body = "\n".join(parts)
    return (
        f"<!doctype html>\n<html lang='en'><head>{head}{title}</head><body>{body}</body></html>\n"
    )


def _figures(played: Played) -> list[tuple[str, object]]:
    return list(played.figures._asdict().items())


def _gpus(played: Played) -> float:
    return float(sum(len(node.capacity.devices) for node in played.nodes))


def _unit(span_s: float) -> tuple[str, float]:
    for name, seconds in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if span_s > 3 * seconds:
            return name, seconds
    return "seconds", 1.0


# -- what happened over time -----------------------------------------------------------------------
def busy(played: Played, unit_s: float) -> list[tuple[float, float]]:
    """GPUs that jobs held."""
    return _held(played.stories, unit_s)


def waiting(played: Played, unit_s: float) -> list[tuple[float, float]]:
    """Jobs that had come and held nothing yet."""
    steps = []
    for story in played.stories:
        came_us = START_US + story.job.submit_us
        steps.append((came_us, 1.0))
        if story.first_us >= 0:
            steps.append((story.first_us, -1.0))
    return _mean_steps(steps, unit_s)


def shares(played: Played, queues: Sequence[Part], unit_s: float) -> list[Line]:
    """GPUs that each of the largest queues held; those of all others together."""
    largest = sorted(queues, key=lambda part: -part.gpu_hours)[: MOST_QUEUES - 1]
    names = [part.name for part in largest]
    groups: dict[str, list[Story]] = {name: [] for name in names}
    for story in played.stories:
        groups.setdefault(story.job.queue if story.job.queue in names else "others", []).append(
            story
        )
    return [Line(name, _held(stories, unit_s)) for name, stories in groups.items() if stories]


def _held(stories: Sequence[Story], unit_s: float) -> list[tuple[float, float]]:
    steps = []
    for story in stories:
        gpus = story.job.gpus_milli / WHOLE_GPU_MILLI
        for from_us, to_us in story.held:
            steps += [(from_us, gpus), (to_us, -gpus)]
    return _mean_steps(steps, unit_s)


def _mean_steps(steps: list[tuple[int, float]], unit_s: float) -> list[tuple[float, float]]:
    """The mean level in each of POINTS equal spans, of changes of it."""
    if not steps:
        return []
    steps.sort()
    first_us = steps[0][0]
    span_us = max(1, steps[-1][0] - first_us)
    width = span_us / POINTS
    sums = [0.0] * POINTS
    level, at_us = 0.0, 0.0  # from the first of them
    for us, change in steps:
        while at_us < us - first_us:
            slot = min(POINTS - 1, int(at_us / width))
            edge_us = span_us if slot == POINTS - 1 else (slot + 1) * width
            until_us = min(us - first_us, max(edge_us, at_us + 1e-3))
            sums[slot] += level * (until_us - at_us)
            at_us = until_us
        level += change
    start_s = (first_us - START_US) / 1e6
    return [((start_s + (i + 0.5) * width / 1e6) / unit_s, sums[i] / width) for i in range(POINTS)]


# -- plots -----------------------------------------------------------------------------------------
def _waits(played: Played, key: Callable[[Story], str]) -> str:
    """For each group: which share of its jobs waited at most so long, on a scale of decades."""
    groups: dict[str, list[float]] = {}
    for story in played.stories:
        if story.first_us >= 0:
            waited_s = (story.first_us - START_US - story.job.submit_us) / 1e6
            groups.setdefault(key(story), []).append(waited_s)
    largest = sorted(groups, key=lambda name: -len(groups[name]))[:MOST_QUEUES]
    lines = []
    for name in [name for name in groups if name in largest]:
        values = sorted(groups[name])
        points = [(_hours(quantile(values, i / 100) or 0.0), i / 100) for i in range(101)]
        lines.append(Line(name, points))
    return _plot(lines, "waited at most (hours)", "share of jobs", most=1.0)


def _hours(seconds: float) -> float:
    return seconds / 3600


def _plot(lines: Sequence[Line], across: str, up: str, most: float = 0.0) -> str:
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    if not xs:
        return "<p>nothing to show</p>"
    low, high = min(xs), max(*xs, min(xs) + 1e-9)
    top = most or max(*ys, 1e-9)

    def at(x: float, y: float) -> str:
        across_px = LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        return (
            f"{across_px:.1f},{HEIGHT - BOTTOM - min(y / top, 1.02) * (HEIGHT - TOP - BOTTOM):.1f}"
        )

    parts = [f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(up)}'>"]
    for i in range(5):
        value, y = top * i / 4, HEIGHT - BOTTOM - i / 4 * (HEIGHT - TOP - BOTTOM)
        parts.append(f"<path d='M{LEFT} {y:.1f}H{WIDTH - RIGHT}' stroke='#e4e4e4'/>")
        parts.append(
            f"<text x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{_short(value)}</text>"
        )
        x = LEFT + i / 4 * (WIDTH - LEFT - RIGHT)
        label = _short(low + (high - low) * i / 4)
        parts.append(f"<text x='{x:.0f}' y='{HEIGHT - 18}' text-anchor='middle'>{label}</text>")
    parts.append(
        f"<text x='{WIDTH / 2}' y='{HEIGHT - 3}' text-anchor='middle'>{escape(across)}</text>"
    )
    for i, line in enumerate(lines):
        points = " ".join(at(x, y) for x, y in line.points)
        colour = COLOURS[i % len(COLOURS)]
        parts.append(
            f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.6'/>"
        )
    parts.append("</svg>")
    named = "".join(
        f"<span><i style='background:{COLOURS[i % len(COLOURS)]}'></i>{escape(line.name)}</span>"
        for i, line in enumerate(lines)
    )
    return "".join(parts) + (f"<p class='legend'>{named}</p>" if len(lines) > 1 else "")


# -- tables ----------------------------------------------------------------------------------------
def _parts(parts: Sequence[Part]) -> str:
    head = ("", "Jobs", "Mean wait (h)", "p99 wait (h)", "Mean completion (h)", "GPU hours")
    rows = []
    for part in parts[:40]:
        times = [part.wait_mean_s, part.wait_p99_s, part.jct_mean_s]
        told = ["-" if s is None else f"{s / 3600:,.2f}" for s in times]
        rows.append((part.name, f"{part.jobs:,}", *told, f"{part.gpu_hours:,.0f}"))
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table><tr>{top}</tr>{''.join(lines)}</table>"


def _show(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.4g}" if isinstance(value, float) and value < 1 else _plain(value)


def _plain(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
