"""Fits a line by gradient descent; stands for a training that is tried with many parameters."""

from __future__ import annotations

import argparse
import json
import os
import random

import zenkei.sdk as zk


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--width", type=int, required=True)
    arguments = parser.parse_args()
    zk.seed_everything()
    points = [(x / arguments.width, 3 * x / arguments.width + 1) for x in range(arguments.width)]
    slope, shift = random.random(), random.random()
    loss = 0.0
    for step in range(200):
        errors = [(slope * x + shift - y, x) for x, y in points]
        loss = sum(e * e for e, _ in errors) / len(errors)
        slope -= arguments.rate * 2 * sum(e * x for e, x in errors) / len(errors)
        shift -= arguments.rate * 2 * sum(e for e, _ in errors) / len(errors)
        zk.report(step=step, loss=loss)
    with open(os.path.join(zk.output_dir(), "loss.json"), "w", encoding="utf-8") as file:
        json.dump({"rate": arguments.rate, "width": arguments.width, "loss": loss}, file)
    print(f"rate {arguments.rate} width {arguments.width} loss {loss:.6f}")


if __name__ == "__main__":
    main()
