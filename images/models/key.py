"""API keys: only a hash of the secret is stored."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from images.models.base import Public
from images.models.collection import Collection
from images.models.team import Team, User

MOST_PER_MINUTE = 100_000


class Scope(models.TextChoices):
    SEARCH_READ = "search:read", _("Search")
    IMAGES_READ = "images:read", _("Read pictures")
    IMAGES_WRITE = "images:write", _("Upload, edit and delete pictures")
    COLLECTIONS_ADMIN = "collections:admin", _("Create and change collections")
    INDEX_ADMIN = "index:admin", _("See and rebuild indexes")
    MODERATION_WRITE = "moderation:write", _("Moderate")
    WEBHOOKS_WRITE = "webhooks:write", _("Manage webhooks")


class ApiKey(Public):
    """`lp_<prefix>_<secret>`: the prefix finds the row, the SHA-512 of the secret proves it."""

    team = models.ForeignKey(Team, models.CASCADE, related_name="api_keys", verbose_name=_("team"))
    owner = models.ForeignKey(User, models.CASCADE, related_name="api_keys", verbose_name=_("owner"))
    name = models.CharField(_("name"), max_length=80)
    prefix = models.CharField(_("prefix"), max_length=12, unique=True, editable=False)
    secret_hash = models.CharField(max_length=128, editable=False)
    scopes = models.JSONField(_("scopes"), default=list)
    limited = models.BooleanField(_("limited to some collections"), default=False)
    collections = models.ManyToManyField(Collection, blank=True, verbose_name=_("only these collections"))
    # Empty: the server's own limit, which is never exceeded.
    rate = models.PositiveIntegerField(
        _("requests per minute"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_PER_MINUTE)],
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} (lp_{self.prefix}_…)"

    @property
    def live(self) -> bool:
        now = timezone.now()
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)
