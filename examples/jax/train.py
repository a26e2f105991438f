"""Data-parallel least squares with JAX: every process holds its own rows, the mesh sums gradients.

`jax.distributed.initialize()` needs no arguments: zenkei gives what it reads.
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zenkei.sdk import context, output_dir, report

COLUMNS, ROWS_EACH = 16, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    jax.distributed.initialize()
    rank, world = jax.process_index(), jax.process_count()
    print(f"process {rank} of {world} on {context().node}: {jax.device_count()} devices")

    truth = np.random.default_rng(context().seed).normal(size=COLUMNS).astype("float32")
    own = np.random.default_rng([context().seed, rank])
    rows = own.normal(size=(ROWS_EACH, COLUMNS)).astype("float32")
    mesh = Mesh(np.array(jax.devices()), ("rows",))
    by_row = NamedSharding(mesh, PartitionSpec("rows"))
    points = jax.make_array_from_process_local_data(by_row, rows)
    values = jax.make_array_from_process_local_data(by_row, rows @ truth)

    @jax.jit
    def step(weights, points, values):
        def loss(weights):
            return jnp.mean((points @ weights - values) ** 2)

        found, slope = jax.value_and_grad(loss)(weights)
        return weights - 0.1 * slope, found

    weights = jax.device_put(jnp.zeros(COLUMNS), NamedSharding(mesh, PartitionSpec()))
    for number in range(1, steps + 1):
        weights, loss = step(weights, points, values)
        if rank == 0:
            report(step=number, loss=float(loss))
    error = float(np.abs(np.asarray(weights) - truth).max())
    if rank == 0:
        with open(f"{output_dir()}/summary.json", "w") as file:
            json.dump({"processes": world, "steps": steps, "error": error}, file)
        print(f"largest error {error:.1e} with {world} processes after {steps} steps")
    jax.distributed.shutdown()


if __name__ == "__main__":
    main()
