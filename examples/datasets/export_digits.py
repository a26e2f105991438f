"""Scikit-learn's 1,797 digits, each as it is and moved by a pixel five ways: a file each."""

import os
import pathlib

import numpy as np
from sklearn.datasets import load_digits

MOVES = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1)]

digits = load_digits()
top = pathlib.Path(os.environ["ZENKEI_OUTPUT_DIR"])
for label in range(10):
    (top / str(label)).mkdir()
for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    for place, move in enumerate(MOVES):
        moved = np.roll(image.astype(np.uint8), move, (0, 1))
        np.save(top / str(label) / f"{number:04}-{place}.npy", moved)
print(f"{len(digits.images) * len(MOVES)} files")
