"""Stands for a training: steps of a fifth of a second, a checkpoint when it is asked for one.

Goes on from its newest checkpoint. Beside `until.txt`, which names a folder, it goes on until a
file with the job's number lies there: so run.py says when a training has become good enough.
"""

import argparse
import json
import os
import time

from zenkei.sdk import checkpoint, context, output_dir, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps
    good_enough = ""
    if os.path.exists("until.txt"):
        with open("until.txt") as file:
            good_enough = os.path.join(file.read().strip(), os.environ["ZENKEI_JOB"])

    first = context().rank == 0  # these ranks do not talk to each other: one saves for all
    found = checkpoint.resume()
    start = step = found.step if found else 0
    print(f"rank {context().rank} of {context().world_size} begins at step {start}", flush=True)
    while step < steps or (good_enough and not os.path.exists(good_enough)):
        time.sleep(0.2)
        step += 1
        if first:
            report(step=step)
            if checkpoint.due():
                with checkpoint.file(step) as path, open(path, "w") as file:
                    file.write(str(step))
    if first:
        with open(f"{output_dir()}/summary.json", "w") as file:
            json.dump({"steps": step, "of_them_in_this_attempt": step - start}, file)


if __name__ == "__main__":
    main()
