"""Bodies of the API: forms that check what comes in, plain functions that show what goes out, and the shapes of the
latter for the schema. A key that a form does not know is an error, so nothing is assigned by accident."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from django.db.models import QuerySet
from django.urls import get_script_prefix
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.utils import html

from images import searchable
from images.access import Action, Principal, allowed
from images.endpoint import moment
from images.ingest import MAX_HASHES, MAX_TAGS
from images.models import (
    MOST_PER_MINUTE,
    ApiKey,
    Collection,
    Image,
    ImageState,
    Job,
    JobKind,
    JobState,
    Membership,
    Moderation,
    ModerationPolicy,
    Role,
    Scope,
    Team,
    Trust,
    Visibility,
)

API_STATES = [*ImageState.values, "searchable"]
DECISIONS = ["approve", "reject", "hide", "restore", "undo"]
SHA256 = r"^[0-9a-fA-F]{64}$"


# ── Pictures ────────────────────────────────────────────────────────────────────────────────────────────────────


def for_json(images: QuerySet[Image]) -> QuerySet[Image]:
    """With what `image_json` reads, so that a list costs the same few queries at any length."""
    return images.select_related("collection__team", "uploader").prefetch_related("tags")


def images_json(images: Sequence[Image]) -> list[dict[str, Any]]:
    found = _findable(images)
    return [image_json(image, image.pk in found) for image in images]


def image_json(image: Image, findable: bool | None = None) -> dict[str, Any]:
    """One picture as the API shows it to whoever may see it; no place, no storage key, no internal id."""
    if findable is None:
        findable = bool(_findable([image]))
    address = f"{get_script_prefix()}api/v1/images/{image.uid}/"
    ready = bool(image.thumbnail_key)
    return {
        "id": str(image.uid),
        "collection": str(image.collection.uid),
        "file_name": image.file_name,
        "title": image.title,
        "caption": image.caption,
        "alt_text": image.alt_text,
        "tags": [tag.name for tag in image.tags.all()],
        "sha256": image.sha256,
        "byte_size": image.byte_size,
        "content_type": image.content_type,
        "width": image.width,
        "height": image.height,
        "taken_at": moment(image.taken_at),
        "uploaded_at": moment(image.uploaded_at),
        "uploader": {"id": str(image.uploader.uid), "name": image.uploader.name} if image.uploader else None,
        "quality": image.quality,
        "quality_parts": image.quality_parts,
        "colours": image.colours,
        "exif": image.exif,
        "state": "searchable" if findable and image.state == ImageState.READY else image.state,
        "reason": image.told_reason,
        "moderation": image.moderation,
        "moderation_reason": image.moderation_reason,
        "trashed_at": moment(image.trashed_at),
        "urls": {
            "self": address,
            "file": f"{address}file/",
            "thumbnail": f"{address}thumbnail/" if ready else None,
            "preview": f"{address}thumbnail/?size=preview" if ready else None,
        },
    }


def _findable(images: Sequence[Image]) -> set[int]:
    ready = [image.pk for image in images if image.state == ImageState.READY]
    return searchable.ids(ready)


# ── Everything else that goes out ───────────────────────────────────────────────────────────────────────────────


def team_json(team: Team, principal: Principal) -> dict[str, Any]:
    return {
        "id": str(team.uid),
        "name": team.name,
        "slug": team.slug,
        "role": principal.rank_in_team(team).name.lower(),
        "quota_bytes": team.quota_bytes,
        "created_at": moment(team.created_at),
    }


def member_json(membership: Membership, with_email: bool) -> dict[str, Any]:
    """Addresses are shown to those who manage the team."""
    user = membership.user
    return {
        "id": str(user.uid),
        "name": user.name,
        "email": user.email if with_email else None,
        "role": membership.role,
        "trust": membership.trust,
        "joined_at": moment(membership.joined_at),
    }


def key_json(key: ApiKey) -> dict[str, Any]:
    return {
        "id": str(key.uid),
        "name": key.name,
        "prefix": f"lp_{key.prefix}",
        "owner": {"id": str(key.owner.uid), "name": key.owner.name},
        "scopes": key.scopes,
        "collections": [str(one.uid) for one in key.collections.all()] if key.limited else None,
        "rate": key.rate,
        "live": key.live,
        "created_at": moment(key.created_at),
        "expires_at": moment(key.expires_at),
        "revoked_at": moment(key.revoked_at),
        "last_used_at": moment(key.last_used_at),
    }


def collection_json(collection: Collection, principal: Principal, images: int) -> dict[str, Any]:
    """`images`: how many of its pictures this principal may see."""
    return {
        "id": str(collection.uid),
        "team": str(collection.team.uid),
        "name": collection.name,
        "description": collection.description,
        "visibility": collection.visibility,
        "moderation": collection.moderation,
        "rerank_recency": collection.rerank_recency,
        "rerank_quality": collection.rerank_quality,
        "role": principal.rank_in(collection).name.lower(),
        "may_upload": allowed(principal, Action.UPLOAD, collection),
        "images": images,
        "created_at": moment(collection.created_at),
    }


def job_json(job: Job) -> dict[str, Any]:
    return {
        "id": str(job.uid),
        "kind": job.kind,
        "collection": str(job.collection.uid) if job.collection else None,
        "state": job.state,
        "done": job.done,
        "total": job.total,
        "rate": job.rate,
        "eta_seconds": job.eta,
        "errors": job.errors,
        "summary": job.summary,
        "result": f"/api/v1/jobs/{job.uid}/result/" if job.result_key else None,
        "created_at": moment(job.created_at),
        "started_at": moment(job.started_at),
        "finished_at": moment(job.finished_at),
    }


# ── Forms ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Strict(serializers.Serializer):
    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = [name for name in data if name not in self.fields and name != "csrfmiddlewaretoken"]
            if unknown:
                raise serializers.ValidationError(
                    {name: [_("Nobody knows this field.")] for name in unknown[:20]}
                )
        return super().to_internal_value(data)


class Share(serializers.FloatField):
    """A finite number from 0 to 1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=0.0, max_value=1.0, **options)

    def to_internal_value(self, data: Any) -> float:
        value = super().to_internal_value(data)
        if not math.isfinite(value):
            raise serializers.ValidationError(_("This has to be a finite number."))
        return value


