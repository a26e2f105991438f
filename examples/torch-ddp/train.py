"""Data-parallel training with DistributedDataParallel: NCCL with GPUs, gloo without.

A teacher network labels random points; the student learns them. Every rank draws its own points,
from the step and its rank: so the run is the same however often it is interrupted, and each time
it goes on from its newest checkpoint.
"""

import argparse
import json
import os

import torch
import torch.distributed as dist
import torch.distributed.nn  # before there is a group, which it would keep: see the end
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from zenkei.sdk import checkpoint, checkpoint_torch, context, output_dir, report

INPUTS, CLASSES, BATCH = 32, 8, 64


def draw(teacher: nn.Module, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and their classes; the same number gives the same points."""
    points = torch.randn(BATCH, INPUTS, generator=torch.Generator().manual_seed(number))
    with torch.no_grad():
        return points, teacher(points).argmax(1)


def network(seed: int, width: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(INPUTS, width), nn.ReLU(), nn.Linear(width, CLASSES))


def accuracy(model: nn.Module, teacher: nn.Module) -> float:
    """On points that are nobody's training data."""
    points, classes = draw(teacher, 2**40)
    with torch.no_grad():
        return float((model(points).argmax(1) == classes).float().mean())


def train(steps: int) -> float:
    """The model is gone when this returns, as `main` needs it. Returns its accuracy (on rank 0)."""
    rank, world, local = dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_RANK"])
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    print(f"rank {rank} of {world} on {context().node}", flush=True)

    teacher = network(context().seed, 16)
    model = DistributedDataParallel(network(context().seed + 1, 64).to(device))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    parts = {"model": model.module, "optimizer": optimizer}
    for step in range(checkpoint_torch.load(**parts) + 1, steps + 1):
        points, classes = draw(teacher, step * world + rank)
        loss = nn.functional.cross_entropy(model(points.to(device)), classes.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0:
            report(step=step, loss=loss.item())
        if checkpoint.all_agree(checkpoint.due()):
            checkpoint_torch.save(step, **parts)
    return accuracy(model.module.cpu(), teacher) if rank == 0 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    reached = train(steps)
    if dist.get_rank() == 0:
        world = dist.get_world_size()
        with open(f"{output_dir()}/summary.json", "w") as file:
            json.dump({"ranks": world, "steps": steps, "accuracy": reached}, file)
        print(f"accuracy {reached:.3f} with {world} ranks after {steps} steps", flush=True)
    # Ends gloo's threads, which would abort a Python that ends before them. Only if nothing holds
    # the group any more: no model, and no module that was imported when there was one already.
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
