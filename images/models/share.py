"""Read-only links to one collection: only a hash of the token is stored."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images.models.base import Public
from images.models.collection import Collection
from images.models.team import User


class ShareLink(Public):
    """`/s/<token>/`: whoever holds the token may look at and search the collection until the link ends.

    Belongs to the collection, not to its maker: it goes on when that person leaves, and every manager may revoke it.
    """

    collection = models.ForeignKey(
        Collection, models.CASCADE, related_name="share_links", verbose_name=_("collection")
    )
    name = models.CharField(_("name"), max_length=80)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    password = models.CharField(_("password"), max_length=128, blank=True, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", verbose_name=_("by"))
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)

    class Meta:
        verbose_name = _("share link")
        verbose_name_plural = _("share links")
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.name} · {self.collection}"

    @property
    def live(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())

    @property
    def has_password(self) -> bool:
        return bool(self.password)
