"""Webhooks against a real receiver: what is told, to whom, how it is signed, and when it is tried again."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.urls import reverse
from django.utils import timezone

from images import moderation, outbound, webhooks
from images.models import AuditEvent, Webhook, WebhookDelivery, WebhookEvent
from images.signals import image_failed, image_ready, index_swapped

EVERYTHING = list(WebhookEvent.values)
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Receiver(ThreadingHTTPServer):
    """Answers `status` (after `wait` seconds) and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.wait, self.location = 200, 0.0, ""
        self.received: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?team=a"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Receiver = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.received.append(({k.lower(): v for k, v in self.headers.items()}, body))
        time.sleep(server.wait)
        self.send_response(server.status)
        if server.location:
            self.send_header("Location", server.location)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def receiver(settings) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOW_PRIVATE = True
    server = Receiver()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def hook(team, owner, receiver):
    """A webhook of the owner that is told everything; its secret as `hook.known`."""
    made, secret = webhooks.create(team, owner, receiver.url, EVERYTHING)
    made.known = secret
    return made


def tell(image) -> WebhookDelivery:
    """One event about `image`, waiting to be sent."""
    image_ready.send(type(image), image=image)
    return WebhookDelivery.objects.latest("pk")


def valid(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """As a receiver checks it, written from the specification."""
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    key = base64.b64decode(secret.removeprefix("whsec_"))
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{wanted}" in headers["webhook-signature"].split(" ")


# ── What is told ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_picture_that_is_ready_is_told(hook, receiver, make_image):
    image = make_image()
    tell(image)
    assert webhooks.deliver_due() == 1
    told = json.loads(receiver.received[0][1])
    assert (told["type"], told["data"]["id"]) == ("image.ready", str(image.uid))


def test_refused_deleted_decided_and_swapped_are_told(hook, make_image, owner, collection):
    image = make_image()
    image_failed.send(type(image), image=image, reason="Not a picture.")
    moderation.decide(image, "hide", owner, "blurred")
    moderation.trash(image, owner)
    index_swapped.send(type(collection), collection=collection, generation=3, count=7)
    told = list(WebhookDelivery.objects.order_by("pk").values_list("event", flat=True))
    assert told == ["image.failed", "moderation.decided", "image.deleted", "index.swapped"]


def test_emptying_the_trash_is_told_as_for_good(hook, make_image):
    make_image(trashed_at=timezone.now() - timedelta(days=31))
    moderation.empty_trash()
    assert WebhookDelivery.objects.get().payload["data"]["for_good"] is True


def test_a_change_that_is_rolled_back_tells_nothing(hook, make_image, owner):
    from django.db import transaction

    image = make_image()
    with transaction.atomic():
        moderation.trash(image, owner)
        transaction.set_rollback(True)
    assert not WebhookDelivery.objects.exists()


def test_only_the_chosen_events_are_told(hook, make_image, owner):
    webhooks.change(hook, owner, events=["image.deleted"])
    image_ready.send(None, image=make_image())
    assert not WebhookDelivery.objects.exists()


def test_a_paused_webhook_is_told_nothing(hook, make_image, owner):
    webhooks.change(hook, owner, active=False)
    image_ready.send(None, image=make_image())
    assert not WebhookDelivery.objects.exists()


def test_other_teams_are_told_nothing(hook, make_image, make_collection, other_team):
    image_ready.send(None, image=make_image(make_collection("Far", team=other_team)))
    assert not WebhookDelivery.objects.exists()


def test_a_private_collection_is_told_to_its_members_alone(hook, owner, make_image, make_collection):
    private = make_collection("Own", visibility="private")
    image_ready.send(None, image=make_image(private))
    assert not WebhookDelivery.objects.exists()
    private.grants.create(user=owner, role="owner")
    image_ready.send(None, image=make_image(private))
    assert WebhookDelivery.objects.count() == 1


@pytest.mark.parametrize("end", ["suspended", "demoted", "left"])
def test_a_webhook_ends_with_its_owners_rights_even_for_what_waits(end, hook, owner, receiver, make_image):
    delivery = tell(make_image())
    if end == "suspended":
        owner.is_active = False
        owner.save()
    owner.memberships.update(role="editor") if end == "demoted" else None
    owner.memberships.all().delete() if end == "left" else None
    webhooks.deliver_due()
    delivery.refresh_from_db()
    assert (delivery.state, receiver.received) == ("failed", [])


# ── Signature ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_signature_is_that_of_standard_webhooks(hook, receiver, make_image):
    tell(make_image())
    webhooks.deliver_due()
    headers, body = receiver.received[0]
    assert valid(hook.known, headers, body) and not valid(hook.known, headers, body + b" ")
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


def test_the_example_of_the_specification_verifies():
    hook = Webhook(secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = webhooks.sign(hook, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_rotation_signs_with_both_secrets_for_a_day(hook, owner, receiver, make_image):
    fresh = webhooks.rotate(hook, owner)
    tell(make_image())
    webhooks.deliver_due()
    assert all(valid(secret, *receiver.received[0]) for secret in (fresh, hook.known))
    Webhook.objects.update(former_until=timezone.now())
    tell(make_image())
    webhooks.deliver_due()
    assert valid(fresh, *receiver.received[1]) and not valid(hook.known, *receiver.received[1])


# ── Attempts ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [400, 500, 301])
def test_anything_but_success_is_tried_again_later(status, hook, receiver, make_image):
    receiver.status = status
    delivery = tell(make_image())
    webhooks.deliver_due()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.response_code, delivery.attempts) == ("waiting", status, 1)
    assert delivery.not_before > timezone.now() and webhooks.deliver_due() == 0


def test_the_attempts_last_three_days(hook, receiver, make_image):
    receiver.status = 500
    delivery = tell(make_image())
    for _attempt in range(len(webhooks.RETRIES) + 1):
        WebhookDelivery.objects.update(not_before=None)
        webhooks.deliver_due()
    delivery.refresh_from_db()
    assert (delivery.state, len(receiver.received)) == ("failed", 10)
    assert timedelta(days=3) < sum(webhooks.RETRIES, timedelta()) < timedelta(days=4)
    assert len({headers["webhook-id"] for headers, _body in receiver.received}) == 1


def test_a_webhook_that_received_nothing_for_so_long_is_stopped(hook, receiver, make_image):
    receiver.status = 500
    tell(make_image())
    WebhookDelivery.objects.update(attempts=len(webhooks.RETRIES))
    webhooks.deliver_due()
    hook.refresh_from_db()
    assert hook.active is False and hook.stopped_because
    assert AuditEvent.objects.filter(action="webhook.stopped").exists()


def test_a_receiver_that_is_gone_stops_the_webhook(hook, receiver, make_image):
    receiver.status = 410
    delivery = tell(make_image())
    webhooks.deliver_due()
    hook.refresh_from_db()
    delivery.refresh_from_db()
    assert (hook.active, delivery.state) == (False, "failed")


def test_nobody_listening_is_tried_again(hook, receiver, make_image):
    receiver.shutdown()
    receiver.server_close()
    delivery = tell(make_image())
    webhooks.deliver_due()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.response_code, delivery.error) == (
        "waiting",
        None,
        "Nothing listens there.",
    )


def test_an_answer_that_drips_is_cut_off(hook, receiver, make_image, monkeypatch):
    monkeypatch.setattr(outbound, "DEADLINE_SECONDS", 0.2)
    receiver.wait = 3
    delivery = tell(make_image())
    began = time.monotonic()
    webhooks.deliver_due()
    delivery.refresh_from_db()
    assert time.monotonic() - began < 2 and delivery.state == "waiting"


def test_a_slow_receiver_does_not_hold_up_the_others(hook, team, owner, receiver, make_image):
    other = Receiver()
    threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    webhooks.create(team, owner, other.url, EVERYTHING)
    receiver.wait = 0.5
    tell(make_image())
    webhooks.deliver_due()
    assert len(other.received) == len(receiver.received) == 1
    assert (
        int(other.received[0][0]["webhook-timestamp"]) - int(receiver.received[0][0]["webhook-timestamp"])
        <= 1
    )
    other.shutdown()
    other.server_close()


def test_redirects_are_not_followed(hook, receiver, make_image):
    trap = Receiver()
    threading.Thread(target=trap.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    receiver.status, receiver.location = 307, trap.url
    tell(make_image())
    webhooks.deliver_due()
    assert trap.received == []
    trap.shutdown()
    trap.server_close()


def test_two_workers_send_a_delivery_once(hook, receiver, make_image):
    tell(make_image())
    assert [webhooks.deliver_due(), webhooks.deliver_due()] == [1, 0]
    assert len(receiver.received) == 1


def test_resending_repeats_the_same_message(hook, receiver, owner, make_image):
    delivery = tell(make_image())
    webhooks.deliver_due()
    webhooks.resend(delivery, owner)
    webhooks.deliver_due()
    (first, body), (second, again) = receiver.received
    assert (first["webhook-id"], body) == (second["webhook-id"], again)


def test_old_deliveries_are_forgotten_waiting_ones_are_not(hook, make_image):
    old, waiting = tell(make_image()), tell(make_image())
    WebhookDelivery.objects.update(created_at=timezone.now() - timedelta(days=31))
    WebhookDelivery.objects.filter(pk=old.pk).update(state="delivered")
    webhooks.forget_old()
    assert list(WebhookDelivery.objects.all()) == [waiting]


# ── Addresses ───────────────────────────────────────────────────────────────────────────────────────────────────

PRIVATE = [
    "https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://10.1.2.3/", "https://172.16.0.1/",
    "https://192.168.1.1/", "https://169.254.169.254/latest/", "https://100.64.0.1/", "https://0.0.0.0/",
    "https://[fe80::1]/", "https://[fd00::1]/", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/", "https://224.0.0.1/", "https://2130706433/", "https://0x7f000001/", "https://127.1/",
]  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_private_addresses_are_refused(url, team, owner):
    with pytest.raises(outbound.AddressRefused):
        webhooks.create(team, owner, url, EVERYTHING)
    assert not Webhook.objects.exists()


@pytest.mark.parametrize(
    "url",
    ["http://203.0.113.9/", "ftp://203.0.113.9/", "https://user:pw@203.0.113.9/", "https://203.0.113.9:22/", "x",
     "https://", "https://203.0.113.9/\r\nHost: x", "https://203.0.113.9:99999/", "https://[::1/"],
)  # fmt: skip
def test_odd_addresses_are_refused(url):
    with pytest.raises(outbound.AddressRefused):
        outbound.check(url)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address):
    import ipaddress

    assert outbound.is_public(ipaddress.ip_address(address))


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch):
    answers = [(2, 1, 6, "", (one, 443)) for one in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(outbound.socket, "getaddrinfo", lambda *a, **k: answers)
    with pytest.raises(outbound.AddressRefused):
        outbound.resolve(outbound.check("https://hooks.example.org/"))


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch, receiver, settings):
    """A name that answers differently the second time (DNS rebinding) is asked once."""
    asked, real = [], outbound.socket.getaddrinfo

    def resolve(host, port, *details, **options):
        if host != "hooks.example.org":
            return real(host, port, *details, **options)
        asked.append(host)
        return [(2, 1, 6, "", ("127.0.0.1" if len(asked) == 1 else "192.0.2.1", port))]

    monkeypatch.setattr(outbound.socket, "getaddrinfo", resolve)
    answer = outbound.post(f"http://hooks.example.org:{receiver.server_port}/", b"{}", {})
    assert (answer.status, asked) == (200, ["hooks.example.org"])
    assert receiver.received[0][0]["host"].startswith("hooks.example.org")


