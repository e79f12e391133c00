"""“Might show …”: the words that moderators wrote, and the hints that come of them. A hint is read by people and
changes nothing: no picture is hidden, rejected or moved because of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from images import audit, meaning
from images.access import Action, Principal, allowed
from images.meaning import Hint
from images.models import Collection, Image, ModerationPrompt, Team, User
from images.moderation import Conflict

MOST_PROMPTS = 50


def of_team(team: Team, principal: Principal) -> QuerySet[ModerationPrompt]:
    """The prompts of a team for those who moderate it, and those of the collections that the principal moderates."""
    mine = Q(collection__in=moderated(team, principal))
    if allowed(principal, Action.MODERATE, team):
        mine |= Q(collection__isnull=True)
    found = ModerationPrompt.objects.filter(mine, team=team)
    return found.select_related("collection__team", "team", "created_by")


def moderated(team: Team, principal: Principal) -> QuerySet[Collection]:
    return (
        Collection.objects.filter(principal.moderated_q(), team=team).select_related("team").order_by("name")
    )


def may_edit(prompt: ModerationPrompt, principal: Principal) -> bool:
    """One for the whole team by those who moderate the team, one of a collection by those who moderate that."""
    return allowed(principal, Action.MODERATE, prompt.collection or prompt.team)


def add(
    team: Team, text: str, actor: User, *, collection: Collection | None = None, cutoff: float | None = None
) -> ModerationPrompt:
    """The caller has checked the actor. Raises Conflict for a twin, and beyond 50 prompts in a team."""
    with transaction.atomic():
        Team.objects.select_for_update().get(pk=team.pk)
        if ModerationPrompt.objects.filter(team=team).count() >= MOST_PROMPTS:
            raise Conflict(_("A team has at most %d prompts; remove some first.") % MOST_PROMPTS)
        made = ModerationPrompt(
            team=team, collection=collection, text=_tidy(text), cutoff=cutoff, created_by=actor
        )
        _save(made)
        audit.record("prompt.added", made, team=team, actor=actor, after=_told(made))
    return made


def change(prompt: ModerationPrompt, actor: User, **fields: Any) -> None:
    """Set `text` or `cutoff`. Raises Conflict for a twin."""
    if unknown := set(fields) - {"text", "cutoff"}:
        raise ValueError(f"not editable: {', '.join(sorted(unknown))}")
    before = _told(prompt)
    for name, value in fields.items():
        setattr(prompt, name, _tidy(value) if name == "text" else value)
    with transaction.atomic():
        _save(prompt)
        audit.record(
            "prompt.changed", prompt, team=prompt.team, actor=actor, before=before, after=_told(prompt)
        )


def remove(prompt: ModerationPrompt, actor: User) -> None:
    with transaction.atomic():
        audit.record("prompt.removed", prompt, team=prompt.team, actor=actor, before=_told(prompt))
        prompt.delete()


def hints(images: Sequence[Image], principal: Principal) -> dict[int, list[Hint]]:
    """By row id, what pictures might show, for those of them that the principal moderates."""
    by_collection: dict[int, list[Image]] = {}
    for image in images:
        if allowed(principal, Action.MODERATE, image):
            by_collection.setdefault(image.collection_id, []).append(image)
    found: dict[int, list[Hint]] = {}
    prompts = _prompts([some[0].collection for some in by_collection.values()])
    for some in by_collection.values():
        place = some[0].collection
        asked = [one for one in prompts if one.collection_id == place.pk or _for_all(one, place)]
        found |= meaning.hints(some, asked, principal)
    return found


def _prompts(collections: Iterable[Collection]) -> list[ModerationPrompt]:
    places = list(collections)
    teams = {place.team_id for place in places}
    wanted = Q(collection__in=places) | Q(collection__isnull=True, team__in=teams)
    return list(ModerationPrompt.objects.filter(wanted)[: MOST_PROMPTS * max(1, len(teams))])


def _for_all(prompt: ModerationPrompt, collection: Collection) -> bool:
    return prompt.collection_id is None and prompt.team_id == collection.team_id


def _tidy(text: str) -> str:
    return " ".join(text.split())[:200]


def _save(prompt: ModerationPrompt) -> None:
    try:
        with transaction.atomic():
            prompt.save()
    except IntegrityError as error:
        raise Conflict(_("There is a prompt of these words already.")) from error


def _told(prompt: ModerationPrompt) -> dict[str, Any]:
    place = str(prompt.collection.uid) if prompt.collection else ""
    return {"text": prompt.text, "cutoff": prompt.cutoff, "collection": place}
