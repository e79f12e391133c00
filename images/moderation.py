"""What people do to pictures once they are there. State first: a hidden or trashed picture is gone from the next
query, because every reader passes the gate; vectors leave at the next merge, bytes last."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from images import audit, ingest, storage
from images.access import Action, Principal, allowed, require
from images.models import Collection, Image, Moderation, Report, User
from images.signals import image_decided, image_deleted, image_moved

RETENTION = timedelta(days=30)
REPORTS_PER_DAY = 20
EDITABLE = ("title", "caption", "alt_text", "taken_at")
DECISIONS = {
    "approve": Moderation.APPROVED,
    "reject": Moderation.REJECTED,
    "hide": Moderation.HIDDEN,
    "restore": Moderation.APPROVED,
    "undo": Moderation.PENDING,
}


class Conflict(Exception):
    """The change contradicts what is there, and the message says how."""


def decide(image: Image, decision: str, actor: User | None, reason: str = "") -> None:
    """Apply a moderator's decision: approve, reject, hide, restore or undo (back to the queue).

    A decision settles the open reports of the picture; undoing it opens them again, with the picture as it was then.
    """
    if decision not in DECISIONS:
        raise ValueError(f"unknown decision: {decision}")
    before = {"moderation": image.moderation, "reason": image.moderation_reason}
    with transaction.atomic():
        settled = _reopen_reports(image) if decision == "undo" else _settle_reports(image)
        after = {"moderation": settled or DECISIONS[decision].value, "reason": reason[:300]}
        _update(image, moderation=after["moderation"], moderation_reason=after["reason"])
        _bump(image.collection_id)
        _record(f"moderation.{decision}", image, actor, before, after)
        image_decided.send(Image, image=image, decision=decision, reason=after["reason"])


def report(image: Image, user: User, reason: str) -> Report:
    """Ask the moderators to look at a picture; it stays as it is until one of them decides. The caller has checked
    that `user` sees it. Reporting it again changes the reason. Raises Conflict beyond 20 reports in a day."""
    with transaction.atomic():
        # The user's row is the lock: the bound holds for requests that come at once, too.
        User.objects.select_for_update().get(pk=user.pk)
        if earlier := image.reports.open().filter(reporter=user).first():
            earlier.reason = reason[:500]
            earlier.save(update_fields=["reason"])
            return earlier
        today = Report.objects.filter(reporter=user, created_at__gt=timezone.now() - timedelta(days=1))
        if today.count() >= REPORTS_PER_DAY:
            raise Conflict(
                _("You have reported %d pictures today; that is enough for one day.") % REPORTS_PER_DAY
            )
        made = Report.objects.create(image=image, reporter=user, reason=reason[:500])
        _record("image.reported", image, user, {}, {"reason": made.reason})
    return made


def _settle_reports(image: Image) -> str:
    image.reports.filter(settled_at__isnull=False).update(moderation_before="")
    image.reports.open().update(settled_at=timezone.now(), moderation_before=image.moderation)
    return ""


def _reopen_reports(image: Image) -> str:
    """Open what the last decision settled; returns the moderation that the picture had then, or nothing."""
    last = image.reports.filter(settled_at__isnull=False).exclude(moderation_before="")
    before = last.values_list("moderation_before", flat=True).first() or ""
    busy = set(image.reports.open().values_list("reporter", flat=True))
    last.exclude(reporter__in=busy).update(settled_at=None)
    image.reports.update(moderation_before="")
    return before


def trash(image: Image, actor: User | None) -> None:
    """Into the trash, from where `restore` brings it back for 30 days."""
    with transaction.atomic():
        _update(image, trashed_at=timezone.now())
        _bump(image.collection_id)
        _record("image.trashed", image, actor, {}, {"file_name": image.file_name})
        image_deleted.send(Image, image=image, for_good=False)


def restore(image: Image, actor: User | None) -> None:
    """Out of the trash, with its tags and decisions. Raises Conflict where the same picture was uploaded again."""
    with transaction.atomic():
        twin = Image.objects.present().filter(collection=image.collection_id, sha256=image.sha256)
        if twin.exclude(pk=image.pk).exists():
            raise Conflict(_("The same picture was uploaded again since; there is nothing to restore."))
        _update(image, trashed_at=None)
        _bump(image.collection_id)
        _record("image.restored", image, actor, {}, {})


def move(image: Image, collection: Collection, actor: User | None) -> None:
    """Into another collection of the same team; the caller has checked both ends. Raises Conflict on a duplicate, and
    where the picture is there already."""
    if collection.team_id != image.collection.team_id:
        raise Conflict(_("Pictures move between collections of one team only."))
    source = image.collection
    twins = Image.objects.present().filter(collection=collection, sha256=image.sha256)
    with transaction.atomic():
        if collection.pk == source.pk or twins.exists():
            raise Conflict(_("The same picture is already in that collection."))
        _update(image, collection=collection)
        for touched in (source.pk, collection.pk):
            _bump(touched)
        image_moved.send(Image, image=image, source=source.pk)
        _record(
            "image.moved", image, actor, {"collection": str(source.uid)}, {"collection": str(collection.uid)}
        )


def carry(image: Image, target: Collection, principal: Principal, actor: User | None) -> None:
    """`move` for somebody: rights at both ends are asked, and a move is no way round the approval that an upload to
    `target` would need. Raises what `require` raises, and Conflict."""
    require(principal, Action.UPLOAD, target)
    require(principal, Action.DELETE, image)
    with transaction.atomic():
        move(image, target, actor)
        waits = actor is None or ingest.first_moderation(target, actor) == Moderation.PENDING
        if (
            waits
            and image.moderation == Moderation.APPROVED
            and not allowed(principal, Action.MODERATE, target)
        ):
            decide(image, "undo", actor, _("Moved here"))


def edit(image: Image, actor: User | None, **fields: Any) -> None:
    """Change title, caption, alternative text, capture date or tags; anything else is refused."""
    tags = fields.pop("tags", None)
    if unknown := set(fields) - set(EDITABLE):
        raise ValueError(f"not editable: {', '.join(sorted(unknown))}")
    with transaction.atomic():
        before: dict[str, Any] = {name: str(getattr(image, name)) for name in fields}
        after: dict[str, Any] = {name: str(value) for name, value in fields.items()}
        _update(image, **fields)
        if tags is not None:
            before["tags"], after["tags"] = _tag_names(image), ingest.clean_tags(tags)
            ingest.set_tags(image, after["tags"])
        _bump(image.collection_id)
        _record("image.edited", image, actor, before, after)


def in_trash(collections: QuerySet[Collection]) -> QuerySet[Image]:
    return Image.objects.filter(collection__in=collections, trashed_at__isnull=False)


def empty_trash(older_than: timedelta = RETENTION, limit: int = 500) -> int:
    """Remove what has been in the trash for longer than `older_than`: the row (vectors with it), then the bytes."""
    old = Image.objects.filter(trashed_at__lt=timezone.now() - older_than).select_related("collection__team")
    count = 0
    for image in old[:limit]:
        keys = [key for key in (image.original_key, image.preview_key, image.thumbnail_key) if key]
        with transaction.atomic():
            _record("image.purged", image, None, {"file_name": image.file_name, "sha256": image.sha256}, {})
            image_deleted.send(Image, image=image, for_good=True)
            image.delete()
        for key in keys:
            storage.delete(key)
        count += 1
    return count


def _tag_names(image: Image) -> list[str]:
    return sorted(image.tags.values_list("name", flat=True))


def _update(image: Image, **values: Any) -> None:
    Image.objects.filter(pk=image.pk).update(version=F("version") + 1, **values)
    for name, value in values.items():
        setattr(image, name, value)
    image.version += 1


def _bump(collection_id: int) -> None:
    Collection.objects.filter(pk=collection_id).update(permission_epoch=F("permission_epoch") + 1)


def _record(action: str, image: Image, actor: User | None, before: dict, after: dict) -> None:
    audit.record(action, image, team=image.collection.team, actor=actor, before=before, after=after)
