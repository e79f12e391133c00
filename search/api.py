"""Search over HTTP, the list of pictures (same filters), and the state of indexes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from PIL import Image as Picture
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from images.access import Action, require, require_scope
from images.api_collections import CollectionEndpoint
from images.api_images import ImageEndpoint
from images.api_jobs import visible_jobs
from images.endpoint import Endpoint, operation
from images.models import Image
from images.moderation import Conflict
from images.pagination import PARAMETERS, Order, page
from images.problems import Problem
from images.serializers import ImageSerializer, JobSerializer, for_json, images_json, job_json, listed
from search import engine, facets, index, reindexing
from search.encoders import EncoderError
from search.filters import NAMES, narrow
from search.query import MAX_PARTS, Query, QueryError, UploadedImagePart, from_json
from search.query_text import from_url
from search.retrieval import SpaceUnavailable
from search.serializers import (
    FILTERS,
    QUESTION,
    QUESTION_OR_NONE,
    SEARCH,
    SEARCH_BODY,
    SEARCH_FORM,
    FacetsSerializer,
    IndexSerializer,
    SearchSerializer,
    index_json,
    page_json,
)
from search.uploads import read_pictures

SORTS = {"newest": True, "oldest": False}
SORT = OpenApiParameter("sort", {"type": "string", "enum": list(SORTS), "default": "newest"})
PAGING = frozenset({"limit", "cursor", "sort"})
CODES = {400: "invalid", 404: "not_found", 410: "cursor_expired"}


class SearchEndpoint(Endpoint):
    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, QueryError):
            exc = Problem(exc.status, CODES.get(exc.status, "invalid"), exc.message, exc.pointer)
        elif isinstance(exc, (SpaceUnavailable, EncoderError)):
            exc = Problem(503, "model_unavailable", str(exc), None, Retry_After="30")
        return super().handle_exception(exc)

    def parameters(self) -> dict[str, list[str]]:
        return {name: [str(value) for value in values] for name, values in self.request.query_params.lists()}

    def found(self, query: Query, uploads: Mapping[str, Picture.Image] | None = None) -> Response:
        return Response(page_json(engine.find(query, self.principal, uploads=uploads)))


class Images(SearchEndpoint):
    @operation(
        Action.VIEW,
        "images_list",
        "Pictures that you may see",
        responses={200: listed(ImageSerializer, "ImagePage")},
        parameters=[*PARAMETERS, SORT, *FILTERS],
        tags=["images"],
    )
    def get(self, request: Request) -> Response:
        sort = request.query_params.get("sort", "newest")
        if sort not in SORTS:
            raise QueryError("/sort", _("Choose one of: %(names)s.") % {"names": ", ".join(SORTS)})
        rows = narrow(
            Image.objects.visible_to(self.principal), self.parameters(), self.principal, ignored=PAGING
        )
        order = Order(f"images.{sort}", "uploaded_at", newest_first=SORTS[sort])
        return Response(page(for_json(rows), request, order, images_json))


class Search(SearchEndpoint):
    parser_classes = [JSONParser, MultiPartParser]
    takes_files = True

    @operation(
        Action.SEARCH,
        "search_text",
        "Search with a typed query",
        responses={200: SearchSerializer},
        parameters=[QUESTION, *SEARCH],
        tags=["search"],
        errors=[404, 410],
    )
    def get(self, request: Request) -> Response:
        return self.found(from_url(self.parameters()))

    @operation(
        Action.SEARCH,
        "search",
        "Search with texts, pictures, weights and what is not wanted",
        description="Repeating a search changes nothing, so an Idempotency-Key is not needed and not kept.",
        request={"application/json": SEARCH_BODY, "multipart/form-data": SEARCH_FORM},
        responses={200: SearchSerializer},
        tags=["search"],
        errors=[404, 410],
        repeatable=False,
    )
    def post(self, request: Request) -> Response:
        query = from_json(self._body())
        names = {
            part.name for part in (*query.parts, *query.negatives) if isinstance(part, UploadedImagePart)
        }
        # A page after the first is cut from the frozen list: its pictures need no decoding.
        return self.found(query, {} if query.cursor else read_pictures(request.FILES, sorted(names)))

    def _body(self) -> Any:
        """The JSON body, or the `payload` of a form; a form with pictures alone searches with all of them."""
        form: Any = self.request.data
        if not hasattr(form, "getlist"):
            return form
        payload = form.get("payload")
        if payload is None:
            return {"query": [{"upload": name} for name in list(self.request.FILES)[: MAX_PARTS + 1]]}
        if not isinstance(payload, str):
            payload = payload.read(1024**2).decode(errors="replace")
        try:
            return json.loads(payload, parse_constant=_no_constant)
        except ValueError as error:
            raise ParseError(_("The payload is not JSON: %(error)s") % {"error": error}) from None


class Facets(SearchEndpoint):
    @operation(
        Action.SEARCH,
        "search_facets",
        "Counts over what a search finds",
        description="Without `q`: over everything that you may see under the filters. Searches are counted over "
        "their best few hundred pictures.",
        responses={200: FacetsSerializer},
        parameters=[QUESTION_OR_NONE, *SEARCH],
        tags=["search"],
        errors=[404],
    )
    def get(self, request: Request) -> Response:
        parameters = self.parameters()
        if any(text.strip() for text in parameters.get("q", ())):
            return Response(facets.facets_of(from_url(parameters), self.principal))
        # Without a question the settings of a search mean nothing; any other name is refused.
        settings = {one.name for one in (QUESTION_OR_NONE, *SEARCH)} - set(NAMES)
        filters = {name: values for name, values in parameters.items() if name not in settings}
        return Response(facets.facets(self.principal, filters))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class Similar(SearchEndpoint, ImageEndpoint):
    @operation(
        Action.SEARCH,
        "images_similar",
        "More like this picture",
        responses={200: SearchSerializer},
        parameters=SEARCH,
        tags=["search"],
        errors=[404, 410],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        image = self.image(uid)
        parameters = self.parameters()
        if "q" in parameters:
            raise QueryError("/q", _("Search with `like:<image id>` to add words."))
        return self.found(from_url({**parameters, "q": [f"like:{image.uid}"]}))


class IndexDetail(CollectionEndpoint):
    @operation(
        Action.REINDEX,
        "index_get",
        "The index of a collection",
        description="For its managers.",
        responses={200: IndexSerializer},
        tags=["indexes"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        collection = self.collection(uid)
        require(self.principal, Action.REINDEX, collection)
        return Response(index_json(index.status(collection)))


class Reindex(CollectionEndpoint):
    @operation(
        Action.REINDEX,
        "index_rebuild",
        "Rebuild the index of a collection",
        description="Search goes on meanwhile. A rebuild that waits or runs already is the answer.",
        responses={202: JobSerializer},
        tags=["indexes"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        collection = self.collection(uid)
        require(self.principal, Action.REINDEX, collection)
        job = job_json(reindexing.request(collection, self.user))
        return Response(job, status=202, headers={"Location": f"/api/v1/jobs/{job['id']}/"})


class JobCancel(Endpoint):
    @operation(
        Action.REINDEX,
        "jobs_cancel",
        "Cancel a job",
        description="Your own imports and exports, and everything in collections that you manage. A key that may ask "
        "for imports (`images:write`) or exports (`images:read`) may cancel its owner's, too.",
        also=(Action.UPLOAD, Action.VIEW),
        responses={200: JobSerializer},
        tags=["jobs"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        job = self.find(visible_jobs(self.principal), uid)
        if not reindexing.may_cancel(job, self.principal):
            # Where a scope is what is missing, the answer says which.
            require_scope(self.principal, Action.REINDEX)
            raise PermissionDenied(_("Your role does not allow this here."))
        if not reindexing.cancel(job, self.user):
            raise Conflict(_("This job is over already."))
        return Response(job_json(job))
