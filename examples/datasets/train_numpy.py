"""Softmax regression by gradient descent. Reads the files of its part; reports a loss a step."""

import os

import numpy as np

from zenkei import sdk
from zenkei.sdk import data

STEPS = 60


def load(files):
    images = np.stack([np.load(files.path(row)).reshape(-1) for row in range(len(files))])
    labels = np.array([int(files.group(row)) for row in range(len(files))])
    return images / 16.0, labels


digits = data.open("digits")
x, y = load(digits.files("train"))
x_val, y_val = load(digits.files("val"))
weights = np.random.standard_normal((x.shape[1], 10)) * 0.01
for step in range(STEPS):
    scores = np.exp(x @ weights)
    chances = scores / scores.sum(axis=1, keepdims=True)
    loss = -np.log(chances[np.arange(len(y)), y]).mean()
    chances[np.arange(len(y)), y] -= 1
    weights -= 1.0 * (x.T @ chances) / len(y)
    sdk.report(step=step, loss=float(loss))
accuracy = float(((x_val @ weights).argmax(axis=1) == y_val).mean())
sdk.report(step=STEPS, accuracy=accuracy)
np.savez(os.path.join(os.environ["ZENKEI_OUTPUT_DIR"], "weights.npz"), weights=weights)
print(f"accuracy {accuracy:.3f} on {len(y_val)} files")
