import torch
import torch.distributed as dist

dist.init_process_group("gloo")
weights = torch.zeros(1000)
for step in range(1000):
    if step == 5 and dist.get_rank() == 2:
        raise ValueError(f"label {step + 9} is out of range")
    dist.all_reduce(weights)
