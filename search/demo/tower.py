"""The image tower of the bundled model, and its registration with transformers. No code comes from model files."""

from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPTextConfig,
    ResNetConfig,
    ResNetModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

WIDTH = 256  # dimension of the shared space
TOKENS = 77  # as CLIP; captions in training are rarely longer than 30


class PictureConfig(ResNetConfig):
    """A ResNet's configuration that says how wide its pooled features are, as a dual encoder asks."""

    model_type = "loupe_pictures"

    @property
    def hidden_size(self) -> int:
        return int(self.hidden_sizes[-1])  # type: ignore[index]


class PictureTower(ResNetModel):
    """A small ResNet whose pooled features are [batch, width] and not [batch, width, 1, 1]."""

    config_class = PictureConfig

    def forward(self, pixel_values: torch.Tensor, **options: Any) -> BaseModelOutputWithPooling:
        """pixel_values [batch, 3, 96, 96] → pooler_output [batch, 256]."""
        wanted = {key: options[key] for key in ("output_hidden_states",) if key in options}
        output = super().forward(pixel_values, return_dict=True, **wanted)
        return BaseModelOutputWithPooling(output.last_hidden_state, output.pooler_output.flatten(1))


def register() -> None:
    """Makes AutoConfig and AutoModel know the tower; call it before loading. Safe to call again."""
    AutoConfig.register(PictureConfig.model_type, PictureConfig, exist_ok=True)
    AutoModel.register(PictureConfig, PictureTower, exist_ok=True)


def picture_config() -> PictureConfig:
    """The trained shape: 1.5 M parameters."""
    return PictureConfig(
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 256],
        depths=[1, 1, 2, 1],
        layer_type="basic",
        hidden_act="relu",
    )


def text_config(vocabulary: int, begin: int, end: int) -> CLIPTextConfig:
    """A CLIP text tower of three narrow layers."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=3,
        max_position_embeddings=TOKENS,
        projection_dim=WIDTH,
        bos_token_id=begin,
        eos_token_id=end,
        pad_token_id=end,
    )


def dual_encoder(vocabulary: int, begin: int, end: int) -> VisionTextDualEncoderModel:
    """The untrained model."""
    register()
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        picture_config(), text_config(vocabulary, begin, end), projection_dim=WIDTH
    )
    return VisionTextDualEncoderModel(config)
