"""Every back-end against loops; leaving a recording out equals not having it; duplicates, constants and tiny banks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from asdkit import knn
from asdkit.knn import BACKENDS, fit_knn


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


def loop_scale(bank, recordings, k):
    d = [loop_nearest(x, bank, k, hidden=np.flatnonzero(recordings == r)) for x, r in zip(bank, recordings)]
    return sorted(d)[(len(d) - 1) // 2]  # torch's median is the lower one


def loop_scores(backend, x, bank, recordings, is_target, k, n_0):
    source, target = bank[~is_target], bank[is_target]
    if backend == "domain":
        s_s, s_t = loop_scale(source, recordings[~is_target], k), loop_scale(target, recordings[is_target], k)
        n_t = len(set(recordings[is_target]))
        s_t = (n_t * s_t + n_0 * s_s) / (n_t + n_0)
        return [min(loop_nearest(q, source, k) / s_s, loop_nearest(q, target, k) / s_t) for q in x]
    return [loop_nearest(q, bank, k) for q in x]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("k", [1, 3])
def test_backends_equal_loops(backend, k):
    data, x = bank_of(), queries()
    found = fit_knn(*data, k=k, n_0=10.0, backend=backend)(x)
    np.testing.assert_allclose(found.numpy(), loop_scores(backend, x, *data, k, 10.0), rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("left_out", [None, 2, 9])
def test_neighbours_are_what_a_score_is_made_of(backend, k, left_out):
    fitted = fit_knn(*bank_of(), k=k, n_0=1.0, backend=backend)
    x = torch.cat([queries(), fitted.bank[:2], fitted.bank[-2:]])  # some are like the source, some like the target
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
    fitted, x = fit_knn(bank, recordings, is_target, backend=backend), queries()
    for left_out in (2, 9):
        keep = recordings != left_out
        without = replace(fitted, bank=bank[keep], recordings=recordings[keep], is_target=is_target[keep])
        torch.testing.assert_close(fitted(x, left_out), without(x), rtol=1e-12, atol=0)
    assert not torch.allclose(fitted(bank, 2), fitted(bank))


def test_a_scale_is_read_from_a_part_of_a_large_bank(monkeypatch):
    bank = torch.from_numpy(np.random.default_rng(0).normal(size=(1000, 3)))
    whole = knn.leave_one_recording_out(bank, np.arange(1000), 3)
    monkeypatch.setattr(knn, "MAX_QUERIES", 300)
    part = knn.leave_one_recording_out(bank, np.arange(1000), 3)
    assert len(part) == 300 and part.median().item() == pytest.approx(whole.median().item(), rel=0.05)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("all_target", [False, True])
def test_one_domain_is_one_bank_and_one_target_recording_has_the_source_scale(backend, all_target):
    bank, recordings, is_target = bank_of(n_target=1)
    domain = np.full(len(bank), all_target)
    found = fit_knn(bank, recordings, domain, backend=backend)(queries())
    assert torch.isfinite(found).all()
    if backend == "domain":
        pooled = fit_knn(bank, recordings, domain, backend="pooled")(queries())
        torch.testing.assert_close(found, pooled / knn.median_scale(bank, recordings, 3))
    single = fit_knn(bank, recordings, is_target, backend=backend)
    assert single.s_target == single.s_source
    assert torch.isfinite(single(bank[is_target], 8)).all()  # its own recording left out: the source bank answers


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
    scores = fit_knn(bank, recordings, is_target, backend=backend)(torch.cat([x, bank[:2]]))
    assert torch.isfinite(scores).all() and scores.abs().max() < 1e4
    assert scores[:-2].min() >= scores[-1] - 1e-6  # a copy of a reference is no more anomalous than anything else