def test_a_private_address_is_refused_again_at_delivery(hook, receiver, make_image, settings):
    delivery = tell(make_image())
    settings.WEBHOOK_ALLOW_PRIVATE = False
    webhooks.deliver_due()
    delivery.refresh_from_db()
    assert receiver.received == [] and delivery.state == "waiting" and delivery.error


# ── Pages and API ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_makes_a_webhook_and_shows_its_secret_once(page, owner, team, receiver):
    client, address = page(owner), reverse("images:webhooks", args=[team.uid])
    made = client.post(address, {"url": receiver.url, "events": ["image.ready"]})
    secret = Webhook.objects.get().secret
    assert secret in made.text and secret not in client.get(address).text


def test_the_page_refuses_a_private_address_in_words(page, owner, team):
    address = reverse("images:webhooks", args=[team.uid])
    answer = page(owner).post(address, {"url": "https://127.0.0.1/", "events": ["image.ready"]})
    assert (answer.status_code, "private network" in answer.text) == (422, True)


@pytest.mark.parametrize(("who", "status"), [("teammate", 403), ("outsider", 404)])
def test_webhooks_are_for_managers(page, request, team, hook, who, status):
    client = page(request.getfixturevalue(who))
    for name, ids in (("webhooks", [team.uid]), ("webhook", [team.uid, hook.uid])):
        assert client.get(reverse(f"images:{name}", args=ids)).status_code == status


