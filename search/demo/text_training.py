"""Stage 2: the image tower rests; a text tower and both projections learn which caption is true of which picture."""

import logging
import os
import shutil
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessorPil,
    CLIPTokenizer,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
)

from search.demo import vocabulary
from search.demo.captions import Caption, Captioner, matrix
from search.demo.evaluation import reserved_texts
from search.demo.image_training import Namer, join, normalised, optimiser_of, schedule, share_gradients
from search.demo.samples import SIDE, Mix, Painter
from search.demo.tower import TOKENS, dual_encoder
from search.demo.world import Facts

log = logging.getLogger(__name__)
PICTURES = 20_000  # per process, each also mirrored
CAPTIONS = 256  # per step and process
GROUP = 64  # captions of like length that go through the text tower together
CANDIDATES = 4096  # pictures that each caption is compared with
HARDEST = 32
MODEL_FILES = Path(__file__).with_name("model_files")
Features = tuple[Tensor, list[Facts]]


def captioner(seed: int) -> Captioner:
    """Captions without the texts that evaluation keeps for itself."""
    return Captioner(seed, reserved_texts())


def prepare(rank: int, processes: int, steps: int, seed: int, work: Path) -> None:
    """Draws new pictures and stores what the finished image tower makes of them; the tokenizer, too."""
    torch.set_num_threads(1)
    if rank == 0:
        vocabulary.learn(captioner(seed)).save_pretrained(work / "tokenizer")
    namer = Namer().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    namer.load_state_dict(torch.load(work / "image.pt", weights_only=True))
    namer.eval()
    painter = Painter(seed * 1000 + 500 + rank, 4000)
    features, facts = _features(namer, painter, PICTURES)
    save_file({"features": features, "facts": _packed(facts)}, work / f"features-{rank}.safetensors")


@torch.inference_mode()
def _features(namer: Namer, painter: Painter, count: int) -> Features:
    """Pooled features of `count` pictures, then of their mirror images [2 · count, 256]."""
    plain, mirrored, known = [], [], []
    for _ in range(0, count, 250):
        drawn = [painter.paint(Mix()) for _ in range(250)]
        painter.refresh(8)
        pixels = normalised(np.stack([picture for picture, _ in drawn]))
        known += [facts for _, facts in drawn]
        plain.append(namer.tower(pixels).pooler_output)
        mirrored.append(namer.tower(pixels.flip(3)).pooler_output)
    return torch.cat(plain + mirrored), known + known


def _packed(facts: list[Facts]) -> Tensor:
    """Facts as rows of two objects (-1: none), place, time, weather, background."""
    rows = [(*(*f.objects, -1, -1)[:2], f.place, f.time, f.weather, f.background) for f in facts]
    return torch.tensor(rows, dtype=torch.int16)


def _stored(path: Path) -> Features:
    stored = load_file(path)
    facts = [Facts(tuple(n for n in row[:2] if n >= 0), *row[2:]) for row in stored["facts"].tolist()]
    return stored["features"], facts


class Pairing(nn.Module):
    """The dual encoder with the scales and biases that only training needs."""

    def __init__(self, tokenizer: CLIPTokenizer, namer: Namer) -> None:
        super().__init__()
        self.model: VisionTextDualEncoderModel = dual_encoder(
            len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id
        )
        self.model.text_model.set_attn_implementation("eager")  # a third faster than sdpa on so short texts
        self.model.vision_model.load_state_dict(namer.tower.state_dict())
        self.model.vision_model.requires_grad_(False)
        self.model.visual_projection.load_state_dict(namer.projection.state_dict())
        self.scale = nn.Parameter(torch.tensor(15.0).log())
        self.bias = nn.Parameter(torch.tensor(-7.0))

    def texts(self, groups: list[Tensor]) -> Tensor:
        """Token numbers in groups of equal length [B, T] → unit vectors of all [captions, 256]."""
        with torch.autocast("cpu", torch.bfloat16):
            pooled = torch.cat([self.model.text_model(input_ids=ids).pooler_output for ids in groups])
        return F.normalize(self.model.text_projection(pooled.float()), dim=1)

    def pictures(self, features: Tensor) -> Tensor:
        """Pooled features [B, 256] → unit vectors [B, 256]."""
        return F.normalize(self.model.visual_projection(features), dim=1)

    def loss(self, texts: Tensor, pictures: Tensor, truth: Tensor) -> Tensor:
        """Exact targets: `truth` [captions, pictures] is 1 where the caption holds."""
        cosine = texts @ pictures.T
        logits = cosine * self.model.logit_scale.exp().clamp(max=60)
        ranking = 0.5 * (_soft_entropy(logits, truth) + _soft_entropy(logits.T, truth.T))
        return ranking + 0.5 * _calibration(cosine * self.scale.exp() + self.bias, truth)


