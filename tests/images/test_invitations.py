"""Invitations by mail: who may send them, what the link does, once."""

import re
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.urls import reverse
from django.utils import timezone

from images import invitations
from images.access import Rank
from images.models import AuditEvent, Invitation, Membership, User
from images.moderation import Conflict

GUEST = "guest@example.org"
PASSWORD = "another good pass phrase"


@pytest.fixture
def invite(team, owner):
    """Invite and mail; returns the invitation."""

    def make(email=GUEST, role="contributor", by=None, rank=Rank.OWNER):
        made = invitations.invite(team, email, role, "check", by or owner, rank)
        invitations.send(made, "http://testserver")
        return made

    return make


def link(mail) -> str:
    return re.search(r"http://testserver(\S+)", mail.body).group(1)


def sign_up(client, email=GUEST):
    form = {"email": email, "password1": PASSWORD, "password2": PASSWORD}
    return client.post(reverse("account_signup"), form)


def test_a_manager_invites_from_the_page(page, member, team, mailoutbox):
    manager = member("manager")
    address = reverse("images:invitations", args=[team.uid])
    answer = page(manager).post(address, {"email": GUEST, "role": "editor", "trust": "check"})
    assert (answer.status_code, mailoutbox[0].to) == (302, [GUEST])
    assert Invitation.objects.get().sent_at is not None
    assert AuditEvent.objects.get(action="invitation.created").actor == manager


@pytest.mark.parametrize(("who", "status"), [("teammate", 403), ("viewer", 403), ("outsider", 404)])
def test_nobody_below_manager_invites(page, request, team, who, status, mailoutbox):
    address = reverse("images:invitations", args=[team.uid])
    answer = page(request.getfixturevalue(who)).post(
        address, {"email": GUEST, "role": "viewer", "trust": "check"}
    )
    assert (answer.status_code, mailoutbox, Invitation.objects.count()) == (status, [], 0)


def test_nobody_invites_above_their_own_role(team, member):
    with pytest.raises(PermissionDenied):
        invitations.invite(team, GUEST, "owner", "check", member("manager"), Rank.MANAGER)
    assert not Invitation.objects.exists()


def test_a_manager_does_not_lower_an_owners_invitation(team, member, invite):
    invite(role="owner")
    with pytest.raises(PermissionDenied):
        invitations.invite(team, GUEST, "viewer", "check", member("manager"), Rank.MANAGER)
    assert Invitation.objects.get().role == "owner"


def test_a_member_is_not_invited_again(team, owner, viewer):
    with pytest.raises(Conflict):
        invitations.invite(team, viewer.email.upper(), "viewer", "check", owner, Rank.OWNER)


def test_the_mail_names_team_role_and_sender_on_one_line_of_subject(team, owner, invite, mailoutbox):
    team.name = "Harbour\nBcc: all@example.org"
    team.save()
    invite()
    assert mailoutbox[0].subject == "Join Harbour Bcc: all@example.org on Loupe"
    assert "Contributor" in mailoutbox[0].body and "owner" in mailoutbox[0].body


def test_without_an_invitation_nobody_signs_up(page):
    sign_up(page())
    assert not User.objects.filter(email=GUEST).exists()


def test_the_link_opens_sign_up_and_the_new_account_is_a_member(page, team, invite, mailoutbox):
    invite(role="editor")
    client = page()
    assert reverse("account_signup") in client.get(link(mailoutbox[0])).text
    assert sign_up(client).status_code == 302
    assert Membership.objects.get(team=team, user__email=GUEST).role == "editor"
    assert AuditEvent.objects.get(action="invitation.accepted").actor.email == GUEST


