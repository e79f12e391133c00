"""Pictures: upload, detail, edit, trash, files. The list lies in the search app, with the filters of the search."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from images import ingest, moderation, storage
from images.access import Action, require
from images.api_collections import CollectionEndpoint
from images.endpoint import AnyMedia, Endpoint, invalid, operation
from images.models import Collection, Image
from images.moderation import Conflict
from images.serializers import (
    CheckedSerializer,
    HashesForm,
    ImageForm,
    ImageSerializer,
    UploadedSerializer,
    UploadForm,
    for_json,
    image_json,
)
from images.views.files import download_key

LINK_SECONDS = 60
RENDITIONS = {"thumbnail": "thumbnail_key", "preview": "preview_key"}
REDIRECT = {(302, "text/html"): OpenApiResponse(description="To the bytes, by a link that lives a minute.")}
SIZE = OpenApiParameter("size", {"type": "string", "enum": list(RENDITIONS), "default": "thumbnail"})


def etag(image: Image) -> str:
    return f'"{image.version}"'


class ImageEndpoint(Endpoint):
    def image(self, uid: UUID) -> Image:
        return self.find(for_json(Image.objects.visible_to(self.principal)), uid)

    def answer(self, image: Image, status: int = 200, **more: Any) -> Response:
        return Response({**image_json(image), **more}, status=status, headers={"ETag": etag(image)})


class Uploads(CollectionEndpoint):
    parser_classes = [MultiPartParser]
    takes_files = True

    @operation(
        Action.UPLOAD,
        "images_upload",
        "Upload a picture",
        description="The picture is checked and made searchable after the answer: `state` says where it stands.",
        request={"multipart/form-data": UploadForm},
        responses={201: UploadedSerializer, 200: UploadedSerializer},
        tags=["images"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        collection = self.collection(uid)
        require(self.principal, Action.UPLOAD, collection)
        wanted = self.check(UploadForm)
        file = wanted.pop("file")
        done = ingest.ingest(collection, self.user, file.file, file_name=file.name, **wanted)
        if done.duplicate and not Image.objects.visible_to(self.principal).filter(pk=done.image.pk).exists():
            raise Conflict(_("These bytes are in the collection already, in a picture that you may not see."))
        body = {**image_json(done.image), "duplicate": done.duplicate}
        headers = {"Location": body["urls"]["self"], "ETag": etag(done.image)}
        return Response(body, status=200 if done.duplicate else 201, headers=headers)


class UploadCheck(CollectionEndpoint):
    @operation(
        Action.UPLOAD,
        "images_check",
        "Which files are there already",
        description="Send the SHA-256 sums of up to 1,000 files and upload those that come back under `new`.",
        request=HashesForm,
        responses={200: CheckedSerializer},
        tags=["images"],
        errors=[404],
        repeatable=False,
    )
    def post(self, request: Request, uid: UUID) -> Response:
        collection = self.collection(uid)
        require(self.principal, Action.UPLOAD, collection)
        asked = list(dict.fromkeys(one.lower() for one in self.check(HashesForm)["sha256"]))
        known = ingest.known(collection, asked)
        seen = Image.objects.visible_to(self.principal).filter(uid__in=known.values())
        visible = set(seen.values_list("uid", flat=True))
        told = [
            {"sha256": one, "id": str(known[one]) if known[one] in visible else None}
            for one in asked
            if one in known
        ]
        return Response({"known": told, "new": [one for one in asked if one not in known]})


class ImageDetail(ImageEndpoint):
    @operation(
        Action.VIEW,
        "images_get",
        "A picture",
        responses={200: ImageSerializer},
        tags=["images"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        return self.answer(self.image(uid))

    @operation(
        Action.EDIT,
        "images_change",
        "Edit or move a picture",
        description="People may edit what they uploaded, editors everything. A move needs rights at both ends.",
        request=ImageForm,
        responses={200: ImageSerializer},
        tags=["images"],
        errors=[404],
        match=True,
    )
    def patch(self, request: Request, uid: UUID) -> Response:
        require(self.principal, Action.EDIT, self.image(uid))
        wanted = self.check(ImageForm, partial=True)
        target = self._target(wanted.pop("collection", None))
        with transaction.atomic():
            image = self._locked(uid)
            self.require_match(etag(image))
            if wanted:
                moderation.edit(image, self.user, **wanted)
            if target is not None and target.pk != image.collection_id:
                moderation.carry(image, target, self.principal, self.user)
        return self.answer(self.image(uid))

    @operation(
        Action.DELETE,
        "images_trash",
        "Put a picture into the trash",
        description="It is gone from the next search, and can be had back for 30 days.",
        responses={204: None},
        tags=["images"],
        errors=[404],
    )
    def delete(self, request: Request, uid: UUID) -> Response:
        image = self.image(uid)
        require(self.principal, Action.DELETE, image)
        moderation.trash(image, self.user)
        return Response(status=204)

    def _locked(self, uid: UUID) -> Image:
        rows = Image.objects.visible_to(self.principal).select_related("collection__team")
        return self.find(rows.select_for_update(of=("self",)), uid)

    def _target(self, uid: UUID | None) -> Collection | None:
        if uid is None:
            return None
        target = self.find(Collection.objects.visible_to(self.principal).select_related("team"), uid)
        require(self.principal, Action.UPLOAD, target)
        return target


class ImageRestore(ImageEndpoint):
    @operation(
        Action.DELETE,
        "images_restore",
        "Bring a picture back from the trash",
        responses={200: ImageSerializer},
        tags=["images"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        trashed = moderation.in_trash(Collection.objects.visible_to(self.principal))
        image = self.find(for_json(trashed), uid)
        require(self.principal, Action.DELETE, image)
        moderation.restore(image, self.user)
        return self.answer(image)


class ImageFile(ImageEndpoint):
    content_negotiation_class = AnyMedia

    @operation(
        Action.VIEW,
        "images_file",
        "Download the original",
        description="Where the original tells the place it was taken at, only its uploader and editors get it: others "
        "get a re-encoded copy without metadata.",
        responses=REDIRECT,
        tags=["images"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> HttpResponse:
        image = self.image(uid)
        key = download_key(image, self.principal)
        return HttpResponseRedirect(storage.signed_url(key, LINK_SECONDS, download_name=image.file_name))


class ImageThumbnail(ImageEndpoint):
    content_negotiation_class = AnyMedia

    @operation(
        Action.VIEW,
        "images_thumbnail",
        "A small picture of the picture",
        description="404 until the picture is checked.",
        responses=REDIRECT,
        parameters=[SIZE],
        tags=["images"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> HttpResponse:
        size = request.query_params.get("size", "thumbnail")
        if size not in RENDITIONS:
            raise invalid("size", _("Choose one of: %s.") % ", ".join(RENDITIONS))
        key = getattr(self.image(uid), RENDITIONS[size])
        if not key:
            raise Http404
        return HttpResponseRedirect(storage.signed_url(key, LINK_SECONDS))
