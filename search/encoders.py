"""Which models there are, which space each one spans, and the one loaded encoder per process.

Nothing here imports torch: the web process and the commands can name, check and compare spaces without the
seconds and megabytes that a model costs. Loading is left to `search.clip`, called by name.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from django.conf import settings
from django.utils.module_loading import import_string
from PIL import Image

from search.geometry import Geometry, UnsupportedGeometry

DEMO_MODEL = "loupe/demo"
DEMO_DIRECTORY = Path(__file__).resolve().parent / "demo" / "model"
LOADER = "search.clip.load"
MAX_CONFIG_BYTES = 4 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024 * 1024
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "tokenizer.model")
# What a configuration says about its own making, not about the vectors.
VOLATILE_KEYS = frozenset({"transformers_version", "_name_or_path", "id2label", "label2id", "torch_dtype"})
FAMILY_OF_TYPE = {"clip": "clip", "siglip": "siglip", "vision-text-dual-encoder": "dual"}
PROJECTIONS = ("text_projection.weight", "text_model.head.weight")

Family = Literal["clip", "siglip", "dual"]
Knows = Literal["photographs", "drawings"]
Padding = Literal["longest", "max_length"]


class EncoderError(Exception):
    """A model cannot be used; the message says which and what to do."""


class UnknownModel(EncoderError):
    """Neither a listed model nor a directory."""


class ModelNotAvailable(EncoderError):
    """The model is known but its files are not on this machine, or not whole."""


class UnsafeWeights(ModelNotAvailable):
    """Only pickled weights are at hand; they could run code and are never loaded."""


class UnsupportedModel(EncoderError):
    """The directory holds another kind of model than an image-and-text encoder that we can run."""


class EncodingError(EncoderError):
    """The model answered with something that is no direction (NaN, infinity, zero)."""


@dataclass(frozen=True)
class ModelSpec:
    """What is known about a model before any of its files is read.

    `source` is a hub id or a directory; `templates` are prompts with one `{}`, the plainest first; `register`
    is the dotted path of a callable that makes a home-made architecture known before loading.
    """

    name: str
    source: str
    family: Family
    languages: tuple[str, ...]
    templates: tuple[str, ...]
    text_padding: Padding
    text_max_length: int
    knows: Knows
    licence: str
    lowercase: bool = False
    register: str = ""

    @property
    def is_directory(self) -> bool:
        return Path(self.source).is_absolute()

    @property
    def label(self) -> str:
        """The name without the folders of this machine."""
        return Path(self.name).name if Path(self.name).is_absolute() else self.name


@dataclass(frozen=True)
class SpaceIdentity:
    """Two vectors may be compared only where `sha256` is equal."""

    name: str
    revision: str
    sha256: str
    dimension: int
    preprocessing: dict[str, Any]
    languages: tuple[str, ...]


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model on this machine, checked to be there; `text` rules padding and length."""

    directory: Path
    revision: str
    config: dict[str, Any]
    weights: tuple[Path, ...]
    geometry: Geometry
    text: dict[str, Any]


class Encoder(Protocol):
    """A model ready to answer, from any thread; vectors are float32 [n, dimension] of unit norm."""

    @property
    def spec(self) -> ModelSpec: ...
    @property
    def dimension(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def geometry(self) -> Geometry: ...
    def encode_images(self, images: Sequence[Image.Image]) -> np.ndarray: ...
    def encode_texts(self, texts: Sequence[str]) -> np.ndarray: ...


PHOTO_PROMPTS = ("{}", "a photo of {}", "a picture of {}")
# The 36 languages of Crossmodal-3600, on which SigLIP 2 was measured; it saw 109 in training.
# fmt: off
SIGLIP2_LANGUAGES = (
    "en", "ar", "bn", "cs", "da", "de", "el", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu", "id", "it",
    "ja", "ko", "mi", "nl", "no", "pl", "pt", "quz", "ro", "ru", "sv", "sw", "te", "th", "tr", "uk", "vi", "zh",
)
# fmt: on


def _clip(name: str) -> ModelSpec:
    return ModelSpec(name, name, "clip", ("en",), PHOTO_PROMPTS, "longest", 77, "photographs", "MIT")


def _siglip2(name: str) -> ModelSpec:
    # Trained on lower-cased text padded to 64 tokens and read at the last position, so the padding counts.
    return ModelSpec(
        name=name,
        source=name,
        family="siglip",
        languages=SIGLIP2_LANGUAGES,
        templates=("{}", "this is a photo of {}"),
        text_padding="max_length",
        text_max_length=64,
        knows="photographs",
        licence="Apache-2.0",
        lowercase=True,
    )


DEMO = ModelSpec(
    name=DEMO_MODEL,
    source=str(DEMO_DIRECTORY),
    family="dual",
    languages=("en", "es", "fr", "de"),
    templates=("{}",),
    text_padding="longest",
    text_max_length=77,
    knows="drawings",
    licence="Apache-2.0",
    register="search.demo.tower.register",
)
REGISTRY: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        DEMO,
        _clip("openai/clip-vit-base-patch32"),
        _clip("openai/clip-vit-base-patch16"),
        _clip("openai/clip-vit-large-patch14"),
        _siglip2("google/siglip2-base-patch16-224"),
        _siglip2("google/siglip2-large-patch16-256"),
    )
}