def _soft_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy with all positives sharing the target; rows without positives do not count."""
    total = truth.sum(1)
    row = -(truth * F.log_softmax(logits, 1)).sum(1) / total.clamp(min=1)
    return row[total > 0].mean()


def _calibration(logits: Tensor, truth: Tensor) -> Tensor:
    """Pushes the absolute cosine: every positive up, all negatives down, the hardest ones most."""
    total = truth.sum(1)
    positive = ((F.softplus(-logits) * truth).sum(1) / total.clamp(min=1))[total > 0].mean()
    wrong = logits.masked_fill(truth > 0, -30.0)
    return positive + F.softplus(wrong).mean() + F.softplus(wrong.topk(HARDEST, 1).values).mean()


def same_objects(pictures: Tensor, objects: Tensor) -> Tensor:
    """Pictures of the same object attract each other. pictures [B, 256] unit, objects [B, objects] 0/1."""
    shared = ((objects @ objects.T) > 0).float().fill_diagonal_(0)
    logits = (pictures @ pictures.T * 20).fill_diagonal_(-1e4)
    return _soft_entropy(logits, shared)


class Lessons:
    """Random captions with random pictures, and what is true of them."""

    def __init__(self, features: Features, tokenizer: CLIPTokenizer, seed: int) -> None:
        from search.demo.world import Table

        self.features, self.facts = features
        self.noise = 0.05 * self.features.std(0)
        table = Table(self.facts)
        self.columns = {
            kind: getattr(table, kind) for kind in ("objects", "place", "time", "weather", "background")
        }
        self.rng, self.captioner = np.random.default_rng(seed), captioner(seed)
        self.tokenizer = tokenizer.backend_tokenizer
        self.tokenizer.model.dropout = 0.08
        self.end = tokenizer.eos_token_id
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(TOKENS)

    def next(self) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Token numbers, noisy features, truth [captions, pictures] and the pictures' objects."""
        chosen = self.rng.integers(0, len(self.facts), CANDIDATES)
        captions = [self._caption(int(picture)) for picture in chosen[:CAPTIONS]]
        columns = {kind: column[chosen] for kind, column in self.columns.items()}
        coded = [one.ids for one in self.tokenizer.encode_batch([text for text, _ in captions])]
        order = sorted(range(CAPTIONS), key=lambda row: len(coded[row]))  # short texts need no long padding
        groups = [
            self._padded([coded[row] for row in order[at : at + GROUP]]) for at in range(0, CAPTIONS, GROUP)
        ]
        features = self.features[chosen]
        features = features + torch.randn_like(features) * self.noise
        truth = torch.from_numpy(matrix([captions[row] for row in order], columns)).float()
        return groups, features, truth, torch.from_numpy(columns["objects"]).float()

    def _padded(self, coded: list[list[int]]) -> Tensor:
        longest = max(map(len, coded))
        return torch.tensor([ids + [self.end] * (longest - len(ids)) for ids in coded])

    def _caption(self, picture: int) -> Caption:
        draw = self.rng.random()
        if draw < 0.2:
            return self.captioner.of_none()
        return self.captioner.of_some() if draw < 0.32 else self.captioner.true_of(self.facts[picture])


def train(rank: int, processes: int, steps: int, seed: int, work: Path) -> None:
    """Stage 2 from a fresh text tower."""
    _train(rank, processes, steps, seed, work, None)


def refine(rank: int, processes: int, steps: int, seed: int, work: Path) -> None:
    """More of stage 2, from `work`/pairing.pt, with other captions and a smaller rate."""
    start = torch.load(work / "pairing.pt", weights_only=True)
    _train(rank, processes, steps, seed + 100, work, start)


def _train(
    rank: int, processes: int, steps: int, seed: int, work: Path, start: dict[str, Tensor] | None
) -> None:
    """Runs in each process on its own pictures; the first one writes `work`/pairing.pt."""
    join(rank, processes, work / "meeting-text")
    torch.manual_seed(seed)
    tokenizer = vocabulary.saved(work / "tokenizer")
    namer = Namer()
    namer.load_state_dict(torch.load(work / "image.pt", weights_only=True))
    pairing = Pairing(tokenizer, namer)
    if start:
        pairing.load_state_dict(start)
    lessons = Lessons(_stored(work / f"features-{rank}.safetensors"), tokenizer, seed * 1000 + 700 + rank)
    torch.manual_seed(seed + rank)
    optimiser = optimiser_of(pairing, 6e-4 if start else 1e-3)
    rates = schedule(optimiser, steps)
    began, total = time.monotonic(), 0.0
    for step in range(steps):
        groups, features, truth, objects = lessons.next()
        pictures = pairing.pictures(features)
        loss = pairing.loss(pairing.texts(groups), pictures, truth)
        loss = loss + 0.2 * same_objects(pictures[:384], objects[:384])
        optimiser.zero_grad()
        loss.backward()
        share_gradients(pairing)
        nn.utils.clip_grad_norm_(pairing.parameters(), 1.0)
        optimiser.step()
        rates.step()
        total += float(loss.detach())
        if rank == 0 and ((step + 1) % 100 == 0 or step + 1 == steps):
            _note(pairing, step + 1, total / (step % 100 + 1), time.monotonic() - began, work)
            total = 0.0
    if dist.is_initialized():
        dist.destroy_process_group()


def _note(pairing: Pairing, step: int, loss: float, seconds: float, work: Path) -> None:
    log.info(
        "text tower: step %d, loss %.3f, scale %.1f, bias %.1f, %.0f s",
        step,
        loss,
        pairing.scale.exp().item(),
        pairing.bias.item(),
        seconds,
    )
    torch.save(pairing.state_dict(), work / "pairing.pt.new")
    os.replace(work / "pairing.pt.new", work / "pairing.pt")


def package(work: Path, out: Path) -> None:
    """Writes the half-precision model, its processor and its papers in the format of transformers."""
    tokenizer = vocabulary.saved(work / "tokenizer")
    pairing = Pairing(tokenizer, Namer())
    pairing.load_state_dict(torch.load(work / "pairing.pt", weights_only=True))
    out.mkdir(parents=True, exist_ok=True)
    pairing.model.half().save_pretrained(out)
    size = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size=size, resample=3, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    VisionTextDualEncoderProcessor(images, tokenizer).save_pretrained(out)
    for paper in MODEL_FILES.iterdir():
        shutil.copyfile(paper, out / paper.name)
    for path in out.iterdir():
        path.chmod(0o644)
