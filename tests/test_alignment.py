"""Lag, strength, coherence and the order of near and far, on sounds of which all of it is known."""

import numpy as np
import pytest

from asdkit.recordings.alignment import MIN_PEAK, coherence, far_is_first, find_lag
from asdkit.simulate import Scene, render

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=40000).astype(np.float32)


@pytest.mark.parametrize("shift", [0, 1, 160, 4000, -1, -3000])
def test_a_delay_is_found_to_the_sample_within_reach(shift):
    lag, strength = find_lag(NOISE[5000:30000], NOISE[5000 - shift : 28000])
    assert round(lag * 16000) == shift and strength > 100
    near, far = NOISE[5000:30000], 2 * NOISE[4000:30000] + NOISE[4980:30980]  # 1000 samples late and, weaker, 20
    assert [round(find_lag(near, far, reach)[0] * 16000) for reach in (np.inf, 0.01)] == [1000, 20]


def test_silence_and_strangers_have_no_strength_and_no_coherence():
    assert find_lag(NOISE, 0 * NOISE) == (0.0, 0.0)
    strangers = [render(Scene(m, s, 0, seconds=2)) for m, s in (("fan", 0), ("fan", 1), ("valve", 0), ("gearbox", 0))]
    strengths = [find_lag(a[0], b[1])[1] for i, a in enumerate(strangers) for j, b in enumerate(strangers) if i != j]
    assert max(strengths) < MIN_PEAK and min(find_lag(*clip)[1] for clip in strangers) > 2 * MIN_PEAK
    other = RNG.normal(size=40000)
    assert coherence(NOISE, 3 * NOISE) == pytest.approx(1) and coherence(NOISE, 0 * NOISE) == 0
    assert coherence(NOISE, other) < 0.05 and coherence(NOISE, NOISE + other) == pytest.approx(0.5, abs=0.05)


def test_who_hears_first():
    strangers = NOISE, RNG.normal(size=40000)
    assert far_is_first(NOISE[:-100], NOISE[100:])
    assert not any(far_is_first(*pair) for pair in ((NOISE[100:], NOISE[:-100]), (NOISE, NOISE), strangers))
    for machine in ("bearing", "slider", "valve"):
        clips = [render(Scene(machine, 0, i, seconds=3)) for i in range(3)]
        assert not all(far_is_first(*clip) for clip in clips) and all(far_is_first(*clip[::-1]) for clip in clips)
