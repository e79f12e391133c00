"""Invitations by mail: whoever holds the mailbox joins the team, with or without an account here.

The link is signed and carries a nonce of the row: a copy of the database makes no links, sending again ends the older
ones, and accepting ends all. Joining is checked against what the inviter may do at that moment.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from smtplib import SMTPException
from typing import Any
from uuid import UUID

import structlog
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from images import audit, teams
from images.access import Action, Rank, allowed, principal_for_user, rank
from images.models import Invitation, Membership, Role, Team, User
from images.moderation import Conflict

log = structlog.get_logger(__name__)
SALT = "images.invitations"
LIFETIME = timedelta(days=7)
RESEND_AFTER = timedelta(minutes=1)
MOST_OPEN = 200
SESSION_KEY = "invitation"


class InvitationClosed(Conflict):
    """The invitation cannot be accepted, and the message says why."""


def invite(team: Team, email: str, role: str, trust: str, actor: User, actor_rank: Rank) -> Invitation:
    """A new invitation, or the open one for this address with a new link and these terms; `send` mails it.

    Raises PermissionDenied for a role above the actor's own, Conflict for a member or where too many are open.
    """
    _refuse_above(actor_rank, role)
    email = email.strip().lower()
    if Membership.objects.filter(team=team, user__email__iexact=email).exists():
        raise Conflict(_("This person is a member already."))
    terms: dict[str, Any] = {"role": role, "trust": trust, "invited_by": actor, **_fresh()}
    with transaction.atomic():
        # The team's row is the lock: two managers who invite the same address at once make one invitation.
        Team.objects.select_for_update().get(pk=team.pk)
        found = Invitation.objects.open().filter(team=team, email=email).first()  # type: ignore[attr-defined]
        if found is not None:
            _refuse_above(actor_rank, found.role)
            Invitation.objects.filter(pk=found.pk).update(**terms)
            found.refresh_from_db()
        else:
            _refuse_more(team)
            found = Invitation.objects.create(team=team, email=email, **terms)
        _record("invitation.created", found, actor, after={"email": email, "role": role, "trust": trust})
    return found


def renew(invitation: Invitation, actor: User, actor_rank: Rank) -> None:
    """A new link for seven more days; `send` mails it. Raises Conflict where it is closed or was just sent."""
    _refuse_above(actor_rank, invitation.role)
    with transaction.atomic():
        mine = Invitation.objects.open().filter(pk=invitation.pk)  # type: ignore[attr-defined]
        if not mine.exists():
            raise Conflict(_("This invitation was accepted or revoked."))
        if invitation.sent_at and invitation.sent_at > timezone.now() - RESEND_AFTER:
            raise Conflict(_("It was sent a moment ago. Wait a minute before sending it again."))
        mine.update(invited_by=actor, **_fresh())
        invitation.refresh_from_db()
        _record("invitation.renewed", invitation, actor, after={"email": invitation.email})


def revoke(invitation: Invitation, actor: User) -> None:
    """End the link at once."""
    with transaction.atomic():
        mine = Invitation.objects.open().filter(pk=invitation.pk)  # type: ignore[attr-defined]
        if not mine.update(revoked_at=timezone.now()):
            raise Conflict(_("This invitation was accepted or revoked."))
        _record("invitation.revoked", invitation, actor, before={"email": invitation.email})


def send(invitation: Invitation, base: str) -> bool:
    """Mail the link, `base` being the server's address. False, and logged, where the mail server refuses."""
    context = {
        "invitation": invitation,
        "link": f"{base.rstrip('/')}{path(invitation)}",
        "days": LIFETIME.days,
    }
    subject = _("Join %(team)s on Loupe") % {"team": " ".join(invitation.team.name.split())}
    try:
        send_mail(subject, render_to_string("team/mail/invitation.txt", context), None, [invitation.email])
    except (SMTPException, OSError) as error:
        log.warning("invitation_not_sent", invitation=str(invitation.uid), error=str(error))
        return False
    Invitation.objects.filter(pk=invitation.pk).update(sent_at=timezone.now())
    return True


def path(invitation: Invitation) -> str:
    return reverse(
        "images:invitation", args=[signing.dumps([invitation.uid.hex, invitation.nonce], salt=SALT)]
    )


def find(token: str) -> Invitation | None:
    """The live invitation that `token` is the link of, whose inviter may still let people in; else None."""
    try:
        uid, nonce = signing.loads(token, salt=SALT)
        rows = Invitation.objects.filter(uid=UUID(uid), nonce=nonce)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    found = rows.select_related("team", "invited_by").first()
    return found if found is not None and found.live and _inviter_may(found) else None


def accept(invitation: Invitation, user: User) -> None:
    """Let `user` into the team. Raises InvitationClosed: ended meanwhile, for another address, a member already."""
    with transaction.atomic():
        held = Invitation.objects.select_for_update(of=("self",)).select_related("team", "invited_by")
        row = held.get(pk=invitation.pk)
        if not row.live or row.nonce != invitation.nonce or not _inviter_may(row):
            raise InvitationClosed(_("This invitation has ended. Ask for a new one."))
        if user.email.lower() != row.email:
            raise InvitationClosed(_("This invitation is for %(email)s.") % {"email": row.email})
        Invitation.objects.filter(pk=row.pk).update(accepted_at=timezone.now(), accepted_by=user)
        _record("invitation.accepted", row, user, after={"email": row.email, "role": row.role})
        try:
            teams.add_member(row.team, user, row.role, row.trust, user, _inviter_rank(row))
        except PermissionDenied as error:
            raise InvitationClosed(_("This invitation has ended. Ask for a new one.")) from error


def held_by(request: Any) -> Invitation | None:
    """The live invitation whose link this browser has opened."""
    token = getattr(request, "session", {}).get(SESSION_KEY)
    return find(token) if token else None


def has_account(email: str) -> bool:
    return User.objects.filter(email__iexact=email).exists()


def _fresh() -> dict[str, Any]:
    return {"nonce": secrets.token_hex(16), "expires_at": timezone.now() + LIFETIME}


def _inviter_rank(invitation: Invitation) -> Rank:
    return principal_for_user(invitation.invited_by).rank_in_team(invitation.team)


def _inviter_may(invitation: Invitation) -> bool:
    principal = principal_for_user(invitation.invited_by)
    may_invite = allowed(principal, Action.MANAGE_TEAM, invitation.team)
    return may_invite and rank(invitation.role) <= _inviter_rank(invitation)


def _refuse_above(actor_rank: Rank, role: str) -> None:
    if role not in Role.values or rank(role) > actor_rank:
        raise PermissionDenied(_("Your role in this team is below that one."))


def _refuse_more(team: Team) -> None:
    if Invitation.objects.open().filter(team=team).count() >= MOST_OPEN:  # type: ignore[attr-defined]
        raise Conflict(_("The team has %d open invitations; revoke some first.") % MOST_OPEN)


def _record(action: str, invitation: Invitation, actor: User, **change: Any) -> None:
    audit.record(action, invitation, team=invitation.team, actor=actor, **change)
