"""What the actions of the audit log are called on a page. The log itself keeps the codes: programs filter by them."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

NAMES: dict[str, Any] = {
    "audit.exported": _("Exported the audit log"),
    "collection.changed": _("Changed a collection"),
    "collection.created": _("Created a collection"),
    "collection.deleted": _("Deleted a collection"),
    "collection.export": _("Exported a collection"),
    "collection.export_downloaded": _("Downloaded an export"),
    "collection.import": _("Imported pictures"),
    "duplicates.kept": _("Kept look-alikes apart"),
    "grant.set": _("Gave rights in a collection"),
    "grant.withdrawn": _("Took rights in a collection away"),
    "image.edited": _("Edited a picture"),
    "image.moved": _("Moved a picture"),
    "image.purged": _("Removed a picture for good"),
    "image.reported": _("Reported a picture"),
    "image.restored": _("Restored a picture"),
    "image.trashed": _("Moved a picture to the trash"),
    "index.rebuild_wanted": _("Asked for a new index"),
    "index.rolled_back": _("Went back to the index before"),
    "invitation.accepted": _("Accepted an invitation"),
    "invitation.created": _("Invited somebody"),
    "invitation.renewed": _("Sent an invitation again"),
    "invitation.revoked": _("Took an invitation back"),
    "job.cancelled": _("Cancelled a job"),
    "key.issued": _("Created an API key"),
    "key.revoked": _("Revoked an API key"),
    "key.rotated": _("Replaced an API key"),
    "member.added": _("Added a member"),
    "member.changed": _("Changed a member"),
    "member.reinstated": _("Let a member come back"),
    "member.removed": _("Removed a member"),
    "member.suspended": _("Suspended a member"),
    "moderation.approve": _("Approved a picture"),
    "moderation.hide": _("Hid a picture"),
    "moderation.reject": _("Rejected a picture"),
    "moderation.restore": _("Showed a picture again"),
    "moderation.undo": _("Undid a decision"),
    "prompt.added": _("Added a review hint"),
    "prompt.changed": _("Changed a review hint"),
    "prompt.removed": _("Removed a review hint"),
    "share.created": _("Created a share link"),
    "share.revoked": _("Revoked a share link"),
    "team.created": _("Created the team"),
    "team.renamed": _("Renamed the team"),
    "webhook.changed": _("Changed a webhook"),
    "webhook.created": _("Created a webhook"),
    "webhook.removed": _("Removed a webhook"),
    "webhook.resent": _("Sent a webhook delivery again"),
    "webhook.rotated": _("Replaced a webhook's secret"),
    "webhook.stopped": _("A webhook was stopped"),
}
IN_THE_ADMIN = {
    "added": _("Added in the administration"),
    "changed": _("Changed in the administration"),
    "deleted": _("Deleted in the administration"),
}


def name_of(action: str) -> str:
    """The words for an action; for one of a newer or older release its code."""
    if action.startswith("admin."):
        return str(IN_THE_ADMIN.get(action.rsplit(".", 1)[1], action))
    return str(NAMES.get(action, action))
