"""A small network; each rank reads its own part of each epoch, gradients are averaged over all."""

import os

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.nn
from torch.utils.data import DataLoader

from zenkei import sdk
from zenkei.sdk import data

EPOCHS = 2
BATCH = 64


def decode(path):
    label = int(os.path.basename(os.path.dirname(path)))
    return torch.from_numpy(np.load(path).reshape(-1) / 16.0).float(), label


def train(world):
    digits = data.open("digits")
    files = digits.torch("train", load=decode)
    sampler = data.Sampler(files, seed=7, ends="drop")
    loader = DataLoader(files, batch_size=BATCH, sampler=sampler)
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = 0
    for _epoch in range(EPOCHS):
        for images, labels in loader:
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            if world > 1:
                for parameter in model.parameters():
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= world
                dist.all_reduce(loss.detach())
            optimizer.step()
            sdk.report(step=step, loss=loss.item())
            step += 1
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save(model.state_dict(), os.path.join(os.environ["ZENKEI_OUTPUT_DIR"], "model.pt"))
        print(f"{step} steps, {len(files)} files")


if __name__ == "__main__":
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        dist.init_process_group("gloo")
    train(world)
    if world > 1:
        dist.destroy_process_group()
