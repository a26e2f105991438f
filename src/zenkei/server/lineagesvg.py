"""A lineage as a drawing: columns from causes to results, plain SVG that needs nothing else. Pure.

Called by the route of lineages. Text comes from people and is escaped. The layers are longest
paths; where the graph has a cycle (two jobs verified against each other) an edge goes backwards.
"""

from __future__ import annotations

from html import escape

from zenkei.control.lineage import Lineage, Part, Vertex

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 220, 44, 70, 18, 20
COLOURS = {
    Part.JOB: "#dbeafe",
    Part.RESULT: "#dcfce7",
    Part.CODE: "#f3f4f6",
    Part.ENVIRONMENT: "#fef9c3",
    Part.DATASET: "#fce7f3",
}
MOST_LABEL = 30
TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
    'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#6b7280"/></marker></defs>'
)


def svg(graph: Lineage) -> str:
    """A document of its own."""
    columns = _columns(graph)
    places: dict[str, tuple[int, int]] = {}
    for x, column in enumerate(columns):
        for y, vertex in enumerate(column):
            places[vertex.id] = (MARGIN + x * (WIDTH + GAP_X), MARGIN + y * (HEIGHT + GAP_Y))
    wide = 2 * MARGIN + len(columns) * (WIDTH + GAP_X) - GAP_X
    high = 2 * MARGIN + max((len(c) for c in columns), default=0) * (HEIGHT + GAP_Y) - GAP_Y
    size = f'width="{wide}" height="{high}" viewBox="0 0 {wide} {high}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    )
    out = [head, TIP]
    out += [_edge(places[e.source], places[e.target], e.word) for e in graph.edges]
    out += [_box(vertex, *places[vertex.id], graph.root) for vertex in graph.vertices]
    return "\n".join([*out, "</svg>", ""])


def _columns(graph: Lineage) -> list[list[Vertex]]:
    depth = dict.fromkeys((vertex.id for vertex in graph.vertices), 0)
    for _ in graph.vertices:
        changed = False
        for edge in graph.edges:
            wanted = depth[edge.source] + 1
            if depth[edge.target] < wanted < len(depth):
                depth[edge.target], changed = wanted, True
        if not changed:
            break
    columns: list[list[Vertex]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for vertex in graph.vertices:
        columns[depth[vertex.id]].append(vertex)
    return [column for column in columns if column]


def _edge(start: tuple[int, int], end: tuple[int, int], word: str) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH, start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    middle = (x1 + x2) // 2
    path = f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
    return (
        f'<path d="{path}" fill="none" stroke="#6b7280" marker-end="url(#tip)">'
        f"<title>{escape(_visible(word))}</title></path>"
    )


def _box(vertex: Vertex, x: int, y: int, root: str) -> str:
    label = _visible(vertex.label)
    label = label if len(label) <= MOST_LABEL else label[: MOST_LABEL - 1] + "…"
    width = 2 if vertex.id == root else 1
    return (
        f"<g><title>{escape(_visible(f'{vertex.label} {vertex.about}'))}</title>"
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        f'fill="{COLOURS[vertex.kind]}" stroke="#374151" stroke-width="{width}"/>'
        f'<text x="{x + 10}" y="{y + 18}">{escape(label)}</text>'
        f'<text x="{x + 10}" y="{y + 34}" fill="#6b7280">{vertex.kind}</text></g>'
    )


def _visible(text: str) -> str:
    """Control characters and halves of pairs have no place in XML."""
    return "".join(c if c.isprintable() else "?" for c in text)
