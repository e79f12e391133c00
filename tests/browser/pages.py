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
    """A tab by the last word of its address, which is the same in every language."""

    def go(visitor: Visitor) -> None:
        visitor.go("/collections/").locator(".collection-card").first.click()
        if tab:
            visitor.page.locator(f'.tabs a[href$="/{tab}/"]').click()

    return go


def in_team(tab: str) -> Callable[[Visitor], None]:
    def go(visitor: Visitor) -> None:
        page = visitor.go("/teams/")
        if tab:
            page.locator(f'.tabs a[href$="/{tab}/"]').click()

    return go


def missing(visitor: Visitor) -> None:
    visitor.expected = ["status of 404"]
    visitor.go("/nothing/is/here/")


def report(visitor: Visitor) -> None:
    first_picture(visitor)
    visitor.page.goto(visitor.page.url + "report/")


def shared(visitor: Visitor) -> None:
    """What somebody sees who was sent a link to a collection."""
    in_collection("sharing")(visitor)
    visitor.page.locator("[name=share-name]").fill("For a guest")
    visitor.page.locator("form:has([name=share-name]) button.primary").click()
    visitor.page.goto(visitor.page.locator("#secret").inner_text())


OPEN_PAGES: dict[str, Callable[[Visitor], None]] = {
    "sign-in": at("/accounts/login/"),
    "forgotten": at("/accounts/password/reset/"),
    "missing": missing,
}
PAGES: dict[str, Callable[[Visitor], None]] = {
    "home": at("/"),
    "search": at("/?q=dog+on+the+beach"),
    "search-combined": at("/?q=boat+sunset%3A0.5+-snow"),
    "search-nothing": at("/?q=income+tax+form"),
    "picture": first_picture,
    "report": report,
    "save": at("/saved/new/?q=dog"),
    "saved": at("/saved/"),
    "code": at("/search/code/?q=dog+-snow"),
    "upload": at("/upload/"),
    "collections": at("/collections/"),
    "collection": in_collection(""),
    "index": in_collection("index"),
    "trash": in_collection("trash"),
    "duplicates": in_collection("duplicates"),
    "transfer": in_collection("transfer"),
    "sharing": in_collection("sharing"),
    "shared": shared,
    "settings": in_collection("settings"),
    "new-collection": at("/collections/new/"),
    "review": at("/review/"),
    "review-many": at("/review/many/"),
    "teams": at("/teams/?all"),
    "new-team": at("/teams/new/"),
    "members": in_team(""),
    "invitations": in_team("invitations"),
    "keys": in_team("keys"),
    "hints": in_team("prompts"),
    "webhooks": in_team("webhooks"),
    "audit": in_team("audit"),
    "jobs": at("/jobs/"),
    "styleguide": at("/styleguide/"),
    "password": at("/accounts/password/change/"),
    "second-factor": at("/accounts/2fa/"),
}
