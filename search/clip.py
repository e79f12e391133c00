"""Runs image-and-text encoders with torch and transformers: the only part of the running product that does.

Both libraries are imported inside functions (3-10 s, 330 MB), so Django starts without them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from django.conf import settings
from django.utils.module_loading import import_string
from PIL import Image

from search.encoders import (
    EncoderError,
    EncodingError,
    ModelFiles,
    ModelNotAvailable,
    ModelSpec,
    SpaceIdentity,
    UnsupportedModel,
    identify,
    model_files,
)
from search.geometry import Geometry

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

DTYPES = ("auto", "float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")
AGREEMENT = 0.999
"""Lowest cosine between bfloat16 and float32 at which the two count as one space."""
TEXT_BATCH = 256
CHARACTERS_PER_TOKEN = 64
PROBE_IMAGES = 8
PROBE_TEXTS = ("a photo of a cat", "sunset over the sea with two small boats", "red")
T = TypeVar("T")


def load(spec: ModelSpec, dtype: str = "", device: str = "") -> TorchEncoder:
    """Load a model from this machine's files; settings decide what the arguments leave open.

    Raises ModelNotAvailable, UnsafeWeights or UnsupportedModel; never downloads.
    """
    dtype = _choice(dtype or getattr(settings, "LOUPE_DTYPE", "auto"), DTYPES, "LOUPE_DTYPE")
    place = _device(_choice(device or getattr(settings, "LOUPE_DEVICE", "auto"), DEVICES, "LOUPE_DEVICE"))
    files = model_files(spec)
    identity = identify(spec.name)
    threads = getattr(settings, "LOUPE_TORCH_THREADS", 0)
    if threads:
        set_threads(threads)
    tokenizer = _tokenizer(files)

    def build(precision: str) -> TorchEncoder:
        model = _model(spec, files, precision, place)
        return TorchEncoder(spec, identity, files, model, tokenizer, precision, place)

    encoder = _best(build, spec, dtype, place)
    logger.info("Loaded %s: %s on %s", spec.label, encoder.dtype, place)
    return encoder


def set_threads(count: int) -> None:
    """Bound the threads that one call of a model may use in this process (1 in web processes)."""
    import torch

    torch.set_num_threads(max(1, count))


class TorchEncoder:
    """An `Encoder` over a transformers model with `get_image_features` and `get_text_features`."""

    def __init__(
        self,
        spec: ModelSpec,
        identity: SpaceIdentity,
        files: ModelFiles,
        model: Any,
        tokenizer: Any,
        dtype: str,
        device: str,
    ) -> None:
        self.spec, self.identity, self.dtype, self.device = spec, identity, dtype, device
        self.geometry: Geometry = files.geometry
        self.text_rule = files.text
        self.image_batch = max(1, int(getattr(settings, "LOUPE_BATCH_SIZE", 32)))
        self.text_batch = TEXT_BATCH
        self._model, self._tokenizer = model, tokenizer
        # The tokenizer keeps padding and truncation as state of its own: two threads raise "Already borrowed".
        self._tokenizing = threading.Lock()

    @property
    def dimension(self) -> int:
        return self.identity.dimension

    @property
    def sha256(self) -> str:
        return self.identity.sha256

    @property
    def revision(self) -> str:
        return self.identity.revision

    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Upright pictures of any mode and size → float32 [n, dimension], unit norm."""
        parts, self.image_batch = in_batches(self._image_vectors, images, self.image_batch)
        return self._joined(parts)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts of any length (cut to the model's) → float32 [n, dimension], unit norm."""
        parts, self.text_batch = in_batches(self._text_vectors, texts, self.text_batch)
        return self._joined(parts)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids that the model sees, padding included."""
        return self._tokens(texts)["input_ids"].tolist()

    def _joined(self, parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts) if parts else np.zeros((0, self.dimension), dtype=np.float32)

    def _image_vectors(self, images: Sequence[Image.Image]) -> np.ndarray:
        import torch

        pixels = torch.from_numpy(self.geometry.batch(images)).to(self.device, getattr(torch, self.dtype))
        if self.spec.family == "dual":
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return unit(projected(self._model.get_image_features(pixel_values=pixels)), self.dimension)

    def _text_vectors(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        tokens = {name: part.to(self.device) for name, part in self._tokens(texts).items()}
        with torch.inference_mode():
            return unit(projected(self._model.get_text_features(**tokens)), self.dimension)

    def _tokens(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Ids and, but for SigLIP, which was trained without one, the mask; one text alone is not padded."""
        rule = self.text_rule
        fixed = rule["padding"] == "max_length"
        cleaned = [clean_text(text, rule) for text in texts]
        with self._tokenizing:
            tokens = self._tokenizer(
                cleaned,
                padding="max_length" if fixed else len(cleaned) > 1,
                truncation=True,
                max_length=rule["max_length"],
                padding_side="right",
                return_tensors="pt",
            )
        wanted = ("input_ids",) if self.spec.family == "siglip" else ("input_ids", "attention_mask")
        return {name: tokens[name] for name in wanted}


def clean_text(text: str, rule: dict[str, Any]) -> str:
    """One line without lone surrogates, bounded before it is tokenised, lower-cased where trained so."""
    text = text[: rule["max_length"] * CHARACTERS_PER_TOKEN * 4].encode("utf-8", "replace").decode()
    text = " ".join(text.split())[: rule["max_length"] * CHARACTERS_PER_TOKEN]
    return text.lower() if rule["lowercase"] else text


def in_batches(
    run: Callable[[Sequence[T]], np.ndarray], items: Sequence[T], size: int
) -> tuple[list[np.ndarray], int]:
    """Run over slices; when the accelerator is out of memory, halve the slice and go on.

    Returns the results and the size that fitted, so that the next call starts there.
    """
    import torch

    results: list[np.ndarray] = []
    start = 0
    while start < len(items):
        try:
            results.append(run(items[start : start + size]))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            _free_memory()
            size //= 2
            logger.warning("Out of accelerator memory: the batch is now %d", size)
            continue
        start += size
    return results, size


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def projected(output: Any) -> np.ndarray:
    """A model's projected vectors, bare or under `pooler_output`, as float32 [n, d]."""
    return getattr(output, "pooler_output", output).float().cpu().numpy()


def unit(vectors: np.ndarray, dimension: int) -> np.ndarray:
    """Scale rows to length 1; EncodingError when a row has no direction or not `dimension` entries."""
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise EncodingError(f"The model answered with shape {vectors.shape}, not [n, {dimension}].")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = ~np.isfinite(norms[:, 0]) | (norms[:, 0] < 1e-12)
    if bad.any():
        raise EncodingError(f"The model gave no usable vector for item {int(bad.argmax())} of {len(bad)}.")
    return (vectors / norms).astype(np.float32, copy=False)


def _choice(value: str, allowed: tuple[str, ...], setting: str) -> str:
    if value not in allowed:
        raise EncoderError(f"{setting} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def _device(wanted: str) -> str:
    import torch

    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise EncoderError("LOUPE_DEVICE is cuda, but torch sees no CUDA device.")
    return "cuda" if available and wanted != "cpu" else "cpu"


def _best(build: Callable[[str], TorchEncoder], spec: ModelSpec, dtype: str, device: str) -> TorchEncoder:
    """The encoder in the wanted precision; with `auto`, the faster one that still spans the same space."""
    import torch

    if dtype != "auto":
        return build(dtype)
    if device == "cuda":
        return build("bfloat16" if torch.cuda.is_bf16_supported() else "float32")
    if spec.family != "dual" and torch.cpu.get_capabilities().get("amx_bf16"):
        return build("bfloat16")
    return faster(build("float32"), build("bfloat16"))


def faster(full: TorchEncoder, half: TorchEncoder) -> TorchEncoder:
    """`half` if it wins the clock on a batch of pictures and agrees with `full`; else `full`."""
    images = probe_images(full.geometry, PROBE_IMAGES)
    if agreement(full, half, images, PROBE_TEXTS) < AGREEMENT:
        return full
    timed = {encoder.dtype: min(_seconds(encoder, images) for _ in range(3)) for encoder in (full, half)}
    return half if timed[half.dtype] < timed[full.dtype] else full


def agreement(
    first: TorchEncoder, second: TorchEncoder, images: Sequence[Image.Image], texts: Sequence[str]
) -> float:
    """The lowest cosine between the answers of two encoders of one space."""
    cosines = [
        (first.encode_images(images) * second.encode_images(images)).sum(1),
        (first.encode_texts(texts) * second.encode_texts(texts)).sum(1),
    ]
    return float(min(part.min() for part in cosines))


def probe_images(geometry: Geometry, count: int) -> list[Image.Image]:
    """Smooth coloured noise of the model's own size, the same at every call."""
    random = np.random.default_rng(7)
    height, width = geometry.output
    coarse = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return [Image.fromarray(part).resize((width, height), Image.Resampling.BICUBIC) for part in coarse]


def _seconds(encoder: TorchEncoder, images: Sequence[Image.Image]) -> float:
    started = time.perf_counter()
    encoder.encode_images(images)
    return time.perf_counter() - started


def _tokenizer(files: ModelFiles) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(files.directory, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelNotAvailable(f"The tokenizer in {files.directory} cannot be loaded: {error}") from error


def _model(spec: ModelSpec, files: ModelFiles, dtype: str, device: str) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    if spec.register:
        import_string(spec.register)()
    try:
        model, report = AutoModel.from_pretrained(
            files.directory,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelNotAvailable(f"The weights in {files.directory} cannot be loaded: {error}") from error
    # transformers fills what is missing with random numbers and only warns.
    if missing := sorted(report["missing_keys"]):
        raise UnsupportedModel(f"{files.directory}: {len(missing)} tensors are missing, first {missing[0]}.")
    model = model.eval().requires_grad_(False).to(device)
    return model.to(memory_format=torch.channels_last) if spec.family == "dual" else model
