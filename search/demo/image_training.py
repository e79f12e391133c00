"""Stage 1: the image tower learns to name the objects and the scene of a picture."""

import logging
import os
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from search.demo.lexicon import things
from search.demo.samples import SIDE, Painter, curriculum
from search.demo.scene import COLOURS, PLACES, TIMES, WEATHERS
from search.demo.tower import WIDTH, PictureTower, picture_config
from search.demo.world import Facts

log = logging.getLogger(__name__)
BATCH = 128  # per process
MEMORY = 8192  # pictures that are shown again, per process
FACTS = (len(PLACES), len(TIMES), len(WEATHERS), len(COLOURS))


class Namer(nn.Module):
    """The tower, its projection into the shared space, and the heads that are thrown away after training."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = PictureTower(picture_config())
        self.projection = nn.Linear(256, WIDTH, bias=False)
        self.objects = nn.Linear(WIDTH, len(things()))
        self.scene = nn.Linear(WIDTH, sum(FACTS))
        nn.init.constant_(self.objects.bias, -3.0)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [B, 3, 96, 96] → logits of the objects [B, objects] and of the scene's facts."""
        features = self.projection(self.tower(pixels).pooler_output)
        return self.objects(features), self.scene(features)


def normalised(pictures: np.ndarray) -> Tensor:
    """Bytes [B, 96, 96, 3] → floats from -1 to 1 [B, 3, 96, 96], channels last in memory."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def label(facts: Facts) -> np.ndarray:
    """Objects as 0/1, then place, time, weather and background as class numbers."""
    row = np.zeros(len(things()) + 4, np.int64)
    row[list(facts.objects)] = 1
    row[len(things()) :] = (facts.place, facts.time, facts.weather, facts.background)
    return row


class Feed:
    """Batches of which one half is new and the other half was seen before, mirrored and shifted."""

    def __init__(self, seed: int, pool: int) -> None:
        self.painter = Painter(seed, pool)
        self.rng = np.random.default_rng(seed + 1)
        self.pictures = np.zeros((MEMORY, SIDE, SIDE, 3), np.uint8)
        self.labels = np.zeros((MEMORY, len(things()) + 4), np.int64)
        self.seen = 0

    def batch(self, progress: float) -> tuple[Tensor, Tensor]:
        """Pixels and labels of BATCH pictures; `progress` of the curriculum, 0 to 1."""
        mix = curriculum(progress)
        fresh = BATCH if self.seen < BATCH else BATCH // 2
        drawn = [self.painter.paint(mix) for _ in range(fresh)]
        pictures = np.stack([pixels for pixels, _ in drawn])
        labels = np.stack([label(facts) for _, facts in drawn])
        if fresh < BATCH:
            old = self.rng.integers(0, min(self.seen, MEMORY), BATCH - fresh)
            pictures = np.concatenate([pictures, self._moved(self.pictures[old])])
            labels = np.concatenate([labels, self.labels[old]])
        slots = (self.seen + np.arange(fresh)) % MEMORY
        self.pictures[slots], self.labels[slots] = pictures[:fresh], labels[:fresh]
        self.seen += fresh
        self.painter.refresh(2)
        return normalised(pictures), torch.from_numpy(labels)

    def _moved(self, pictures: np.ndarray) -> np.ndarray:
        across, down = self.rng.integers(0, 13, 2)
        padded = np.pad(pictures[:, :, ::-1], ((0, 0), (6, 6), (6, 6), (0, 0)), mode="edge")
        return padded[:, down : down + SIDE, across : across + SIDE]


def loss_of(objects: Tensor, scene: Tensor, labels: Tensor) -> Tensor:
    """Which objects are there, which are not, and where and when it is."""
    count = len(things())
    present = labels[:, :count].float()
    many = present.sum(1)
    named = -(present * F.log_softmax(objects, 1)).sum(1) / many.clamp(min=1)
    absent = F.binary_cross_entropy_with_logits(objects, present, reduction="none").sum(1)
    loss = named.mean() + 0.5 * absent.mean()
    for position, logits in enumerate(scene.split(FACTS, 1)):
        loss = loss + 0.2 * F.cross_entropy(logits, labels[:, count + position])
    return loss


def share_gradients(model: nn.Module) -> None:
    """One all-reduce of all gradients laid end to end: cheaper than one a parameter."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def share_buffers(model: nn.Module) -> None:
    """Averages the running statistics of the batch norms over the processes."""
    if dist.is_initialized():
        for buffer in model.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= dist.get_world_size()


