from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gaprune.evolve.profile import Profiler
from gaprune.evolve.ranked import rank
from gaprune.evolve.surrogate import Surrogate
from gaprune.testing import ToyNetwork

SPACE = rank(ToyNetwork.make((3, 40, 60, 30), connections=False))


def samples(count, noise=0.0, seed=0):
    """Profiles of sections that depart from a trend, each with a slope of its own."""
    rng = np.random.Generator(np.random.PCG64(seed))
    profiles = np.column_stack([rng.uniform(-3, 0, count), 0.3 * rng.standard_normal((count, 6))])
    slopes = np.array([0.1, -0.05, 0.02, 0.0, 0.03, 0.0])
    values = 0.2 + 0.05 * profiles[:, 0] ** 2 + profiles[:, 1:] @ slopes
    return profiles, values + noise * rng.standard_normal(count), values


def test_the_guess_follows_trend_and_slopes_where_nothing_was_told():
    profiles, values, _ = samples(150)
    model = Surrogate(profiles[:100], values[:100])
    np.testing.assert_allclose(model.predict(profiles[100:]), values[100:], atol=0.01)
    assert model.explained > 0.99


def test_noise_is_smoothed_away():
    profiles, values, true = samples(200, noise=0.01)
    guesses = Surrogate(profiles, values).predict(profiles)
    assert np.abs(guesses - true).mean() < 0.6 * np.abs(values - true).mean()


def test_a_slope_learnt_at_one_cost_serves_at_another():
    profiles, values, true = samples(100)
    dear = profiles[:, 0] > -2
    guesses = Surrogate(profiles[dear], values[dear]).predict(profiles[~dear])
    trend = 0.05 * profiles[~dear, 0] ** 2
    assert stats.spearmanr(guesses - trend, true[~dear] - trend).statistic > 0.9


def test_what_cannot_be_guessed_is_not_explained():
    profiles, _, _ = samples(80)
    values = np.random.Generator(np.random.PCG64(1)).standard_normal(80)
    assert Surrogate(profiles, values).explained < 0.2


@pytest.mark.parametrize("values", [np.full(20, 0.5), np.arange(20.0)])
def test_constants_and_equal_profiles_do_no_harm(values):
    guesses = Surrogate(np.zeros((20, 7)), values).predict(np.zeros((3, 7)))
    np.testing.assert_allclose(guesses, values.mean(), atol=1e-3 + 0.01 * np.ptp(values))


def test_the_profile_of_the_ladder_departs_from_nothing():
    bits = SPACE.repair(np.concatenate([SPACE.standing[s.slice] > 0.5 for s in SPACE.sections]))
    profile = Profiler(SPACE)(bits)
    assert profile.shape == (7,)
    assert profile[0] == pytest.approx(np.log(SPACE.cost(bits)))
    np.testing.assert_allclose(profile[1:4], 0.0, atol=0.15)
    np.testing.assert_allclose(profile[4:], 0.0)


def test_the_profile_tells_wider_sections_and_kept_genes_that_the_order_would_drop():
    bits = SPACE.repair(np.concatenate([SPACE.standing[s.slice] > 0.5 for s in SPACE.sections]))
    first = SPACE.sections[0]
    wider, displaced = bits.copy(), bits.copy()
    wider[first.slice] = SPACE.standing[first.slice] > 0.2
    displaced[first.slice] = SPACE.standing[first.slice] < 0.5
    plain, wide, other = (Profiler(SPACE)(b) for b in (bits, wider, displaced))
    assert wide[1] > plain[1] + 0.2
    assert other[4] == 1.0