def default_model_name() -> str:
    """The setting LOUPE_MODEL, else the bundled model."""
    return getattr(settings, "LOUPE_MODEL", "") or DEMO_MODEL


def spec_for(name_or_path: str | Path) -> ModelSpec:
    """A listed model by its name, or any directory in Hugging Face layout by its path."""
    name = str(name_or_path)
    if name in REGISTRY:
        return REGISTRY[name]
    path = Path(name).expanduser()
    if not path.is_dir():
        known = ", ".join(sorted(REGISTRY))
        raise UnknownModel(f"Unknown model “{name}”. Known: {known}; or the path of a model directory.")
    return DEMO if path.resolve() == DEMO_DIRECTORY else _directory_spec(path.resolve())


def _directory_spec(directory: Path) -> ModelSpec:
    config = _config(directory)
    family = _family(config, directory)
    base = {"clip": _clip, "siglip": _siglip2}.get(family, _clip)(str(directory))
    spec = replace(base, family=family, licence="unknown", register=_registration(config))
    return replace(spec, **_card(directory))


def _registration(config: dict[str, Any]) -> str:
    """Our own picture tower, wherever it lies, needs its class made known first."""
    kind = str((config.get("vision_config") or {}).get("model_type", ""))
    return DEMO.register if kind.startswith("loupe") else ""


def _card(directory: Path) -> dict[str, Any]:
    """What `loupe.json` beside the weights says: languages, templates, knows, licence; all optional."""
    path = directory / "loupe.json"
    if not path.is_file():
        return {}
    card = _read_json(path)
    known: dict[str, Any] = {}
    for field in ("languages", "templates"):
        if field in card:
            known[field] = _strings(card[field], f"{path}: {field}")
    for field, allowed in (("knows", {"photographs", "drawings"}), ("licence", None)):
        if field in card:
            known[field] = _word(card[field], allowed, f"{path}: {field}")
    return known


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not 1 <= len(value) <= 200
        or not all(isinstance(part, str) for part in value)
    ):
        raise UnsupportedModel(f"{where} must be a list of 1 to 200 strings.")
    return tuple(value)


def _word(value: Any, allowed: set[str] | None, where: str) -> str:
    if not isinstance(value, str) or (allowed is not None and value not in allowed):
        raise UnsupportedModel(f"{where} must be {' or '.join(sorted(allowed)) if allowed else 'a string'}.")
    return value


def model_files(spec: ModelSpec) -> ModelFiles:
    """The model's files; raises ModelNotAvailable, UnsafeWeights or UnsupportedModel."""
    directory, revision = _location(spec)
    config = _config(directory)
    if _family(config, directory) != spec.family:
        raise UnsupportedModel(f"{directory} holds a {config['model_type']} model, not a {spec.family} one.")
    weights = _weights(directory, spec)
    geometry = _geometry(directory)
    return ModelFiles(directory, revision, config, weights, geometry, _text_rule(spec, config))


def _location(spec: ModelSpec) -> tuple[Path, str]:
    if spec.is_directory:
        directory = Path(spec.source)
        if not (directory / "config.json").is_file():
            raise ModelNotAvailable(f"{spec.label} is not at {directory} (no config.json). {_advice(spec)}")
        return directory, ""
    for snapshot in hub_snapshots(spec):
        if (snapshot / "config.json").is_file() and _has_weights(snapshot):
            return snapshot, snapshot.name
    raise ModelNotAvailable(f"{spec.name} is not on this machine. {_advice(spec)}")


def _advice(spec: ModelSpec) -> str:
    if spec.is_directory:
        return "Run: manage.py train_demo_model" if spec is DEMO else "Copy the whole directory again."
    return f"Run: manage.py fetch_model {spec.name}"