def test_the_address_counts_as_verified_because_the_link_came_through_it(page, invite, mailoutbox, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    invite()
    client = page()
    client.get(link(mailoutbox[0]))
    sign_up(client)
    assert User.objects.get(email=GUEST).emailaddress_set.get().verified
    assert len(mailoutbox) == 1


def test_the_link_opens_no_account_for_another_address(page, invite, mailoutbox):
    invite()
    client = page()
    client.get(link(mailoutbox[0]))
    answer = sign_up(client, "somebody@example.org")
    assert (answer.status_code, User.objects.filter(email="somebody@example.org").exists()) == (200, False)


def test_somebody_with_an_account_joins(page, team, outsider, invite, mailoutbox):
    invite(outsider.email)
    client = page(outsider)
    assert client.post(link(mailoutbox[0])).status_code == 302
    assert Membership.objects.filter(team=team, user=outsider).exists()


def test_looking_at_the_link_does_not_join(page, team, outsider, invite, mailoutbox):
    invite(outsider.email)
    assert page(outsider).get(link(mailoutbox[0])).status_code == 200
    assert not Membership.objects.filter(team=team, user=outsider).exists()


def test_another_account_does_not_join(page, team, outsider, invite, mailoutbox):
    invite()
    page(outsider).post(link(mailoutbox[0]))
    assert not Membership.objects.filter(team=team, user=outsider).exists()


def test_the_link_works_once(page, team, outsider, invite, mailoutbox):
    invite(outsider.email)
    page(outsider).post(link(mailoutbox[0]))
    Membership.objects.filter(team=team, user=outsider).delete()
    assert page(outsider).post(link(mailoutbox[0])).status_code == 404
    assert not Membership.objects.filter(team=team, user=outsider).exists()


def test_the_link_ends_after_seven_days(page, outsider, invite, mailoutbox):
    made = invite(outsider.email)
    assert made.expires_at - timezone.now() > timedelta(days=6, hours=23)
    Invitation.objects.update(expires_at=timezone.now())
    assert page(outsider).post(link(mailoutbox[0])).status_code == 404


def test_a_revoked_link_is_dead(page, owner, outsider, invite, mailoutbox):
    invitations.revoke(invite(outsider.email), owner)
    assert page(outsider).post(link(mailoutbox[0])).status_code == 404
    assert AuditEvent.objects.filter(action="invitation.revoked").exists()


def test_sending_again_ends_the_older_link(page, owner, outsider, team, invite, mailoutbox):
    made = invite(outsider.email)
    Invitation.objects.update(sent_at=timezone.now() - timedelta(minutes=2))
    page(owner).post(reverse("images:invitation-resend", args=[team.uid, made.uid]))
    assert page(outsider).get(link(mailoutbox[0])).status_code == 404
    assert page(outsider).get(link(mailoutbox[1])).status_code == 200


def test_a_mail_just_sent_is_not_sent_again(owner, invite, mailoutbox):
    made = invite()
    made.refresh_from_db()
    with pytest.raises(Conflict):
        invitations.renew(made, owner, Rank.OWNER)


@pytest.mark.parametrize("ends", [{"is_active": False}, {"role": "editor"}])
def test_an_inviter_who_may_no_longer_invite_lets_nobody_in(ends, page, member, outsider, invite, mailoutbox):
    manager = member("manager")
    invite(outsider.email, by=manager, rank=Rank.MANAGER)
    User.objects.filter(pk=manager.pk).update(is_active=ends.get("is_active", True))
    manager.memberships.update(role=ends.get("role", "manager"))
    assert page(outsider).post(link(mailoutbox[0])).status_code == 404


@pytest.mark.parametrize("change", ["x", ""])
def test_a_changed_link_is_no_link(change, page, invite, mailoutbox):
    invite()
    address = link(mailoutbox[0]).rstrip("/")
    assert page().get(f"{address[:-2]}{change}/").status_code == 404


def test_a_mail_server_that_is_away_is_told_and_can_be_tried_again(page, owner, team, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", 9, 1
    address = reverse("images:invitations", args=[team.uid])
    answer = page(owner).post(address, {"email": GUEST, "role": "viewer", "trust": "check"}, follow=True)
    assert "could not be sent" in answer.text
    assert Invitation.objects.get().sent_at is None


def test_the_api_invites_lists_and_revokes(api, owner, team, mailoutbox):
    address, client = f"/api/v1/teams/{team.uid}/invitations/", api(owner)
    made = client.post(address, {"email": GUEST, "role": "viewer"})
    assert (made.status_code, len(mailoutbox), made.json()["live"]) == (201, 1, True)
    assert [one["email"] for one in client.get(address).json()["data"]] == [GUEST]
    assert client.delete(f"{address}{made.json()['id']}/").status_code == 204
    assert Invitation.objects.get().live is False


def test_a_team_has_a_bounded_number_of_open_invitations(team, owner, monkeypatch):
    monkeypatch.setattr(invitations, "MOST_OPEN", 2)
    for number in range(2):
        invitations.invite(team, f"guest{number}@example.org", "viewer", "check", owner, Rank.OWNER)
    with pytest.raises(Conflict, match="2 open invitations"):
        invitations.invite(team, GUEST, "viewer", "check", owner, Rank.OWNER)