def test_the_page_shows_deliveries_and_sends_again(page, owner, team, hook, receiver, make_image):
    delivery = tell(make_image())
    webhooks.deliver_due()
    client = page(owner)
    assert "image.ready" in client.get(reverse("images:webhook", args=[team.uid, hook.uid])).text
    client.post(reverse("images:delivery-resend", args=[team.uid, hook.uid, delivery.uid]))
    assert webhooks.deliver_due() == 1


def test_the_api_makes_lists_rotates_and_removes(key_client, member, team, receiver):
    client, address = key_client(member("manager"), "webhooks:write"), f"/api/v1/teams/{team.uid}/webhooks/"
    made = client.post(address, {"url": receiver.url, "events": ["image.ready"]}).json()
    own = f"{address}{made['id']}/"
    assert made["secret"].startswith("whsec_") and "secret" not in client.get(own).json()
    assert client.post(f"{own}rotate/").json()["secret"] != made["secret"]
    assert client.patch(own, {"active": False}).json()["active"] is False
    assert client.delete(own).status_code == 204 and not Webhook.objects.exists()


def test_the_api_names_the_field_of_a_private_address(api, owner, team):
    answer = api(owner).post(
        f"/api/v1/teams/{team.uid}/webhooks/", {"url": "https://10.0.0.1/", "events": EVERYTHING}
    )
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/url")


