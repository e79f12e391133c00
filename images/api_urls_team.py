"""Addresses of the API about people and what they share. Included by `images.api_urls`."""

from django.urls import path

from images import api_audit, api_prompts, api_sharing, api_webhooks

TEAM = "teams/<uuid:uid>/"
COLLECTION = "collections/<uuid:uid>/"
WEBHOOK = f"{TEAM}webhooks/<uuid:webhook>/"

urlpatterns = [
    path(f"{TEAM}invitations/", api_sharing.Invitations.as_view(), name="invitations"),
    path(f"{TEAM}invitations/<uuid:invitation>/", api_sharing.InvitationDetail.as_view(), name="invitation"),
    path(
        f"{TEAM}invitations/<uuid:invitation>/resend/",
        api_sharing.InvitationResend.as_view(),
        name="invitation-resend",
    ),
    path(f"{TEAM}webhooks/", api_webhooks.Webhooks.as_view(), name="webhooks"),
    path(WEBHOOK, api_webhooks.WebhookDetail.as_view(), name="webhook"),
    path(f"{WEBHOOK}rotate/", api_webhooks.WebhookRotation.as_view(), name="webhook-rotate"),
    path(f"{WEBHOOK}deliveries/", api_webhooks.Deliveries.as_view(), name="deliveries"),
    path(
        f"{WEBHOOK}deliveries/<uuid:delivery>/resend/",
        api_webhooks.DeliveryResend.as_view(),
        name="delivery-resend",
    ),
    path(f"{TEAM}prompts/", api_prompts.Prompts.as_view(), name="prompts"),
    path(f"{TEAM}prompts/<uuid:prompt>/", api_prompts.PromptDetail.as_view(), name="prompt"),
    path(f"{TEAM}audit/", api_audit.Audit.as_view(), name="audit"),
    path(f"{COLLECTION}shares/", api_sharing.Shares.as_view(), name="shares"),
    path(f"{COLLECTION}shares/<uuid:share>/", api_sharing.ShareDetail.as_view(), name="share"),
    path(f"{COLLECTION}members/", api_sharing.Grants.as_view(), name="grants"),
    path(f"{COLLECTION}members/<uuid:user>/", api_sharing.GrantDetail.as_view(), name="grant"),
    path(f"{COLLECTION}duplicates/", api_audit.Duplicates.as_view(), name="duplicates"),
    path(f"{COLLECTION}duplicates/keep/", api_audit.DuplicatesKeep.as_view(), name="duplicates-keep"),
    path("images/<uuid:uid>/report/", api_audit.Reports.as_view(), name="image-report"),
]
