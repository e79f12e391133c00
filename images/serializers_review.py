"""What the API takes and shows around reviewing: prompts, and the queue with its hints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework import serializers

from images.endpoint import moment
from images.meaning import Hint
from images.models import Image, ModerationPrompt
from images.serializers import ImageSerializer, Share, Strict, images_json


class PromptForm(Strict):
    text = serializers.CharField(max_length=200, help_text="What a picture might show: “a weapon”.")
    cutoff = Share(
        required=False,
        allow_null=True,
        help_text="The least calibrated match, 0–1. Null: the model's own line between weak and possible matches.",
    )


class NewPromptForm(PromptForm):
    collection = serializers.UUIDField(
        required=False, allow_null=True, help_text="Null: for every collection of the team."
    )


class PromptSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    text = serializers.CharField()
    cutoff = serializers.FloatField(allow_null=True)
    collection = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()


class HintSerializer(serializers.Serializer):
    prompt = serializers.UUIDField()
    text = serializers.CharField()
    match = serializers.FloatField(help_text="The calibrated probability that the picture shows it, 0–1.")


class QueuedImageSerializer(ImageSerializer):
    hints = HintSerializer(
        many=True, help_text="What it might show, by the prompts of its moderators; most likely first."
    )


def prompt_json(prompt: ModerationPrompt) -> dict[str, Any]:
    return {
        "id": str(prompt.uid),
        "text": prompt.text,
        "cutoff": prompt.cutoff,
        "collection": str(prompt.collection.uid) if prompt.collection else None,
        "created_at": moment(prompt.created_at),
    }


def queue_json(images: Sequence[Image], hints: Mapping[int, Sequence[Hint]]) -> list[dict[str, Any]]:
    shown = images_json(images)
    return [
        {**told, "hints": [hint_json(hint) for hint in hints.get(image.pk, ())]}
        for image, told in zip(images, shown, strict=True)
    ]


def hint_json(hint: Hint) -> dict[str, Any]:
    return {"prompt": str(hint.prompt.uid), "text": hint.prompt.text, "match": hint.match}
