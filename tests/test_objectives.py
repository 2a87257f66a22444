"""The other objectives: formulas against naive versions, what they learn, and that all else is as for the MSM."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import contents, folders_opened
from torch.nn import functional as F

import asdkit
from asdkit import objectives
from asdkit.config import Config
from asdkit.experiments import runs
from asdkit.experiments.families import families
from asdkit.msm import MSM
from asdkit.objectives import POOLED, ArcFace, Classification, Examples, FarToNear, Softmax, SubClusterAdaCos, train_objective
from asdkit.recordings import InputError, index_data
from asdkit.training import Crops, train_msm

SMALL = Config(width=16, batch_size=32, steps=3)
OTHERS = ("autoencoder", "far-to-near", "machine-id", "pseudo-cluster", "sub-cluster-adacos")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def one_hot(labels, n):
    return F.one_hot(torch.tensor(labels), n).float()


def seeded(make, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def some_machine(name, seed, n=8):
    rng, mel = np.random.default_rng(seed), np.arange(128)[:, None]
    classes = [f"00 load_{i % 2}" for i in range(n)]
    near = [np.exp(-(((mel - 30 - 10 * seed - 40 * (i % 2) + rng.normal(size=(1, 40))) / 9) ** 2)) * 3 for i in range(n)]
    near = [x + 0.1 * rng.normal(size=x.shape) for x in near]
    far = [0.5 * x + 0.5 * rng.normal(size=x.shape) for x in near]
    as_tensors = [[torch.from_numpy(x.astype(np.float32)) for x in clips] for clips in (near, far)]
    return Examples(name, *as_tensors, classes)


@pytest.fixture(scope="module")
def machines():
    return [some_machine("pump", 0), some_machine("valve", 1, 4)]


def test_arcface_equals_a_loop():
    head, embedding, labels = seeded(lambda: ArcFace(5, 3)), normal(6, 5), [0, 1, 2, 2, 1, 0]
    embedding[0] = -head.centres[0].detach()  # past pi - margin
    found = head(embedding, one_hot(labels, 3)).exp()
    for i, label in enumerate(labels):
        cosine = [float(torch.cosine_similarity(embedding[i], w, dim=0).clamp(-1, 1)) for w in head.centres.detach()]
        theta = math.acos(cosine[label])
        past = theta + 0.5 > math.pi
        cosine[label] = cosine[label] - 0.5 * math.sin(0.5) if past else math.cos(theta + 0.5)
        weights = [math.exp(30 * c) for c in cosine]
        expected = [w / sum(weights) for w in weights]
        assert found[i].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-6)
    for value in (-1, 1):  # the gradient is finite at opposite and parallel
        embedding = (value * head.centres.detach()[:1]).clone().requires_grad_()
        head(embedding, one_hot([0], 3))[0, 0].backward()
        assert torch.isfinite(embedding.grad).all() and torch.isfinite(head.centres.grad).all()


@pytest.mark.parametrize("n_centres", [1, 4])
def test_sub_cluster_adacos_equals_a_loop(n_centres):
    head, embedding = seeded(lambda: SubClusterAdaCos(5, 3, n_centres)), normal(6, 5)
    targets = 0.7 * one_hot([0, 1, 2, 2, 1, 0], 3) + 0.3 * one_hot([1, 1, 0, 2, 0, 2], 3)
    scale = float(head.scale)
    assert scale == pytest.approx(math.sqrt(2) * math.log(3 * n_centres - 1))
    cosine = [[float(torch.cosine_similarity(x, w, dim=0)) for w in head.centres.detach()] for x in embedding]
    of_class = [[row[c * n_centres : (c + 1) * n_centres] for c in range(3)] for row in cosine]
    total = np.mean([sum(math.exp(scale * c) for c in row) for row in cosine])
    angles = [sum(t * math.acos(max(k)) for t, k in zip(target.tolist(), row)) for target, row in zip(targets, of_class)]
    expected_scale = math.log(total) / math.cos(min(math.pi / 4, np.median(angles)))
    head.eval()(embedding, targets)
    assert float(head.scale) == scale  # it follows in training only
    found = head.train()(embedding, targets).exp()
    assert float(head.scale) == pytest.approx(expected_scale, rel=1e-5) and not head.scale.requires_grad
    for row, probabilities in zip(of_class, found):
        weights = [sum(math.exp(expected_scale * c) for c in centres) for centres in row]
        assert probabilities.tolist() == pytest.approx([w / sum(weights) for w in weights], rel=1e-4)


def test_classification_is_the_cross_entropy_of_its_clips_and_mixup_equals_a_loop():
    model, labels = seeded(MSM).eval(), np.array([2, 0, 1])
    loss = seeded(lambda: Classification(Softmax, labels, 3))
    x, clips = normal(4, 128, 16), np.array([0, 0, 2, 1])
    logits = F.linear(model.embed(x), loss.head.weight, loss.head.bias)
    expected = F.cross_entropy(logits, torch.tensor([2, 2, 1, 0]))
    torch.testing.assert_close(loss(model, x, clips, np.zeros(4, int)), expected)
    targets, share = one_hot([0, 1, 2, 0], 3), torch.tensor([0.1, 0.3, 0.8, 1.0])
    mixed, weights = objectives.mixup(x, targets, share)
    for i in range(4):
        torch.testing.assert_close(mixed[i], share[i] * x[i] + (1 - share[i]) * x[3 - i])
        torch.testing.assert_close(weights[i], share[i] * targets[i] + (1 - share[i]) * targets[3 - i])


def test_far_to_near_reads_far_at_the_same_place_and_restores_near(machines):
    crops, model = Crops(machines[0].spectrograms, SMALL, 0), seeded(MSM).eval()
    clips, starts = crops.draw(5)
    near = crops.cut(clips, starts)
    far = torch.stack([machines[0].far[i][:, s : s + 16] for i, s in zip(clips, starts)])
    mean, log_variance = (x[..., None] for x in model.decode(model.embed(far)))
    expected = ((near - mean).square() / log_variance.exp() + log_variance).mean()
    torch.testing.assert_close(FarToNear(crops, machines[0].far)(model, near, clips, starts), expected)


def test_pseudo_labels_find_the_clusters(machines):
    labels = objectives.pseudo_labels(machines[0].spectrograms, 2, seed=0)
    assert len(set(labels)) == 2 and (labels == labels[0]).tolist() == [True, False] * 4
    assert sorted(objectives.pseudo_labels(machines[0].spectrograms, 16, seed=0)) == list(range(8))  # no more than clips
    twice = [machines[0].spectrograms[0]] * 3 + [machines[0].spectrograms[1]]
    assert objectives.pseudo_labels(twice, 16, seed=0).max() == 1


@pytest.mark.parametrize("objective", ("msm", *OTHERS))
def test_an_objective_lowers_its_loss(machines, objective):
    config = replace(SMALL, objective=objective, steps=30, learning_rate=5e-3)
    model, losses = train_objective(machines, config, seed=0)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    assert not model.training
    with torch.no_grad():
        assert torch.isfinite(model.embed(machines[0].spectrograms[0][None, :, :16])).all()


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))


@pytest.mark.parametrize("objective", ("msm", *OTHERS))
def test_training_repeats_by_seed_whoever_watches_and_starts_from_the_same_encoder(machines, objective):
    config, seen = replace(SMALL, objective=objective), {}
    torch.manual_seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, losses = train_objective(machines, config, seed=0)
    assert torch.equal(torch.get_rng_state(), before) and (np.random.get_state()[1] == numpy_before).all()
    torch.manual_seed(6)
    two, again = train_objective(machines, config, seed=0, watch=lambda step, snapshot: seen.update({step: snapshot()}))
    assert same(one, two) and losses == again and len(losses) == 3
    assert not same(one, train_objective(machines, config, seed=4)[0])
    assert sorted(seen) == [0, 1, 2, 3] and not any(m.training for m in seen.values())
    for expected, found in ((seeded(MSM), seen[0]), (one, seen[3])):
        assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), found.parameters()))
    assert not same(seen[1], seen[2])
    untrained, losses = train_objective(machines, replace(config, steps=0), seed=0)
    assert same(seen[0], untrained) and losses == []


@pytest.mark.parametrize(("objective", "ratio"), [("msm", 0.6), ("autoencoder", 0.0)])
def test_msm_is_what_train_msm_gives_and_the_autoencoder_hides_nothing(machines, objective, ratio):
    expected = train_msm(machines[0].spectrograms, replace(SMALL, mask_ratio=ratio), seed=1)
    found = train_objective(machines, replace(SMALL, objective=objective), seed=1)
    assert same(found[0], expected[0]) and found[1] == expected[1]


@pytest.mark.parametrize("objective", OTHERS)
def test_only_pooled_objectives_read_other_machines_in_whatever_order(machines, objective):
    config = replace(SMALL, objective=objective)
    beside, alone, turned = (train_objective(m, config, seed=0)[0] for m in (machines, machines[:1], machines[::-1]))
    assert same(beside, alone) == (objective not in POOLED) and same(beside, turned) == (objective in POOLED)


@pytest.mark.parametrize("objective", POOLED)
def test_machines_are_drawn_alike_and_one_class_is_refused(machines, objective):
    crops, criterion = objectives.classify_machines(machines, replace(SMALL, objective="machine-id"), seed=0)
    assert (crops.draw(4000)[0] < 8).mean() == pytest.approx(0.5, abs=0.03)  # 8 clips of the one, 4 of the other
    assert criterion().one_hot.shape == (12, 4) and criterion().one_hot.argmax(1).tolist() == [0, 1] * 4 + [2, 3] * 2
    lone = replace(machines[0], classes=["00 "] * 8)
    with pytest.raises(InputError, match=f"{objective}: found 1 class, expected several machines"):
        train_objective([lone], replace(SMALL, objective=objective), seed=0)
    with pytest.raises(InputError, match="found 1 class, expected several clips that differ"):
        train_objective([replace(lone, spectrograms=lone.spectrograms[:1])], replace(SMALL, objective="pseudo-cluster"), seed=0)


@pytest.fixture(scope="module")
def rows(tiny_config):
    rows = families(replace(tiny_config, test_hop=40))["objective"]
    assert all(replace(rows[name], objective="msm") == rows["msm"] for name in OTHERS)  # they differ in nothing else
    return rows


def test_a_detector_of_every_objective_scores_and_opens_no_test_clip_of_another_machine(tiny_data, rows, monkeypatch):
    pump, valve = index_data(tiny_data)
    scored, cache, opened = set(), runs.Cache(), folders_opened(monkeypatch)
    for name, config in rows.items():
        _, scores = runs.score_machine(replace(pump, test=pump.test[:1]), config, 0, cache, False, others=(valve.train,))
        assert np.isfinite(scores).all(), name
        scored |= {*scores}
    assert len(scored) == len(rows) and opened == {"pump/train", "pump/test", "valve/train"}


def test_other_machines_reach_the_network_through_a_run(tiny_data, rows, tmp_path):
    both, first = index_data(tiny_data), index_data(tiny_data, ["pump"])
    chosen = {name: replace(rows[of], blocks=("msm",)) for name, of in (("asdkit", "machine-id"), ("msm", "msm"))}
    runs.run_systems(both, tmp_path / "both", {"asdkit": chosen["asdkit"]})  # with decisions: its models are kept
    runs.run_systems(both, tmp_path / "both", chosen)
    pump, valve = (asdkit.load(tmp_path / "both" / m.name / "models/asdkit-0").extractor.learned["encoder"].net for m in both)
    assert same(pump, valve)
    with pytest.raises(InputError, match="trained with other machines"):
        runs.run_systems(first, tmp_path / "both", chosen)
    runs.run_systems(first, tmp_path / "both", {"msm": chosen["msm"]})
    runs.run_systems(first, tmp_path / "one", chosen)
    beside, alone = (contents(tmp_path / out) for out in ("both", "one"))
    assert beside["pump", "msm", 0]["scores"] == alone["pump", "msm", 0]["scores"]
    assert beside["pump", "asdkit", 0]["scores"] != alone["pump", "asdkit", 0]["scores"]
