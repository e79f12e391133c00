"""Pages about people and what they share. Included by `images.urls`, so the names are in its namespace."""

from django.urls import path

from images.views import (
    duplicates,
    invitations,
    prompts,
    reports,
    shared,
    sharing,
    trail,
    transfers,
    webhooks,
)

INVITATIONS = "teams/<uuid:uid>/invitations/"
WEBHOOKS = "teams/<uuid:uid>/webhooks/"
SHARING = "collections/<uuid:uid>/sharing/"

urlpatterns = [
    path(INVITATIONS, invitations.page, name="invitations"),
    path(f"{INVITATIONS}<uuid:invitation_uid>/resend/", invitations.resend, name="invitation-resend"),
    path(f"{INVITATIONS}<uuid:invitation_uid>/revoke/", invitations.revoke, name="invitation-revoke"),
    path("invitations/<str:token>/", invitations.accept, name="invitation"),
    path(WEBHOOKS, webhooks.page, name="webhooks"),
    path(f"{WEBHOOKS}<uuid:webhook_uid>/", webhooks.detail, name="webhook"),
    path(f"{WEBHOOKS}<uuid:webhook_uid>/switch/", webhooks.switch, name="webhook-switch"),
    path(f"{WEBHOOKS}<uuid:webhook_uid>/rotate/", webhooks.rotate, name="webhook-rotate"),
    path(f"{WEBHOOKS}<uuid:webhook_uid>/remove/", webhooks.remove, name="webhook-remove"),
    path(
        f"{WEBHOOKS}<uuid:webhook_uid>/<uuid:delivery_uid>/resend/", webhooks.resend, name="delivery-resend"
    ),
    path("teams/<uuid:uid>/prompts/", prompts.page, name="prompts"),
    path("teams/<uuid:uid>/prompts/<uuid:prompt_uid>/remove/", prompts.remove, name="prompt-remove"),
    path("teams/<uuid:uid>/audit/", trail.page, name="audit"),
    path("teams/<uuid:uid>/audit/export/", trail.export, name="audit-export"),
    path(SHARING, sharing.page, name="sharing"),
    path(f"{SHARING}links/", sharing.create_link, name="share-create"),
    path(f"{SHARING}links/<uuid:share_uid>/revoke/", sharing.revoke_link, name="share-revoke"),
    path(f"{SHARING}members/", sharing.grant, name="grant"),
    path(f"{SHARING}members/<uuid:user_uid>/withdraw/", sharing.withdraw, name="grant-withdraw"),
    path("collections/<uuid:uid>/duplicates/", duplicates.page, name="duplicates"),
    path("collections/<uuid:uid>/duplicates/decide/", duplicates.decide, name="duplicates-decide"),
    path("collections/<uuid:uid>/transfer/", transfers.page, name="transfer"),
    path("collections/<uuid:uid>/transfer/import/", transfers.take_in, name="import"),
    path("collections/<uuid:uid>/transfer/export/", transfers.take_out, name="export"),
    path("jobs/<uuid:uid>/result/", transfers.result, name="job-result"),
    path("images/<uuid:uid>/report/", reports.page, name="image-report"),
    path("s/<str:token>/unlock/", shared.unlock, name="shared-unlock"),
    path("s/<str:token>/images/<uuid:uid>/", shared.picture, name="shared-image"),
    path(
        "s/<str:token>/images/<uuid:uid>/thumbnail/",
        shared.rendition,
        {"kind": "thumbnail"},
        name="shared-thumbnail",
    ),
    path(
        "s/<str:token>/images/<uuid:uid>/preview/",
        shared.rendition,
        {"kind": "preview"},
        name="shared-preview",
    ),
]
