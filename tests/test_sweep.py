"""The closed form against the direct computation, option by option."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from asdkit import knn
from asdkit.detector import fit_front, fit_uncalibrated
from asdkit.experiments import sweep
from asdkit.fitting import Fitting, Memo
from asdkit.recordings import InputError, index_data

ALPHAS = [0.0, 0.35, 1.0]


@pytest.fixture(scope="module")
def memo():
    """Networks and blocks are made once for all tests of this file."""
    return Memo()


@pytest.fixture(scope="module")
def fitting(tiny_data, tiny_config, memo):
    """One machine with both domains."""
    machine = index_data(tiny_data, ["pump"])[0]
    config = replace(tiny_config, blocks=("msm", "ridge-log-mel", "logmel"), fusion="mean", backend="domain")
    return Fitting(machine.train, config, 0, memo, ())



@pytest.fixture(scope="module")
def clips(tiny_data):
    return index_data(tiny_data, ["pump"])[0].test[::3]


def blocks_of(fitting, clips):
    front = fit_front(fitting)[0]
    return [fitting.blocks(front, c, fitting.config.test_hop) for c in clips]


def check(fitting, clips, rank=3):
    """`sweep` against one fit an alpha."""
    blocks = blocks_of(fitting, clips)
    scores, removed = sweep.sweep(fitting, blocks, ALPHAS, rank)
    direct = [fit_uncalibrated(replace(fitting, config=replace(fitting.config, alpha=a, rank=rank))) for a in ALPHAS]
    expected = np.array([[d.score_blocks(b) for b in blocks] for d in direct])
    assert scores.shape == (len(ALPHAS), len(clips))
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(removed, [d.balancer.removed for d in direct], atol=1e-5)
    return scores


@pytest.mark.parametrize("fusion", ["concatenate", "mean", "max"])
@pytest.mark.parametrize("backend", sweep.EXACT)
def test_equals_the_direct_computation(fitting, clips, fusion, backend):
    scores = check(replace(fitting, config=replace(fitting.config, fusion=fusion, backend=backend)), clips)
    assert np.ptp(scores, axis=0).max() > 1e-2 * np.abs(scores).max()  # alpha does something


@pytest.mark.parametrize(
    "options",
    [
        dict(blocks=("msm",)),
        dict(blocks=("msm",), fusion="concatenate"),
        dict(blocks=("logmel", "msm"), aggregate="mean"),
        dict(fusion="concatenate", balance=False),
        dict(k=1, n_0=0.0),
        dict(k=50),  # more than the target domain has
        dict(standardise_clips=5, aggregate="max"),
        dict(subspace="cca", rank_rule="shuffled"),
        dict(control="random"),
    ],
    ids=str,
)
def test_equals_it_under_other_options(fitting, clips, options):
    check(replace(fitting, config=replace(fitting.config, **options)), clips)


@pytest.mark.parametrize("rank", [1, 10])
def test_equals_it_at_any_rank(fitting, clips, rank):
    check(fitting, clips, rank)


@pytest.mark.parametrize("fusion", ["concatenate", "mean"])
def test_equals_it_without_target_clips(fitting, clips, fusion):
    source = tuple(c for c in fitting.clips if c.domain == "source")
    check(replace(fitting, clips=source, config=replace(fitting.config, fusion=fusion)), clips)


def test_equals_it_where_medians_come_from_a_part_of_the_bank(fitting, clips, monkeypatch):
    monkeypatch.setattr(knn, "MAX_QUERIES", 7)
    check(replace(fitting, config=replace(fitting.config, fusion="concatenate")), clips)


def test_the_size_of_chunks_changes_nothing(fitting, clips, monkeypatch):
    blocks = blocks_of(fitting, clips)
    whole = sweep.sweep(fitting, blocks, ALPHAS, 2)[0]
    monkeypatch.setattr(sweep, "ROWS", 5)
    monkeypatch.setattr(sweep, "COLUMNS", 4)
    np.testing.assert_allclose(sweep.sweep(fitting, blocks, ALPHAS, 2)[0], whole, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 0), (3, 5), (3, 64), (3, 200), (0, 200)])
def test_smallest_is_topk(shape):
    d = torch.from_numpy(np.random.default_rng(0).integers(0, 50, shape).astype("float32"))
    expected = d.topk(min(2, shape[1]), largest=False).values
    torch.testing.assert_close(sweep.smallest(d, 2), expected)
    infinite = torch.full_like(d, torch.inf)
    assert sweep.smallest(infinite, 2).isinf().all()


@pytest.mark.parametrize(
    ("options", "found"),
    [(dict(blocks=("logmel",)), "found blocks = logmel"), (dict(backend="varmin"), "found backend = 'varmin'")],
)
def test_refuses_what_it_does_not_cover(fitting, options, found):
    with pytest.raises(InputError, match=found):
        sweep.sweep(replace(fitting, config=replace(fitting.config, **options)), [], ALPHAS, 2)
