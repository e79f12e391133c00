import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.index.masks import Bitmap, Masks, mask_of, occurs

IDS = st.lists(st.integers(0, 10**6), unique=True, max_size=60)


def read_only(values):
    array = np.array(values, np.int64)
    array.setflags(write=False)
    return array


@given(IDS, IDS)
def test_masks_equal_sets(held, wanted):
    ids = np.array(sorted(held), np.int64)
    mask = mask_of(ids, np.array(wanted, np.int64))
    assert set(ids[mask]) == set(held) & set(wanted)
    assert occurs(ids, np.array(wanted, np.int64)) == bool(set(held) & set(wanted))
    assert Bitmap.from_mask(mask).count == mask.sum()


def test_set_that_cannot_change_is_remembered():
    masks, ids, wanted = Masks(), np.arange(10), read_only([2, 5])
    first = masks.of(ids, wanted)
    assert masks.of(ids, wanted) is first
    assert np.flatnonzero(first).tolist() == [2, 5]
    assert np.flatnonzero(masks.of(np.arange(4), wanted)).tolist() == [2]


def test_set_that_can_change_is_looked_at_each_time():
    masks, ids, wanted = Masks(), np.arange(10), np.array([2, 5])
    masks.of(ids, wanted)
    wanted[0] = 3
    assert np.flatnonzero(masks.of(ids, wanted)).tolist() == [3, 5]
    view = np.array([2, 5])[:]
    view.setflags(write=False)  # what it shows may still change
    masks.of(ids, view)
    view.base[0] = 4
    assert np.flatnonzero(masks.of(ids, view)).tolist() == [4, 5]


def test_set_at_the_address_of_another_one_is_not_mistaken_for_it():
    masks, ids = Masks(), np.arange(1000)
    for value in range(200):
        assert np.flatnonzero(masks.of(ids, read_only([value]))).tolist() == [value]


def test_only_so_many_are_kept():
    masks, ids = Masks(most=3), np.arange(10)
    sets = [read_only([value]) for value in range(6)]
    for one in sets:
        masks.of(ids, one)
    assert len(masks._known) == 3
