"""Filters mean the same everywhere and fail closed; facets count what may be seen."""

from datetime import UTC, datetime

import pytest

from images.access import ANONYMOUS, principal_for_user
from images.models import Image
from search.facets import facets
from search.filters import NAMES, narrow, narrow_by, to_parameters
from search.query import Filters, QueryError
from search.query_text import parse

pytestmark = pytest.mark.django_db


@pytest.fixture
def me(teammate):
    return principal_for_user(teammate)


@pytest.fixture
def kept(me):
    """`kept(tags=["a"])`: the file names that pass these URL parameters."""

    def run(**parameters):
        rows = narrow(Image.objects.visible_to(me), parameters, me)
        return {row.file_name for row in rows}

    return run


def test_no_filter_keeps_everything(kept, make_image):
    make_image(file_name="a")
    assert kept() == {"a"}


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"taken_after": ["2026"]}, {"new"}),
        ({"taken_after": ["2026-03-01"]}, {"new"}),
        ({"taken_after": ["2026-03-01T00:00:01Z"]}, set()),
        ({"taken_before": ["2026-03-01"]}, {"old"}),
        ({"taken_after": ["2020-01"], "taken_before": ["2027"]}, {"old", "new"}),
    ],
)
def test_capture_dates_include_their_start_and_exclude_their_end(kept, make_image, parameters, names):
    make_image(file_name="old", taken_at=datetime(2020, 1, 5, tzinfo=UTC))
    make_image(file_name="new", taken_at=datetime(2026, 3, 1, tzinfo=UTC))
    make_image(file_name="undated")
    assert kept(**parameters) == names


def test_upload_dates(kept, make_image):
    make_image(file_name="old", uploaded_at=datetime(2020, 1, 5, tzinfo=UTC))
    make_image(file_name="new")
    assert kept(uploaded_before=["2021"]) == {"old"}
    assert kept(uploaded_after=["2021"]) == {"new"}


def test_all_tags_have_to_be_there_and_none_of_the_others(kept, make_image):
    make_image(file_name="both", tags=("red", "boat"))
    make_image(file_name="one", tags=("red",))
    assert kept(tags=["red", "Boat"]) == {"both"}
    assert kept(tags=["red"], tags_none=["boat"]) == {"one"}


def test_uploaders_by_id_by_name_and_oneself(kept, make_image, teammate, owner):
    make_image(file_name="mine", uploader=teammate)
    make_image(file_name="theirs", uploader=owner)
    assert kept(uploader=["me"]) == {"mine"}
    assert kept(uploader=[str(owner.uid)]) == {"theirs"}
    assert kept(uploader=["OWNER"]) == {"theirs"}
    assert kept(uploader=["nobody"]) == set()


def test_nobody_has_no_uploads(make_image):
    make_image()
    assert not narrow(Image.objects.all(), {"uploader": ["me"]}, ANONYMOUS).exists()


def test_orientation_and_size(kept, make_image):
    for name, width, height in (("wide", 900, 500), ("tall", 500, 900), ("even", 500, 500)):
        make_image(file_name=name, width=width, height=height)
    assert kept(orientation=["landscape"]) == {"wide"}
    assert kept(orientation=["portrait"]) == {"tall"}
    assert kept(orientation=["square"]) == {"even"}
    assert kept(min_width=["900"]) == {"wide"}
    assert kept(min_height=["900"]) == {"tall"}


def test_quality_leaves_out_what_was_never_judged(kept, make_image):
    make_image(file_name="good", quality=0.8)
    make_image(file_name="bad", quality=0.2)
    make_image(file_name="unknown", quality=None)
    assert kept(min_quality=["0.5"]) == {"good"}


def test_state_is_the_moderators_decision(make_image, owner):
    make_image(file_name="waiting", moderation="pending")
    make_image(file_name="shown")
    who = principal_for_user(owner)
    rows = narrow(Image.objects.visible_to(who), {"state": ["pending"]}, who)
    assert [row.file_name for row in rows] == ["waiting"]


