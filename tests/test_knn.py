"""Every back-end against loops; leaving a recording out equals not having it; duplicates, constants and tiny banks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from asdkit import knn
from asdkit.knn import BACKENDS, fit_knn, scaled


def bank_of(n_source=8, n_target=3, windows=3, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    recordings = np.repeat(np.arange(n_source + n_target), windows)
    is_target = recordings >= n_source
    bank = rng.normal(size=(len(recordings), dim)) + 3.0 * is_target[:, None]
    return torch.from_numpy(bank), recordings, is_target


def queries(n=6, dim=4, seed=9):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, dim)) * 3)


def loop_nearest(x, bank, k, hidden=()):
    d = sorted(sum((float(a) - float(b)) ** 2 for a, b in zip(x, bank[i])) ** 0.5 for i in range(len(bank)) if i not in hidden)
    return np.mean(d[:k]) if d else np.inf


def loop_moments(values, recordings):
    by_recording = {r: [float(v) for v, q in zip(values, recordings) if q == r] for r in set(recordings)}
    mean = np.mean([np.mean(v) for v in by_recording.values()])
    return mean, np.mean([np.mean([(x - mean) ** 2 for x in v]) for v in by_recording.values()]), len(by_recording)


def held_out(n_source=6, n_target=3, n_parts=2, seed=5):
    """Distances of held-out vectors to each part of a bank, two a recording but three of the first."""
    ids = np.sort(np.append(np.tile(np.arange(n_source + n_target), 2), 0))
    return torch.from_numpy(np.random.default_rng(seed).uniform(1, 3, (len(ids), n_parts))), ids, ids >= n_source


def loop_score(nearest, held, n_0, backend):
    """What a vector scores by its distances to the parts of a bank, on the scale of those held out."""
    distances, ids, is_target = held
    if backend == "pooled":
        return nearest[0] / loop_moments(distances[:, 0], ids)[0]
    m_s, v_s, _ = loop_moments(distances[~is_target, 0], ids[~is_target])
    m_t, v_t, n = loop_moments(distances[is_target, 1], ids[is_target])
    m_t, v_t = (n * m_t + n_0 * m_s) / (n + n_0), (n * v_t + n_0 * v_s) / (n + n_0) * (1 + 1 / n)
    moved_and_stretched = m_s + (nearest[1] - m_t) * (v_s / v_t) ** 0.5
    return min(nearest[0], moved_and_stretched) / m_s


def fitted_bank(backend, k=3, n_0=1.0, held=None, **sizes):
    fitted = fit_knn(*bank_of(**sizes), k=k, backend=backend)
    return scaled(fitted, *(held or held_out(n_parts=len(fitted.parts))), n_0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("k", "n_0"), [(1, 0.0), (3, 10.0)])
def test_backends_equal_loops(backend, k, n_0):
    (bank, _, is_target), x = bank_of(), queries()
    parts = [bank] if backend == "pooled" else [bank[~is_target], bank[is_target]]
    nearest = [[loop_nearest(q, part, k) for part in parts] for q in x]
    held = held_out(n_parts=len(parts))
    found = fitted_bank(backend, k, n_0)(x)
    np.testing.assert_allclose(found.numpy(), [loop_score(d, held, n_0, backend) for d in nearest], rtol=1e-9)
    np.testing.assert_allclose(fit_knn(*bank_of(), k=k, backend=backend)(x).numpy(), np.min(nearest, axis=1), rtol=1e-9)


@pytest.mark.parametrize("n_0", [0.0, 1e9])
def test_what_was_held_out_scores_one_on_the_mean_in_its_own_part(n_0):
    """Of the target only where it has its own mean (n_0 = 0); where the source decides (many recordings), as the source."""
    distances, ids, is_target = held_out()
    fitted = fitted_bank("domain", n_0=n_0)
    source, target = (fitted.slopes * distances + fitted.offsets).T
    assert loop_moments(source[~is_target], ids[~is_target])[0] == pytest.approx(1)
    if n_0:
        assert fitted.offsets[1] == pytest.approx(1 - (3 / 4) ** 0.5, abs=1e-6)  # three recordings: their mean has an error
    else:
        assert loop_moments(target[is_target], ids[is_target])[0] == pytest.approx(1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("left_out", [None, 2, 9])
def test_neighbours_are_what_a_score_is_made_of(backend, k, left_out):
    fitted = fitted_bank(backend, k)
    x = torch.cat([queries(), fitted.bank[:2] + 0.01, fitted.bank[-2:] + 0.01])  # like the source, like the target
    d = fitted.distances(x, None if left_out is None else np.full(len(x), left_out))
    index, weight = fitted.neighbours(d)
    found = (weight * d.gather(1, index).masked_fill(weight == 0, 0)).sum(1)
    torch.testing.assert_close(found, fitted(x, left_out), rtol=1e-6, atol=0)
    assert left_out is None or not (fitted.recordings[index][weight.numpy() > 0] == left_out).any()
    if backend == "domain":
        sides = fitted.is_target[index]
        assert {tuple(np.unique(side[w > 0])) for side, w in zip(sides, weight.numpy())} == {(False,), (True,)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_leaving_a_recording_out_equals_a_bank_without_it(backend):
    bank, recordings, is_target = bank_of()
    fitted, x = fitted_bank(backend), queries()
    for left_out in (2, 9):
        keep = recordings != left_out
        without = replace(fitted, bank=bank[keep], recordings=recordings[keep], is_target=is_target[keep])
        torch.testing.assert_close(fitted(x, left_out), without(x), rtol=1e-12, atol=0)
    assert not torch.allclose(fitted(bank, 2), fitted(bank))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_target_without_a_distance_has_the_scale_of_the_source(backend):
    """One recording has none to another, and is answered by the source when it is left out; no recording is an empty part."""
    distances, ids, is_target = held_out(n_target=1, n_parts=len(BACKENDS[backend](np.zeros(1, bool))))
    distances[is_target] = torch.inf
    for n_target in (0, 1):
        fitted = fitted_bank(backend, n_target=n_target, held=(distances, ids, is_target))
        assert len(set(fitted.slopes.tolist())) == 1 and not fitted.offsets.abs().max() > 1e-12
        assert torch.isfinite(fitted(queries())).all() and torch.isfinite(fitted(fitted.bank[-2:], 8)).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["duplicates", "constant", "two points", "some duplicates"])
def test_duplicates_and_constants_do_not_divide_by_zero(backend, kind):
    bank, recordings, is_target = bank_of(dim=300)
    x = queries(dim=300).float()
    bank = {
        "duplicates": bank[:1].expand(len(bank), -1),
        "constant": torch.zeros_like(bank),
        "two points": bank[:1] + torch.from_numpy(is_target)[:, None],
        "some duplicates": torch.cat([bank[:1].expand(20, -1), bank[20:]]),
    }[kind].float()
    assert knn.distances(bank, bank).diagonal().max() == 0
    fitted = fit_knn(bank, recordings, is_target, backend=backend)
    held = torch.stack([fitted(bank[rows], r) for r, rows in ((r, recordings == r) for r in np.unique(recordings))]).flatten()
    fitted = scaled(fitted, held[:, None].expand(-1, len(fitted.parts)), recordings, is_target)
    scores = fitted(torch.cat([x, bank[:2]]))
    assert torch.isfinite(scores).all() and scores.abs().max() < 1e4
    assert scores[:-2].min() >= scores[-1] - 1e-6  # a copy of a reference is no more anomalous than anything else
