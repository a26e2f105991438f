"""A program of a job that reads its dataset with PyTorch; run by `test_data_torch`.

workers METHOD: two epochs through two workers. rank R W STEPS: rank R of W, STEPS batches of 2 from
where the file `state` says, which it writes anew. Prints the numbers that it read, as JSON.
"""

import json
import os
import sys

import torch
import torch.distributed
from torch.utils.data import DataLoader, Dataset

from zenkei.sdk import data, data_torch


def decode(path):
    with open(path, encoding="ascii") as file:
        return torch.tensor(int(file.read()))


def workers(method):
    train = data.open("digits").torch("train", load=decode)
    assert isinstance(train, Dataset)
    sampler = data.Sampler(train, seed=5)
    loader = DataLoader(
        train,
        batch_size=3,
        sampler=sampler,
        num_workers=2,
        multiprocessing_context=method,
        persistent_workers=True,
    )
    return [[int(number) for batch in loader for number in batch] for _epoch in range(2)]


def rank(own, world, steps):
    torch.distributed.init_process_group(
        "gloo", init_method="file://" + os.path.abspath(f"meet-{world}"), rank=own, world_size=world
    )
    train = data_torch.FileDataset(data.open("digits").files("train"))
    sampler = data.Sampler(train, seed=5, ends="drop")
    if os.path.exists("state"):
        sampler.load_state_dict(torch.load("state", weights_only=True))
    loader = DataLoader(train, batch_size=2, sampler=sampler, num_workers=1)
    found = []
    for number, batch in enumerate(loader):
        if number == steps:
            break
        found += [int(content) for content in batch]
        sampler.advance(len(batch))
    torch.distributed.barrier()
    if own == world - 1:
        torch.save(sampler.state_dict(), "state")
    torch.distributed.destroy_process_group()
    return found


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    print(json.dumps(workers(*words) if what == "workers" else rank(*map(int, words))))
