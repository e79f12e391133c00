"""“Might show …”: the prompts by which moderators are given hints."""

from __future__ import annotations

from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.response import Response

from images import prompts
from images.access import Action, require
from images.api_teams import TeamEndpoint
from images.endpoint import invalid, operation
from images.models import Collection, ModerationPrompt, Team
from images.pagination import PARAMETERS, Order, page
from images.serializers import listed
from images.serializers_review import NewPromptForm, PromptForm, PromptSerializer, prompt_json

PROMPTS = Order("prompts", newest_first=False)


class Prompts(TeamEndpoint):
    @operation(
        Action.MODERATE,
        "prompts_list",
        "What moderators are told of",
        responses={200: listed(PromptSerializer, "PromptPage")},
        parameters=PARAMETERS,
        tags=["moderation"],
        errors=[404],
    )
    def get(self, request: Request, uid: UUID) -> Response:
        rows = prompts.of_team(self.team(uid), self.principal)
        return Response(page(rows, request, PROMPTS, lambda found: [prompt_json(one) for one in found]))

    @operation(
        Action.MODERATE,
        "prompts_create",
        "Ask for hints",
        description="Pictures that might show this carry a hint in the review queue. A hint changes no picture.",
        request=NewPromptForm,
        responses={201: PromptSerializer},
        tags=["moderation"],
        errors=[404],
    )
    def post(self, request: Request, uid: UUID) -> Response:
        team = self.team(uid)
        wanted = self.check(NewPromptForm)
        place = self._place(team, wanted.get("collection"))
        require(self.principal, Action.MODERATE, place or team)
        made = prompts.add(team, wanted["text"], self.user, collection=place, cutoff=wanted.get("cutoff"))
        return Response(prompt_json(made), status=201)

    def _place(self, team: Team, uid: UUID | None) -> Collection | None:
        if uid is None:
            return None
        visible = Collection.objects.visible_to(self.principal).filter(team=team, uid=uid)  # type: ignore[attr-defined]
        place: Collection | None = visible.select_related("team").first()
        if place is None:
            raise invalid("collection", _("There is no such collection in this team."))
        return place


class PromptDetail(TeamEndpoint):
    @operation(
        Action.MODERATE,
        "prompts_change",
        "Change a prompt",
        request=PromptForm,
        responses={200: PromptSerializer},
        tags=["moderation"],
        errors=[404],
    )
    def patch(self, request: Request, uid: UUID, prompt: UUID) -> Response:
        found = self._editable(uid, prompt)
        prompts.change(found, self.user, **self.check(PromptForm, partial=True))
        return Response(prompt_json(found))

    @operation(
        Action.MODERATE,
        "prompts_remove",
        "Remove a prompt",
        responses={204: None},
        tags=["moderation"],
        errors=[404],
    )
    def delete(self, request: Request, uid: UUID, prompt: UUID) -> Response:
        prompts.remove(self._editable(uid, prompt), self.user)
        return Response(status=204)

    def _editable(self, uid: UUID, prompt: UUID) -> ModerationPrompt:
        found = self.find(prompts.of_team(self.team(uid), self.principal), prompt)
        if not prompts.may_edit(found, self.principal):
            raise PermissionDenied(_("Your role does not allow this here."))
        return found