def join(rank: int, processes: int, meeting: Path) -> None:
    """One thread a process; the processes find each other through a file."""
    torch.set_num_threads(1)
    if processes > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(
            "gloo",
            init_method=f"file://{meeting}",
            rank=rank,
            world_size=processes,
            timeout=timedelta(minutes=30),
        )


def schedule(
    optimiser: torch.optim.Optimizer, steps: int, warm: float = 0.03
) -> torch.optim.lr_scheduler.LambdaLR:
    """A short warm-up, then half a cosine down to a hundredth."""

    def rate(step: int) -> float:
        share = step / steps
        return (
            share / warm
            if share < warm
            else 0.01 + 0.495 * (1 + float(np.cos(np.pi * (share - warm) / (1 - warm))))
        )

    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step + 1))


def optimiser_of(model: nn.Module, rate: float) -> torch.optim.AdamW:
    """AdamW without decay on biases and norms."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


@torch.inference_mode()
def examine(model: Namer, painter: Painter, count: int = 768) -> dict[str, float]:
    """Top-1 of one object, both of two objects, and all scene facts right, on new pictures of the full world."""
    model.eval()
    drawn = [painter.paint(curriculum(1.0)) for _ in range(count)]
    labels = torch.from_numpy(np.stack([label(facts) for _, facts in drawn]))
    objects, scene = model(normalised(np.stack([pixels for pixels, _ in drawn])))
    model.train()
    truth, total = labels[:, : len(things())], labels[:, : len(things())].sum(1)
    one = truth.gather(1, objects.argmax(1, keepdim=True))[total == 1].float().mean()
    two = (truth.gather(1, objects.topk(2).indices).sum(1) == 2)[total == 2].float().mean()
    guesses = torch.stack([part.argmax(1) for part in scene.split(FACTS, 1)], 1)
    facts = (guesses == labels[:, len(things()) :]).all(1).float().mean()
    return {"one": float(one), "two": float(two), "scene": float(facts)}


def train(rank: int, processes: int, steps: int, seed: int, out: Path) -> None:
    """Runs in each process; the first one writes `out`/image.pt now and then and at the end."""
    join(rank, processes, out / "meeting-image")
    torch.manual_seed(seed)
    model = Namer().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    feed = Feed(seed * 1000 + rank * 17, 3000 if steps > 100 else 100)
    optimiser = optimiser_of(model, 2e-3)
    rates = schedule(optimiser, steps)
    began, total = time.monotonic(), 0.0
    for step in range(steps):
        pixels, labels = feed.batch(step / (0.55 * steps))
        with torch.autocast("cpu", torch.bfloat16):
            objects, scene = model(pixels)
        loss = loss_of(objects.float(), scene.float(), labels)
        optimiser.zero_grad()
        loss.backward()
        share_gradients(model)
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        rates.step()
        total += float(loss.detach())
        if (step + 1) % 100 == 0 or step + 1 == steps:
            share_buffers(model)
            if rank == 0:
                _note(model, step + 1, total / (step % 100 + 1), time.monotonic() - began, out)
            total = 0.0


def _note(model: Namer, step: int, loss: float, seconds: float, out: Path) -> None:
    marks = examine(model, Painter(977, 120)) if step % 300 == 0 or step < 300 else {}
    shown = " ".join(f"{key} {value:.3f}" for key, value in marks.items())
    log.info("image tower: step %d, loss %.3f, %.0f s %s", step, loss, seconds, shown)
    torch.save(model.state_dict(), out / "image.pt.new")
    os.replace(out / "image.pt.new", out / "image.pt")
