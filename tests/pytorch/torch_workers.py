"""A program: two workers train a small network under a schedule, each on half of every batch.

``python torch_workers.py FOLDER``: they meet in a file of FOLDER. Each writes there, as JSON, for each way to share the
work and each epoch, the bytes of every parameter after it.
"""

import json
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from refreeze import always, during
from refreeze.torch import FreezeSchedule
from torch import nn
from torch.distributed.fsdp import fully_shard

EPOCHS, THAW = 4, 2


def train(rank: int, how: str) -> list[dict[str, str]]:
    torch.manual_seed(0)
    model = module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    if how == "ddp":
        model = nn.parallel.DistributedDataParallel(module, find_unused_parameters=True)
    else:
        mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
        for part in (*module[::2], module):
            fully_shard(part, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.5)
    schedule = FreezeSchedule(during(always(["0"]), 0, THAW), model, optimizer, epochs=EPOCHS)
    seen = []
    for epoch in range(EPOCHS):
        schedule.begin(epoch)
        for step in range(2):
            x = torch.randn(8, 4, generator=torch.Generator().manual_seed(100 * epoch + step))
            optimizer.zero_grad()
            model(x[rank::2]).square().mean().backward()
            optimizer.step()
        whole = {name: p.full_tensor() if how == "fsdp" else p for name, p in module.named_parameters()}
        seen.append({name: p.detach().numpy().tobytes().hex() for name, p in whole.items()})
    return seen


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump({how: train(rank, how) for how in ("ddp", "fsdp")}, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.start_processes(worker, (sys.argv[1],), nprocs=2, start_method="fork")
