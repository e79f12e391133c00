"""Calibration is monotone and honest, bands and metadata do what they say, words and variety stay bounded."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.ranking import (
    DEFAULT_CURVES,
    Background,
    Calibration,
    Curve,
    balance,
    band_counts,
    blend,
    combine,
    diversify,
    fit,
    fold,
    judged,
    lift,
    lifted,
    match,
    penalise,
    placed,
    recency,
    rrf,
)

floats = st.floats(-1, 1)
units = st.floats(0, 1)


@pytest.fixture
def noise():
    return np.random.default_rng(7)


@given(
    st.lists(floats, min_size=2, max_size=30),
    st.sampled_from(sorted(DEFAULT_CURVES)),
    st.floats(-0.5, 0.5),
    units,
)
def test_match_is_monotone_in_similarity(similarities, kind, mean, std):
    ordered = np.sort(similarities)
    matches = match(ordered, Background(mean, std, 100), DEFAULT_CURVES[kind])
    assert (np.diff(matches) >= 0).all()
    assert ((matches >= 0) & (matches <= 1)).all()


def test_pure_noise_gives_no_strong_match(noise):
    calibration = Calibration()
    similarities = noise.normal(0.18, 0.02, 2000)
    matches = match(similarities, Background.of(similarities), calibration.of("text"))
    assert "strong" not in calibration.bands(matches)


def test_a_match_that_stands_out_is_strong_whatever_the_models_range(noise):
    calibration = Calibration()
    for centre, spread in ((0.18, 0.02), (-0.3, 0.1)):
        sample = noise.normal(centre, spread, 2000)
        found = match(np.array([centre + 6 * spread]), Background.of(sample), calibration.of("text"))
        assert calibration.bands(found) == ["strong"]


def test_matches_in_the_sample_do_not_hide_themselves(noise):
    others, hits = noise.normal(0.1, 0.03, 700), noise.normal(0.35, 0.03, 200)
    background = Background.of(np.concatenate([others, hits]))
    assert background.mean == pytest.approx(0.1, abs=0.02)
    assert background.std == pytest.approx(0.03, abs=0.015)


def test_an_empty_sample_leaves_the_prior():
    curve = Curve(-5, 1.5, mean=0.1, std=0.05)
    assert curve.settled(Background.of(np.empty(0))) == (0.1, 0.05)


def test_an_empty_sample_without_prior_still_answers():
    assert np.isfinite(match(np.array([0.3]), Background.of(np.empty(0)), Curve(-5, 1.5))).all()


def test_a_large_sample_outweighs_the_prior():
    curve = Curve(-5, 1.5, mean=0.5, std=0.2)
    mean, _std = curve.settled(Background(0.1, 0.03, 4000))
    assert mean == pytest.approx(0.1, abs=0.01)


def test_bands_begin_at_their_cut_offs():
    assert Calibration().bands(np.array([0.8, 0.79, 0.35, 0.34])) == [
        "strong",
        "possible",
        "possible",
        "weak",
    ]


def test_the_floor_of_a_band_is_its_cut_off():
    calibration = Calibration(strong=0.7, possible=0.2)
    assert [calibration.floor(band) for band in ("strong", "possible", "weak", None)] == [0.7, 0.2, 0.0, 0.0]


def test_calibration_survives_json():
    made = Calibration({"text": Curve(-3, 1.25, 4, 0.1, 0.02)}, strong=0.75, source="gallery")
    read = Calibration.from_json(json.loads(json.dumps(made.to_json())))
    assert read.of("text") == made.of("text")
    assert (read.strong, read.source) == (0.75, "gallery")
    assert read.of("image") == DEFAULT_CURVES["image"]


@pytest.mark.parametrize("curve", [{"bias": 0, "z": -1}, {"bias": float("nan"), "z": 1}])
def test_a_calibration_that_would_fall_with_similarity_is_refused(curve):
    with pytest.raises(ValueError, match="rise"):
        Calibration.from_json({"curves": {"text": curve}})


def _pairs(noise, centre, count):
    similarities = noise.normal(centre, 0.04, count)
    return np.column_stack([similarities, (similarities - 0.1) / 0.03, np.full(count, 0.03)])


def test_a_fitted_curve_is_honest(noise):
    curve = fit(_pairs(noise, 0.3, 400), _pairs(noise, 0.15, 1600))
    tested = np.concatenate([_pairs(noise, 0.3, 400), _pairs(noise, 0.15, 1600)])
    right = np.arange(2000) < 400
    likely = match(tested[:, 0], Background(0.1, 0.03, 10**9), curve)
    for low, high in ((0.0, 0.2), (0.2, 0.8), (0.8, 1.0)):
        inside = (likely >= low) & (likely <= high)
        assert right[inside].mean() == pytest.approx(likely[inside].mean(), abs=0.08)


def test_a_fitted_curve_never_falls_with_similarity(noise):
    positives, negatives = _pairs(noise, 0.3, 100), _pairs(noise, 0.15, 100)
    positives[:, 1], negatives[:, 1] = noise.normal(0, 1, 100), noise.normal(3, 1, 100)
    curve = fit(positives, negatives)
    assert curve.z == 0
    assert curve.cosine > 0


def test_a_question_that_leaves_all_pictures_alike_is_believed_less():
    curve = Curve(-5, 0, 10, spread=50)
    flat, told_apart = (match(np.array([0.3]), Background(0, std, 10**6), curve)[0] for std in (0.02, 0.08))
    assert flat < told_apart


def test_fitting_needs_both_kinds_of_pairs(noise):
    with pytest.raises(ValueError, match="needs"):
        fit(_pairs(noise, 0.3, 5), np.empty((0, 3)))


def test_several_parts_have_to_be_met_together():
    both, one = combine(np.array([[0.7, 0.99], [0.7, 0.02]]), [1, 1])
    assert both > 0.65 > 0.2 > one


def test_the_heavier_part_counts_more():
    first, second = combine(np.array([[0.9, 0.1], [0.1, 0.9]]), [0.7, 0.3])
    assert first > second


def test_a_single_part_keeps_its_match():
    assert list(combine(np.array([[0.25, 0.5]]), [0.1])) == [0.25, 0.5]


def test_balanced_weights_let_words_count_beside_a_picture():
    words, picture = balance([1, 1], [Background(0.2, 0.02, 9), Background(0.5, 0.1, 9)])
    assert words == pytest.approx(5 * picture)


@given(units, units, units)
def test_a_penalty_only_lowers(matched, unwanted, weight):
    assert 0 <= penalise(np.array([matched]), np.array([[unwanted]]), [weight])[0] <= matched


def test_a_lighter_negative_takes_less_away():
    light, heavy = (penalise(np.array([0.9]), np.array([[1.0]]), [weight])[0] for weight in (0.3, 1))
    assert 0.6 < light < 0.9
    assert heavy < 0.1


def test_without_negatives_nothing_is_taken_away():
    assert list(penalise(np.array([0.9, 0.2]), np.empty((0, 2)), [])) == [0.9, 0.2]


def test_a_line_says_what_a_match_says():
    curve, background = Curve(-5, 1.5, 3, 0.1, 0.05, 2), Background(0.12, 0.04, 300)
    values = np.array([0.1, 0.2, 0.3])
    lines = [curve.line(background)]
    assert placed(values[:, None], lines)[:, 0] == pytest.approx(match(values, background, curve))


def test_a_picture_without_vector_matches_nothing():
    assert list(placed(np.array([[np.nan, 0.2]]), [(5, 1), (0, 0)])[0]) == [0, 0.5]


def test_a_judgement_and_a_match_meet_half_way():
    assert list(judged(np.array([0.4, 0.4]), np.array([1.0, np.nan]))) == [0.7, 0.4]


def test_recency_halves_per_half_life_and_forgives_the_future():
    assert list(recency(np.array([0, 30, 60, -9, np.nan]), 30)) == [1, 0.5, 0.25, 1, 0]


@given(units, units, units, units, units)
def test_scores_stay_between_nothing_and_one(relevance, fresh, quality, first, second):
    shares = blend(np.array([relevance]), np.array([fresh]), np.array([quality]), first, second)
    assert 0 <= shares.score[0] <= 1 + 1e-9


def test_a_new_picture_of_something_else_stays_below():
    shares = blend(np.array([0.9, 0.05]), np.array([0.0, 1.0]), np.array([0.0, 1.0]), 1.0, 1.0)
    assert shares.score[0] > shares.score[1]


def test_recency_decides_between_equals():
    shares = blend(np.array([0.5, 0.5]), np.array([0.1, 0.9]), np.zeros(2), 0.2, 0.0)
    assert shares.score[1] > shares.score[0]


def test_without_weights_the_score_is_the_relevance():
    assert blend(np.array([0.4]), np.ones(1), np.ones(1), 0, 0).score[0] == pytest.approx(0.4)


def test_rank_fusion_prefers_what_both_lists_hold():
    assert list(rrf([[1, 2, 3], [4, 2]])) == [2, 1, 4, 3]


def test_rank_fusion_of_one_list_keeps_its_order():
    assert list(rrf([[5, 3, 9], []])) == [5, 3, 9]


def test_words_lift_by_what_they_cover():
    none, half, full = lifted(np.full(3, 0.1), lift(np.array([0, 0.5, 1]), np.ones(3)), Calibration())
    assert none == pytest.approx(0.1)
    assert none < half < 0.35 < full < 0.8


def test_words_order_what_is_strong_and_make_nothing_strong():
    known = Calibration()
    raised = lifted(np.array([0.1, 0.79, 0.82, 0.82]), np.array([0.9, 0.9, 0.9, 0.0]), known)
    assert known.bands(raised) == ["possible", "possible", "strong", "strong"]
    assert raised[2] > raised[3] == 0.82


@given(units, units)
def test_words_never_lower_a_match(matched, share):
    assert matched <= lifted(np.array([matched]), np.array([share]), Calibration())[0] <= 1


def test_without_diversity_the_order_is_the_score():
    assert diversify(np.array([0.1, 0.9, 0.5]), np.eye(3), 0) == [1, 2, 0]


def test_diversity_sets_a_double_behind_something_else():
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert diversify(np.array([0.9, 0.89, 0.7]), vectors, 0.5) == [0, 2, 1]


@given(st.lists(units, min_size=1, max_size=30), units)
def test_diversity_loses_and_doubles_nothing(scores, diversity):
    vectors = np.random.default_rng(1).normal(size=(len(scores), 4))
    places = diversify(np.array(scores), vectors, diversity, depth=10)
    assert sorted(places) == list(range(len(scores)))


def test_near_duplicates_fold_into_the_best_of_them():
    vectors = np.array([[1, 0], [0, 1], [0.999, 0.04], [0.04, 0.999]])
    assert fold(vectors) == [0, 1, 0, 1]


def test_chains_of_likeness_do_not_fold_together():
    angles = np.radians([0, 12, 24])
    assert fold(np.column_stack([np.cos(angles), np.sin(angles)])) == [0, 0, 2]


def test_band_counts_name_every_band():
    assert band_counts(["weak", "strong", "weak"]) == {"strong": 1, "possible": 0, "weak": 2}
