"""Trains a small network on handwritten digits with ChainerMN, one shard of the data per rank.

Interrupted, it goes on from its newest snapshot.
"""

import argparse
import json
import os

import chainer
import chainermn
import numpy as np
from chainer import functions, links, training
from chainer.training import extensions
from sklearn.datasets import load_digits

from zenkei.sdk import checkpoint_chainer, context, output_dir, report, seed_everything


class Network(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.hidden = links.Linear(64, 64)
            self.out = links.Linear(64, 10)

    def forward(self, images):
        return self.out(functions.relu(self.hidden(images)))


def load(seed):
    """1,797 images of 8 x 8, shuffled; the last fifth is kept for the test."""
    digits = load_digits()
    order = np.random.RandomState(seed % 2**32).permutation(len(digits.target))
    images = (digits.data[order] / 16.0).astype(np.float32)
    labels = digits.target[order].astype(np.int32)
    cut = len(labels) * 4 // 5
    pairs = chainer.datasets.TupleDataset
    return pairs(images[:cut], labels[:cut]), pairs(images[cut:], labels[cut:])


def trainer_of(comm, epochs, out):
    """Everything that a snapshot of ChainerMN's holds, and the evaluation on all ranks."""
    model = links.Classifier(Network())
    optimizer = chainermn.create_multi_node_optimizer(chainer.optimizers.Adam(0.01), comm)
    optimizer.setup(model)
    train, test = load(context().seed) if comm.rank == 0 else (None, None)
    train = chainermn.scatter_dataset(train, comm, shuffle=True, seed=0)
    test = chainermn.scatter_dataset(test, comm)
    batches = chainer.iterators.SerialIterator(train, 32)
    checks = chainer.iterators.SerialIterator(test, 64, repeat=False, shuffle=False)
    updater = training.StandardUpdater(batches, optimizer)
    trainer = training.Trainer(updater, (epochs, "epoch"), out=out)
    evaluator = extensions.Evaluator(checks, model)
    trainer.extend(chainermn.create_multi_node_evaluator(evaluator, comm))
    trainer.extend(checkpoint_chainer.extension(comm), trigger=(1, "iteration"))
    if comm.rank == 0:
        trainer.extend(extensions.LogReport())
        trainer.extend(tell, trigger=(1, "epoch"), priority=training.PRIORITY_READER)
    return trainer


def tell(trainer):
    seen = trainer.observation
    report(
        step=trainer.updater.epoch,
        loss=float(seen["main/loss"].array),
        accuracy=float(seen["validation/main/accuracy"]),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    epochs = parser.parse_args().epochs
    seed_everything()
    comm = chainermn.create_communicator("naive")
    print(f"rank {comm.rank} of {comm.size} on {context().node}", flush=True)
    trainer = trainer_of(comm, epochs, output_dir())
    checkpoint_chainer.load(trainer=trainer)
    trainer.run()
    if comm.rank == 0:
        accuracy = trainer.observation["validation/main/accuracy"]
        with open(os.path.join(output_dir(), "summary.json"), "w") as file:
            json.dump({"ranks": comm.size, "epochs": epochs, "accuracy": accuracy}, file)
        print(f"accuracy {accuracy:.3f} with {comm.size} ranks after {epochs} epochs", flush=True)


if __name__ == "__main__":
    main()