def test_the_api_lists_deliveries(api, owner, team, hook, receiver, make_image):
    delivery = tell(make_image())
    address = f"/api/v1/teams/{team.uid}/webhooks/{hook.uid}/deliveries/"
    (told,) = api(owner).get(address).json()["data"]
    assert (told["webhook_id"], told["state"]) == (delivery.webhook_id_header, "waiting")
    assert api(owner).post(f"{address}{delivery.uid}/resend/").status_code == 200


def test_a_key_without_the_scope_sees_no_webhooks(key_client, owner, team):
    assert key_client(owner, "images:read").get(f"/api/v1/teams/{team.uid}/webhooks/").status_code == 403


# ── Where the events come from ──────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_the_worker_refuses_is_told(hook, make_image):
    from images import leases, processing
    from images.models import Image

    make_image(state="stored", sha256="0" * 64)
    (claimed,) = leases.claim(Image.objects.select_related("collection"), 1)
    processing.process(claimed)
    assert WebhookDelivery.objects.get(event="image.failed").payload["data"]["reason"]


def test_a_file_that_killed_its_workers_is_told(hook, make_image):
    from images import leases, processing

    make_image(state="stored", attempts=leases.MAX_DEATHS)
    processing.process_pending()
    assert WebhookDelivery.objects.get().event == "image.failed"


def test_a_worker_that_lost_its_lease_tells_nothing(hook, make_image):
    from images import leases, processing
    from images.models import Image

    image = make_image(state="stored", sha256="0" * 64)
    (claimed,) = leases.claim(Image.objects.select_related("collection"), 1)
    Image.objects.filter(pk=image.pk).update(fence=99)
    processing.process(claimed)
    assert not WebhookDelivery.objects.exists()


def test_a_delivery_rings_the_workers(hook, make_image, django_capture_on_commit_callbacks, monkeypatch):
    from workers import doorbell

    rung = []
    monkeypatch.setattr(doorbell, "_publish", lambda task, queue: rung.append((task, queue)))
    with django_capture_on_commit_callbacks(execute=True):
        tell(make_image())
    assert ("workers.tasks.deliver_webhooks", "maintenance") in rung


def test_the_lane_delivers(hook, receiver, make_image):
    from workers import lanes

    tell(make_image())
    assert lanes.step("webhooks") == 1 and len(receiver.received) == 1
