"""Every page that a person can reach, as a name and a way to get there."""

from __future__ import annotations

from collections.abc import Callable

from tests.browser.live import Visitor


def at(path: str) -> Callable[[Visitor], None]:
    def go(visitor: Visitor) -> None:
        visitor.go(path)

    return go


def first_picture(visitor: Visitor) -> None:
    visitor.go("/?q=dog").locator("#results .tile-link").first.click()
    visitor.page.locator(".strip .tile").first.wait_for()


def in_collection(tab: str) -> Callable[[Visitor], None]:
    def go(visitor: Visitor) -> None:
        visitor.go("/collections/").locator(".collection-card").first.click()
        visitor.page.locator(".tabs").get_by_role("link", name=tab).click()

    return go


def in_team(tab: str) -> Callable[[Visitor], None]:
    def go(visitor: Visitor) -> None:
        visitor.go("/teams/").locator(".tabs").get_by_role("link", name=tab).click()

    return go


PAGES: dict[str, Callable[[Visitor], None]] = {
    "home": at("/"),
    "search": at("/?q=dog+on+the+beach"),
    "search-combined": at("/?q=boat+sunset%3A0.5+-snow"),
    "search-nothing": at("/?q=zeppelin+engine+manual"),
    "picture": first_picture,
    "upload": at("/upload/"),
    "collections": at("/collections/"),
    "collection": in_collection("Pictures"),
    "index": in_collection("Index"),
    "trash": in_collection("Trash"),
    "duplicates": in_collection("Duplicates"),
    "sharing": in_collection("Sharing"),
    "settings": in_collection("Settings"),
    "new-collection": at("/collections/new/"),
    "review": at("/review/"),
    "members": in_team("Members"),
    "invitations": in_team("Invitations"),
    "keys": in_team("API keys"),
    "webhooks": in_team("Webhooks"),
    "audit": in_team("Audit log"),
    "jobs": at("/jobs/"),
    "styleguide": at("/styleguide/"),
    "password": at("/accounts/password/change/"),
}
