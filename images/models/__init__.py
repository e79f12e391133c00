from images.models.audit import AuditEvent
from images.models.collection import Collection, CollectionGrant, ModerationPolicy, Visibility
from images.models.image import Image, ImageState, Moderation, Tag
from images.models.invitation import Invitation
from images.models.job import Job, JobKind, JobState
from images.models.key import MOST_PER_MINUTE, ApiKey, Scope
from images.models.prompt import ModerationPrompt
from images.models.report import KeptPair, Report
from images.models.share import ShareLink
from images.models.team import Membership, Role, Team, Trust, User
from images.models.webhook import DeliveryState, Webhook, WebhookDelivery, WebhookEvent

__all__ = [
    "MOST_PER_MINUTE",
    "ApiKey",
    "AuditEvent",
    "Collection",
    "CollectionGrant",
    "DeliveryState",
    "Image",
    "ImageState",
    "Invitation",
    "Job",
    "JobKind",
    "JobState",
    "KeptPair",
    "Membership",
    "Moderation",
    "ModerationPolicy",
    "ModerationPrompt",
    "Report",
    "Role",
    "Scope",
    "ShareLink",
    "Tag",
    "Team",
    "Trust",
    "User",
    "Visibility",
    "Webhook",
    "WebhookDelivery",
    "WebhookEvent",
]
