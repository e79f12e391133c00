from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ImagesConfig(AppConfig):
    name = "images"
    verbose_name = _("Images")

    def ready(self) -> None:
        from images import admin_audit, audit_guard, webhooks
        from images import checks as _checks  # noqa: F401  (registers the system checks)

        webhooks.connect()
        admin_audit.connect()
        audit_guard.connect(self)
