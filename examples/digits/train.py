"""Trains a small network on scikit-learn's handwritten digits, one shard of the data per MPI rank.

Gradients are summed over all ranks after every step, so every rank holds the same weights. Rank 0
reports loss and accuracy, and leaves weights and accuracy in the output directory.
"""

from __future__ import annotations

import argparse
import json
import os

import numpy as np
from mpi4py import MPI
from sklearn.datasets import load_digits

import zenkei.sdk as zk

HIDDEN = 128
BATCH = 16
MOMENTUM = 0.9
DECAY = 1e-3


def load(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """1,797 images of 8 x 8, shuffled with the job's seed; the last fifth is kept for the test."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images, labels = digits.data[order] / 16.0, digits.target[order]
    cut = len(labels) * 4 // 5
    return images[:cut], labels[:cut], images[cut:], labels[cut:]


def forward(weights: list[np.ndarray], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hidden activations `[n, HIDDEN]` and class probabilities `[n, 10]`."""
    hidden = np.maximum(0, images @ weights[0] + weights[1])
    scores = hidden @ weights[2] + weights[3]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, scores / scores.sum(axis=1, keepdims=True)


def gradients(
    weights: list[np.ndarray], images: np.ndarray, labels: np.ndarray
) -> tuple[list[np.ndarray], float]:
    """Summed gradients of the cross-entropy over a batch, and its summed loss."""
    hidden, probabilities = forward(weights, images)
    rows = np.arange(len(labels))
    loss = -np.log(probabilities[rows, labels] + 1e-12).sum()
    probabilities[rows, labels] -= 1
    back = (probabilities @ weights[2].T) * (hidden > 0)
    return [images.T @ back, back.sum(0), hidden.T @ probabilities, probabilities.sum(0)], loss


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rate", type=float, default=0.1)
    arguments = parser.parse_args()
    world = MPI.COMM_WORLD
    seed = zk.seed_everything()
    images, labels, test_images, test_labels = load(seed)
    own_images, own_labels = images[world.rank :: world.size], labels[world.rank :: world.size]
    rng = np.random.default_rng(seed)  # the same on every rank: all start from the same weights
    weights = [
        rng.normal(0, 0.18, (64, HIDDEN)),
        np.zeros(HIDDEN),
        rng.normal(0, 0.18, (HIDDEN, 10)),
        np.zeros(10),
    ]
    speed = [np.zeros_like(weight) for weight in weights]
    steps = min(world.allgather(len(own_labels))) // BATCH
    for epoch in range(arguments.epochs):
        order = rng.permutation(min(world.allgather(len(own_labels))))
        total = 0.0
        for step in range(steps):
            batch = order[step * BATCH : (step + 1) * BATCH]
            grads, loss = gradients(weights, own_images[batch], own_labels[batch])
            for i, grad in enumerate(grads):
                summed = np.empty_like(grad)
                world.Allreduce(np.ascontiguousarray(grad), summed)
                slope = summed / (BATCH * world.size) + DECAY * weights[i]
                speed[i] = MOMENTUM * speed[i] - arguments.rate * slope
                weights[i] += speed[i]
            total += world.allreduce(loss) / (BATCH * world.size)
        accuracy = float((forward(weights, test_images)[1].argmax(1) == test_labels).mean())
        if world.rank == 0:
            zk.report(step=epoch, loss=total / steps, accuracy=accuracy)
            zk.progress((epoch + 1) / arguments.epochs, step=epoch)
            print(f"epoch {epoch:2d}  loss {total / steps:.4f}  accuracy {accuracy:.4f}")
    if world.rank == 0:
        out = zk.output_dir()
        np.savez(os.path.join(out, "weights.npz"), *weights)
        with open(os.path.join(out, "summary.json"), "w", encoding="utf-8") as file:
            json.dump({"accuracy": accuracy, "ranks": world.size, "seed": seed}, file)
        print(f"accuracy {accuracy:.4f} with {world.size} ranks")


if __name__ == "__main__":
    main()
