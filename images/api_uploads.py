"""Direct uploads: announce a file, PUT its bytes to storage, complete it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404
from django.urls import get_script_prefix
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from images import direct
from images.access import Action, require
from images.api_collections import CollectionEndpoint
from images.direct import DirectUpload
from images.endpoint import moment, operation
from images.models import Collection, Image
from images.moderation import Conflict
from images.serializers import SHA256, Strict, UploadedSerializer, image_json


class DirectUploadForm(Strict):
    file_name = serializers.CharField(max_length=1000)
    size = serializers.IntegerField(min_value=1)
    sha256 = serializers.RegexField(SHA256)


class PartSerializer(serializers.Serializer):
    number = serializers.IntegerField()
    size = serializers.IntegerField(help_text="The bytes that this PUT must bring.")
    received = serializers.BooleanField()
    url = serializers.CharField(allow_null=True, help_text="PUT the bytes here within five minutes.")


class DirectUploadSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    collection = serializers.UUIDField()
    file_name = serializers.CharField()
    size = serializers.IntegerField()
    sha256 = serializers.CharField()
    expires_at = serializers.DateTimeField()
    parts = PartSerializer(many=True)


def upload_json(upload: DirectUpload) -> dict[str, Any]:
    return {
        "id": str(UUID(upload.uid)),
        "collection": upload.collection,
        "file_name": upload.file_name,
        "size": upload.size,
        "sha256": upload.sha256,
        "expires_at": moment(upload.expires_at),
        "parts": [
            {"number": part.number, "size": part.size, "received": part.received, "url": part.url}
            for part in direct.parts(upload)
        ],
    }


class DirectUploads(CollectionEndpoint):
    @operation(
        Action.UPLOAD,
        "uploads_begin",
        "Begin a direct upload",
        description="The answer says where to PUT the bytes: one address, or one for each part of 8 MiB of a larger "
        "file. 409 where this server keeps files locally: use the multipart POST.",
        request=DirectUploadForm,
        responses={201: DirectUploadSerializer},
        tags=["images"],
        errors=[404],
        repeatable=False,
    )
    def post(self, request: Request, uid: UUID) -> Response:
        collection = self.collection(uid)
        require(self.principal, Action.UPLOAD, collection)
        upload = direct.begin(collection, self.user, **self.check(DirectUploadForm))
        address = f"{get_script_prefix()}api/v1/uploads/{UUID(upload.uid)}/"
        return Response(upload_json(upload), status=201, headers={"Location": address})


class UploadEndpoint(CollectionEndpoint):
    def upload(self, uid: UUID) -> tuple[DirectUpload, Collection]:
        """The upload that the sender began, into a collection where it may still upload; 404 otherwise."""
        upload = direct.find(uid, self.user)
        if upload is None:
            raise Http404
        collection = self.collection(UUID(upload.collection))
        require(self.principal, Action.UPLOAD, collection)
        return upload, collection


class DirectUploadDetail(UploadEndpoint):
    @operation(
        Action.UPLOAD,
        "uploads_get",
        "How far a direct upload is",
        description="To go on after a break: which parts have arrived, and fresh addresses for the others.",
        responses={200: DirectUploadSerializer},
        tags=["images"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        return Response(upload_json(self.upload(uid)[0]))

    @operation(
        Action.UPLOAD,
        "uploads_abort",
        "Give up a direct upload",
        responses={204: None},
        tags=["images"],
        errors=[404],
    )
    def delete(self, request: Request, uid: UUID) -> Response:
        direct.forget(self.upload(uid)[0])
        return Response(status=204)


class DirectUploadCompletion(UploadEndpoint):
    @operation(
        Action.UPLOAD,
        "uploads_complete",
        "Complete a direct upload",
        description="The server reads the bytes and compares size and SHA-256 with what was announced: 409 while "
        "parts are missing, 422 where it is another file. Then it is an upload like any other.",
        request=None,
        responses={201: UploadedSerializer, 200: UploadedSerializer},
        tags=["images"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        upload, collection = self.upload(uid)
        done = direct.finish(upload, collection, self.user)
        if done.duplicate and not Image.objects.visible_to(self.principal).filter(pk=done.image.pk).exists():
            raise Conflict(_("These bytes are in the collection already, in a picture that you may not see."))
        body = {**image_json(done.image), "duplicate": done.duplicate}
        return Response(
            body, status=200 if done.duplicate else 201, headers={"Location": body["urls"]["self"]}
        )