def test_collections_by_id(kept, make_image, make_collection):
    other = make_collection("Other")
    make_image(other, file_name="there")
    make_image(file_name="here")
    assert kept(collections=[str(other.uid)]) == {"there"}


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ({"colour": ["red"]}, "/colour"),
        ({"taken_at__gt": ["2020"]}, "/taken_at__gt"),
        ({"uploader__email": ["x"]}, "/uploader__email"),
        ({"taken_after": ["yesterday"]}, "/taken_after"),
        ({"orientation": ["round"]}, "/orientation"),
        ({"min_quality": ["nan"]}, "/min_quality"),
        ({"min_quality": ["2"]}, "/min_quality"),
        ({"min_width": ["-1"]}, "/min_width"),
        ({"state": ["ready"]}, "/state"),
        ({"collections": ["x"]}, "/collections"),
        ({"uploader": ["a", "b"]}, "/uploader"),
        ({"tags": [str(number) for number in range(40)]}, "/tags"),
    ],
)
def test_what_cannot_be_read_is_an_error_and_never_a_wider_result(kept, parameters, pointer):
    with pytest.raises(QueryError) as caught:
        kept(**parameters)
    assert caught.value.pointer == pointer


def test_blank_fields_and_expected_others_are_left_alone(me, make_image):
    make_image(file_name="a")
    rows = narrow(
        Image.objects.visible_to(me), {"taken_after": [""], "page": ["2"]}, me, ignored=frozenset({"page"})
    )
    assert rows.count() == 1


def test_filters_never_widen_what_may_be_seen(make_image, outsider):
    make_image(file_name="a", uploader=None)
    who = principal_for_user(outsider)
    for parameters in ({"state": ["approved"]}, {"min_width": ["1"]}, {"tags_none": ["x"]}):
        assert not narrow(Image.objects.visible_to(who), parameters, who).exists()


def test_the_filters_of_a_query_are_the_filters_of_a_list(me, make_image):
    make_image(file_name="yes", tags=("red",), width=900, height=500)
    make_image(file_name="no", width=900, height=500)
    filters = parse("x tag:red is:landscape width:800 quality:0.1 after:1990 uploaded-before:2100").filters
    Image.objects.update(taken_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert [row.file_name for row in narrow_by(Image.objects.visible_to(me), filters, me)] == ["yes"]


def test_every_filter_of_a_query_has_its_parameter():
    full = parse(
        "x tag:a -tag:b uploader:c is:square is:approved quality:0.5 width:1 height:2 after:2000 before:2001 "
        "uploaded-after:2000 uploaded-before:2001"
    ).filters
    assert set(to_parameters(full)) == set(NAMES) - {"collections"}
    assert to_parameters(Filters()) == {}


def test_facets_count_each_kind(me, make_image, collection, teammate):
    make_image(tags=("red",), width=9, height=5, uploader=teammate, taken_at=datetime(2020, 1, 1, tzinfo=UTC))
    make_image(tags=("red", "boat"), width=5, height=5)
    counts = facets(me)
    assert counts["total"] == 2
    assert counts["collections"] == [{"id": str(collection.uid), "name": "Shore", "count": 2}]
    assert counts["tags"] == [{"value": "red", "count": 2}, {"value": "boat", "count": 1}]
    assert counts["uploaders"] == [{"id": str(teammate.uid), "name": "teammate", "count": 1}]
    assert counts["years"] == [{"value": 2020, "count": 1}]
    assert {row["value"]: row["count"] for row in counts["orientations"]} == {"landscape": 1, "square": 1}


def test_facets_count_only_what_may_be_seen(me, make_image, outsider):
    make_image(tags=("red",), moderation="hidden")
    assert facets(me)["total"] == facets(principal_for_user(outsider))["total"] == 0
    assert facets(me)["tags"] == []


def test_facets_follow_the_filters(me, make_image):
    make_image(tags=("red",))
    make_image(tags=("boat",))
    assert facets(me, {"tags": ["red"]})["total"] == 1
