"""Faults injected into recordings: level, channels, determinism."""

import numpy as np
import pytest

from asdkit.recordings import InputError
from asdkit.simulate import FAR_DB, GENERIC, inject

SAMPLES = 0.1 * np.random.default_rng(0).normal(size=(2, 48000)).astype("float32")


def level(x):
    return 10 * np.log10(np.mean(np.square(x, dtype=float)))


@pytest.mark.parametrize("fault", GENERIC)
def test_a_fault_has_its_level_and_is_faint_far_away(fault):
    near, far = inject(SAMPLES, fault, -12.0, np.random.default_rng(1)) - SAMPLES
    assert level(near) - level(SAMPLES[0]) == pytest.approx(-12, abs=0.1)
    assert level(far) - level(near) == pytest.approx(FAR_DB, abs=0.2)
    assert not np.allclose(near, far * 10 ** (-FAR_DB / 20))  # and it is late


@pytest.mark.parametrize("fault", GENERIC)
def test_the_generator_decides_what_is_injected(fault):
    first, same, other = (inject(SAMPLES, fault, -12.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.float32 and (first == same).all() and (first != other).any()


def test_silence_stays_silence():
    assert not inject(np.zeros((2, 16000)), "squeal", 0.0, np.random.default_rng(0)).any()


def test_refuses_a_fault_that_needs_the_machine():
    with pytest.raises(InputError, match="found 'chatter', expected outer_race, looseness, squeal"):
        inject(SAMPLES, "chatter", 0.0, np.random.default_rng(0))