class TagsField(serializers.ListField):
    """Names; a form may also send several in one value with commas between them."""

    child = serializers.CharField(max_length=200, allow_blank=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=MAX_TAGS, **options)

    def to_internal_value(self, data: Any) -> list[str]:
        if isinstance(data, list) and html.is_html_input(self.root.initial_data):  # type: ignore[attr-defined]
            data = [name for value in data for name in str(value).split(",")]
        return list(super().to_internal_value(data))


class TeamForm(Strict):
    name = serializers.CharField(max_length=120)


class NewMemberForm(Strict):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(Role.choices, default=Role.VIEWER)
    trust = serializers.ChoiceField(Trust.choices, default=Trust.CHECK)


class MemberForm(Strict):
    role = serializers.ChoiceField(Role.choices)
    trust = serializers.ChoiceField(Trust.choices)


class KeyForm(Strict):
    name = serializers.CharField(max_length=80)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(Scope.choices), min_length=1, max_length=len(Scope.values)
    )
    collections = serializers.ListField(
        child=serializers.UUIDField(),
        allow_null=True,
        default=None,
        max_length=100,
        help_text="Null: all of them.",
    )
    expires_at = serializers.DateTimeField(allow_null=True, default=None)
    rate = serializers.IntegerField(
        allow_null=True,
        default=None,
        min_value=1,
        max_value=MOST_PER_MINUTE,
        help_text="Requests per minute, where fewer than the server allows. Null: the server's limit.",
    )


class CollectionForm(Strict):
    name = serializers.CharField(max_length=120)
    description = serializers.CharField(max_length=2000, allow_blank=True, required=False)
    visibility = serializers.ChoiceField(Visibility.choices, required=False)
    moderation = serializers.ChoiceField(ModerationPolicy.choices, required=False)
    rerank_recency = Share(required=False)
    rerank_quality = Share(required=False)


class NewCollectionForm(CollectionForm):
    team = serializers.UUIDField(required=False, help_text="May be left out where there is only one.")


class ImageForm(Strict):
    title = serializers.CharField(max_length=200, allow_blank=True)
    caption = serializers.CharField(max_length=2000, allow_blank=True)
    alt_text = serializers.CharField(max_length=500, allow_blank=True)
    tags = TagsField()
    taken_at = serializers.DateTimeField(allow_null=True)
    collection = serializers.UUIDField(help_text="Moves the picture to another collection of the same team.")


class UploadForm(Strict):
    file = serializers.FileField(max_length=1000, allow_empty_file=True)
    title = serializers.CharField(max_length=200, allow_blank=True, required=False)
    caption = serializers.CharField(max_length=2000, allow_blank=True, required=False)
    alt_text = serializers.CharField(max_length=500, allow_blank=True, required=False)
    tags = TagsField(required=False)
    taken_at = serializers.DateTimeField(allow_null=True, required=False)
    sha256 = serializers.RegexField(
        SHA256, required=False, help_text="What you sent: another sum refuses the upload."
    )


class HashesForm(Strict):
    sha256 = serializers.ListField(child=serializers.RegexField(SHA256), max_length=MAX_HASHES)


