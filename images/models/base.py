"""What every object that leaves the server has in common."""

from django.db import models

from images.ids import uuid7


class Public(models.Model):
    """An object with two ids: `id` for joins and index rows, `uid` for everything that leaves the server."""

    id = models.BigAutoField(primary_key=True)
    uid = models.UUIDField(default=uuid7, unique=True, editable=False)

    class Meta:
        abstract = True