def hub_snapshots(spec: ModelSpec) -> list[Path]:
    """Downloaded revisions in the Hugging Face cache, the main branch first."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{spec.source.replace('/', '--')}"
    refs = [path for path in (folder / "refs").rglob("*") if path.is_file()]
    refs.sort(key=lambda path: (path.name != "main", str(path)))
    return [folder / "snapshots" / ref.read_text().strip() for ref in refs]


def _has_weights(directory: Path) -> bool:
    return (directory / WEIGHTS).is_file() or (directory / WEIGHTS_INDEX).is_file()


def _weights(directory: Path, spec: ModelSpec) -> tuple[Path, ...]:
    if (directory / WEIGHTS_INDEX).is_file():
        names = sorted(set(_read_json(directory / WEIGHTS_INDEX).get("weight_map", {}).values()))
    else:
        names = [WEIGHTS]
    paths = tuple(directory / Path(name).name for name in names)
    missing = [path.name for path in paths if not path.is_file()]
    if paths and not missing:
        return paths
    if any(directory.glob("*.bin")) or any(directory.glob("*.pt")):
        raise UnsafeWeights(
            f"{directory} holds pickled weights only; they are never loaded. Convert them to {WEIGHTS}."
        )
    raise ModelNotAvailable(f"{spec.label}: {', '.join(missing) or WEIGHTS} is missing. {_advice(spec)}")


def _config(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    if not path.is_file():
        raise UnsupportedModel(f"{directory} is no model directory: there is no config.json.")
    return _read_json(path)


def _family(config: dict[str, Any], directory: Path) -> Family:
    family = FAMILY_OF_TYPE.get(str(config.get("model_type")))
    if family is None:
        kinds = ", ".join(FAMILY_OF_TYPE)
        raise UnsupportedModel(f"{directory} holds a {config.get('model_type')!r} model; supported: {kinds}.")
    return family  # type: ignore[return-value]


def _geometry(directory: Path) -> Geometry:
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (directory / name).is_file():
            try:
                return Geometry.from_config(_read_json(directory / name))
            except UnsupportedGeometry as error:
                raise UnsupportedModel(f"{directory / name}: {error}") from error
    raise ModelNotAvailable(f"{directory} lacks preprocessor_config.json: the input geometry is unknown.")


def _text_rule(spec: ModelSpec, config: dict[str, Any]) -> dict[str, Any]:
    positions = (config.get("text_config") or {}).get("max_position_embeddings")
    length = min(spec.text_max_length, positions) if isinstance(positions, int) else spec.text_max_length
    return {"padding": spec.text_padding, "max_length": length, "lowercase": spec.lowercase}


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise UnsupportedModel(f"{path} is larger than {MAX_CONFIG_BYTES} bytes.")
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelNotAvailable(f"{path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ModelNotAvailable(f"{path} is damaged: it must hold an object.")
    return value


def identify(name: str | Path) -> SpaceIdentity:
    """The space of a model, read from its files; needs no torch."""
    spec = spec_for(name)
    files = model_files(spec)
    digests = [file_sha256(path) for path in files.weights]
    # bfloat16 is taken only where it agrees with float32 (see search.clip), so both name one space.
    preprocessing = {"image": files.geometry.describe(), "text": files.text, "dtype": "float32|bfloat16"}
    vocabulary = [path for name in TOKENIZER_FILES if (path := files.directory / name).is_file()]
    tokenizer = {path.name: file_sha256(path) for path in vocabulary}
    facts = {"weights": digests, "tokenizer": tokenizer, "config": _stable(files.config), **preprocessing}
    sha256 = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return SpaceIdentity(
        name=spec.name,
        revision=files.revision or sha256[:12],
        sha256=sha256,
        dimension=_dimension(files),
        preprocessing=preprocessing,
        languages=spec.languages,
    )


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stable(part) for key, part in value.items() if key not in VOLATILE_KEYS}
    return value


_digests: dict[str, tuple[tuple[int, int, int], str]] = {}


def file_sha256(path: Path) -> str:
    """Checksum of a file, remembered while its inode, size and modification time stay."""
    stat = path.stat()
    stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    known = _digests.get(str(path))
    if known and known[0] == stamp:
        return known[1]
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    _digests[str(path)] = (stamp, digest)
    return digest


def _dimension(files: ModelFiles) -> int:
    """Rows of the text projection, read from the header of the weights."""
    for path in files.weights:
        header = _header(path)
        for name, entry in header.items():
            if name.endswith(PROJECTIONS) and isinstance(entry, dict) and entry.get("shape"):
                return int(entry["shape"][0])
    raise UnsupportedModel(f"{files.directory}: the weights hold no text projection.")


def _header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: 8 bytes of length (little-endian), then the text."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, path.stat().st_size - 8):
            raise ModelNotAvailable(f"{path} is damaged: it is not a safetensors file.")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
    except ValueError as error:
        raise ModelNotAvailable(f"{path} is damaged: its header cannot be read.") from error
    return header if isinstance(header, dict) else {}


_encoders: dict[str, Encoder] = {}
_loading = threading.Lock()


def get_encoder(name: str | Path) -> Encoder:
    """The process's one encoder of that model; the first call loads it (seconds), others wait for it.

    Call it after a fork, never before: a child of a process that has used torch hangs.
    """
    spec = spec_for(name)
    encoder = _encoders.get(spec.name)
    if encoder is not None:
        return encoder
    with _loading:
        if spec.name not in _encoders:
            _encoders[spec.name] = import_string(LOADER)(spec)
        return _encoders[spec.name]


def loaded_encoders() -> tuple[str, ...]:
    """Names of the models that this process holds in memory (for readiness and diagnostics)."""
    return tuple(_encoders)


def release_encoders() -> None:
    """Forget the loaded models, so that their memory can go back."""
    with _loading:
        _encoders.clear()