class DecisionForm(Strict):
    decision = serializers.ChoiceField(DECISIONS)
    reason = serializers.CharField(max_length=300, allow_blank=True, default="")


# ── Shapes for the schema ───────────────────────────────────────────────────────────────────────────────────────


class PersonSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField(allow_blank=True)


class ImageUrlsSerializer(serializers.Serializer):
    self = serializers.CharField()
    file = serializers.CharField()
    thumbnail = serializers.CharField(allow_null=True)
    preview = serializers.CharField(allow_null=True)


class ImageSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    collection = serializers.UUIDField()
    file_name = serializers.CharField()
    title = serializers.CharField(allow_blank=True)
    caption = serializers.CharField(allow_blank=True)
    alt_text = serializers.CharField(allow_blank=True)
    tags = serializers.ListField(child=serializers.CharField())
    sha256 = serializers.CharField()
    byte_size = serializers.IntegerField()
    content_type = serializers.CharField(allow_blank=True)
    width = serializers.IntegerField(allow_null=True)
    height = serializers.IntegerField(allow_null=True)
    taken_at = serializers.DateTimeField(allow_null=True)
    uploaded_at = serializers.DateTimeField()
    uploader = PersonSerializer(allow_null=True)
    quality = serializers.FloatField(allow_null=True, help_text="0 to 1; null until the picture is checked.")
    quality_parts = serializers.DictField(child=serializers.FloatField())
    colours = serializers.ListField(child=serializers.JSONField())
    exif = serializers.DictField()
    state = serializers.ChoiceField(
        API_STATES, help_text="stored → ready → searchable, or rejected with `reason`."
    )
    reason = serializers.CharField(allow_blank=True)
    moderation = serializers.ChoiceField(Moderation.choices)
    moderation_reason = serializers.CharField(allow_blank=True)
    trashed_at = serializers.DateTimeField(allow_null=True)
    urls = ImageUrlsSerializer()


class UploadedSerializer(ImageSerializer):
    duplicate = serializers.BooleanField(
        help_text="The bytes were in the collection already: this is that picture."
    )


class KnownHashSerializer(serializers.Serializer):
    sha256 = serializers.CharField()
    id = serializers.UUIDField(allow_null=True, help_text="Null: a picture that you may not see.")


class CheckedSerializer(serializers.Serializer):
    known = KnownHashSerializer(many=True)
    new = serializers.ListField(child=serializers.CharField())


class TeamSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    slug = serializers.CharField()
    role = serializers.ChoiceField(Role.choices)
    quota_bytes = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class MemberSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField(allow_blank=True)
    email = serializers.EmailField(allow_null=True, help_text="Shown to managers of the team.")
    role = serializers.ChoiceField(Role.choices)
    trust = serializers.ChoiceField(Trust.choices)
    joined_at = serializers.DateTimeField()


class KeySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    owner = PersonSerializer()
    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices))
    collections = serializers.ListField(child=serializers.UUIDField(), allow_null=True)
    rate = serializers.IntegerField(
        allow_null=True, help_text="Requests per minute; null: the server's limit."
    )
    live = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)


class IssuedKeySerializer(KeySerializer):
    secret = serializers.CharField(
        allow_null=True,
        help_text="The whole key, shown in this answer alone; null when the answer is repeated.",
    )


class CollectionSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    team = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    visibility = serializers.ChoiceField(Visibility.choices)
    moderation = serializers.ChoiceField(ModerationPolicy.choices)
    rerank_recency = serializers.FloatField()
    rerank_quality = serializers.FloatField()
    role = serializers.ChoiceField(Role.choices)
    may_upload = serializers.BooleanField()
    images = serializers.IntegerField(help_text="How many pictures you may see.")
    created_at = serializers.DateTimeField()


class JobSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    kind = serializers.ChoiceField(JobKind.choices)
    collection = serializers.UUIDField(allow_null=True)
    state = serializers.ChoiceField(JobState.choices)
    done = serializers.IntegerField()
    total = serializers.IntegerField()
    rate = serializers.FloatField(allow_null=True, help_text="Units per second.")
    eta_seconds = serializers.FloatField(allow_null=True)
    errors = serializers.ListField(child=serializers.JSONField())  # type: ignore[assignment]
    summary = serializers.DictField(
        child=serializers.IntegerField(), help_text="What came of it, in numbers."
    )
    result = serializers.CharField(allow_null=True, help_text="Where a finished export is fetched.")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


@cache
def listed(shape: type[serializers.Serializer], name: str) -> type[serializers.Serializer]:
    """The shape of a page of `shape`; `name` is its name in the schema."""
    fields = {
        "data": shape(many=True),
        "next_cursor": serializers.CharField(allow_null=True),
        "has_more": serializers.BooleanField(),
    }
    return type(f"{name}Serializer", (serializers.Serializer,), fields)
