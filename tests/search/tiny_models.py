"""Random models of the real architectures, small enough to build and load in a second."""

import json
from pathlib import Path

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
SHAPES = {"base-patch32": (32, 64), "base-patch16": (16, 64), "large-patch14": (14, 96)}


def _text(vocabulary: int, positions: int) -> dict:
    heads = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {**heads, "vocab_size": vocabulary, "max_position_embeddings": positions}


def _vision(patch: int, size: int) -> dict:
    heads = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {**heads, "patch_size": patch, "image_size": size}


def clip_tokenizer():
    """CLIP's own normaliser and byte alphabet without merges: 514 tokens."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=77)


def _preprocessing(folder: Path, **fields) -> None:
    base = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "resample": 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps({**base, **fields}))


def clip_model(folder: Path, shape: str = "base-patch32", seed: int = 0) -> Path:
    """A `CLIPModel` with the patch size of a published one, 224 pixels."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    patch, dimension = SHAPES[shape]
    ids = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    config = CLIPConfig(
        text_config=_text(514, 77) | ids, vision_config=_vision(patch, 224), projection_dim=dimension
    )
    CLIPModel(config).save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    crop = {"height": 224, "width": 224}
    _preprocessing(
        folder,
        size={"shortest_edge": 224},
        crop_size=crop,
        do_center_crop=True,
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
    )
    return folder


def siglip2_model(folder: Path, seed: int = 0) -> Path:
    """A fixed-size SigLIP 2 (`SiglipModel`, Gemma-like tokenizer of single characters), 64 pixels."""
    import torch
    from transformers import Siglip2Tokenizer, SiglipConfig, SiglipModel

    torch.manual_seed(seed)
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    ids = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    text = _text(len(pieces), 64) | ids | {"projection_size": 32}
    SiglipModel(SiglipConfig(text_config=text, vision_config=_vision(16, 64))).save_pretrained(folder)
    Siglip2Tokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]).save_pretrained(folder)
    _preprocessing(folder, size={"height": 64, "width": 64}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return folder


def dual_model(folder: Path, seed: int = 0) -> Path:
    """A `VisionTextDualEncoderModel` of a ViT and a CLIP text tower, 40-d, old-style integer sizes."""
    import torch
    from transformers import (
        CLIPTextConfig,
        VisionTextDualEncoderConfig,
        VisionTextDualEncoderModel,
        ViTConfig,
    )

    torch.manual_seed(seed)
    ids = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        ViTConfig(**_vision(16, 64)), CLIPTextConfig(**_text(514, 32), **ids), projection_dim=40
    )
    VisionTextDualEncoderModel(config).save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    means = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD}
    _preprocessing(folder, size=64, crop_size=64, do_center_crop=True, **means)
    return folder


def demo_model(folder: Path) -> Path:
    """The bundled model's architecture (our own picture tower, float16 weights), untrained, 256-d."""
    import torch
    from transformers import VisionTextDualEncoderProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from search.demo.tower import dual_encoder

    torch.manual_seed(0)
    dual_encoder(514, 512, 513).half().save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 96}, crop_size={"height": 96, "width": 96})
    VisionTextDualEncoderProcessor(images, clip_tokenizer()).save_pretrained(folder)
    return folder
