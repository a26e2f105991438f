"""`make bench-quality`: how well placement packs, against FGD (ATC 2023) on the same arrivals.

1 Saturation: `bench.packing` on every variant of the folder that has arrivals, means over seeds.
2 Hold-out: the same for the variants that have none and for mixes of `bench.remix`, with arrivals
  by seeds of our own.
3 Departures: `bench.departures` without gangs and with them.
The default learns the mix from what arrives; FGD knows it in 1 and 2, and learns it in 3.
`--traces DIR`; `--only` one of them; `--seeds N`: how many of each; `--quick` takes one seed and a
short time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

from bench import departures, packing, remix
from bench.report import Row, show, write

KEYS = ("alloc_90", "alloc_100", "alloc_130")
PARTS = ("saturation", "holdout", "departures")
FIRST_SEED = 101
"""Of the hold-out."""


def compared(workload: packing.Workload, seeds: Iterable[int]) -> list[Row]:
    """Points of allocation beyond FGD."""
    told = list(seeds)
    ours = [packing.run(workload, seed, "default", "learned") for seed in told]
    theirs = [packing.run(workload, seed, "fgd", "given") for seed in told]
    rows = []
    for key in KEYS:
        gain = mean(o[key] - t[key] for o, t in zip(ours, theirs, strict=True))
        bar = "at least +0.6" if key == "alloc_130" else "at least -0.2"
        note = f"{mean(o[key] for o in ours):.2f} against {mean(t[key] for t in theirs):.2f}"
        what = f"{workload.name}: {key} beyond FGD"
        rows.append(Row(bench="quality", what=what, value=gain, unit="points", bar=bar, note=note))
    return rows


def average(what: str, rows: list[Row]) -> Row:
    gains = [row.value for row in rows if "alloc_130" in row.what]
    name = f"alloc_130 beyond FGD, mean of {what}"
    return Row(
        bench="quality", what=name, value=mean(gains), unit="points", bar="at least +0.8", note=""
    )


def saturation(folder: Path, number: int) -> list[Row]:
    rows = []
    for variant in variants(folder, "arrivals_"):
        workload = packing.load(folder, variant)
        rows += compared(workload, sorted(workload.arrivals)[:number])
    return [*rows, average("variants", rows)]


def holdout(folder: Path, number: int) -> list[Row]:
    seeds = list(range(FIRST_SEED, FIRST_SEED + number))
    others = sorted({*variants(folder, "jobs_")} - {*variants(folder, "arrivals_")})
    rows = []
    for what in [*others, *remix.HOLDOUT]:
        rows += compared(packing.known(folder, what, seeds), seeds)
    return [*rows, average("the hold-out", rows)]


def variants(folder: Path, prefix: str) -> list[str]:
    names = sorted(path.name for path in folder.glob(f"{prefix}*.csv*"))
    return [name.removeprefix(prefix).split(".")[0] for name in names]


def with_departures(folder: Path, number: int, days: float) -> list[Row]:
    workload = packing.load(folder, "default")
    rows = []
    for gangs in (0.0, departures.Setting.gangs):
        setting = departures.Setting(gangs=gangs, days=days)
        ours, theirs = (
            departures.means(
                [departures.run(workload, setting, seed, policy) for seed in range(1, number + 1)]
            )
            for policy in ("default", "fgd")
        )
        for key, what, unit, bar in (
            ("allocated_percent", "allocated", "%", "not below FGD"),
            ("whole_nodes", "nodes of 8 wholly free", "nodes", "not below FGD"),
            ("gang_wait_s", "mean wait of gangs of 4 nodes and more", "s", "below FGD"),
            ("wait_s", "mean wait of others", "s", ""),
        ):
            if gangs or key != "gang_wait_s":
                name = f"departures, {100 * gangs:.0f} % gangs: {what}"
                note = f"FGD {theirs[key]:.2f}"
                row = Row(
                    bench="quality", what=name, value=ours[key], unit=unit, bar=bar, note=note
                )
                rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quality")
    parser.add_argument("--traces", type=Path, default=Path("../shared/traces/openb"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path(".cache/quality.json"))
    told = parser.parse_args()
    number = 1 if told.quick else told.seeds
    parts = [told.only] if told.only else PARTS
    rows: list[Row] = []
    if "saturation" in parts:
        rows += saturation(told.traces, number)
    if "holdout" in parts:
        rows += holdout(told.traces, number)
    if "departures" in parts:
        rows += with_departures(told.traces, number, 1.0 if told.quick else 3.0)
    print(show(rows))
    write(rows, told.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
