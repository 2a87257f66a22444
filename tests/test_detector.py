"""One machine from recordings to decisions: the front door as its docstring has it, no leak, an embedding of one's own."""

import shutil
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from helpers import BRIEF, folders_opened, scores_of
from matplotlib.figure import Figure

import asdkit
from asdkit.blocks import read_spectra
from asdkit.config import Config
from asdkit.describer import Describer
from asdkit.detector import fit_detector
from asdkit.experiments.cache import Cache, CachedDescriber
from asdkit.recordings import InputError, TrainingSet, index_machine, read_folder


@pytest.fixture(scope="module")
def scores(pump_detector, pump):
    return scores_of(pump_detector, pump / "test")


def read_the_docstring_aloud(wavs, folder, monkeypatch):
    """The lines of ``help(asdkit)`` about one machine, as written, on short pieces of some recordings, with a small Config."""
    small = Config(blocks=("msm", "texture"), width=8, train_hop=8, test_hop=8, steps=1, batch_size=8, false_alarm=0.02)
    pieces = [x for wav in wavs for x in np.split(soundfile.read(wav)[0][:32000], 4)]
    for name in ("healthy", "new"):
        (folder / name).mkdir()
    for i, samples in enumerate(pieces[:-1]):
        soundfile.write(folder / "healthy" / f"day {i}.wav", samples, 16000)
    soundfile.write(folder / "new/rattle.wav", 0.1 * pieces[-1] + 0.2 * np.sin(np.arange(8000) * 1.2)[:, None], 16000)
    (folder / "new/notes.wav").write_text("not audio")
    code = textwrap.dedent(asdkit.__doc__.split("\n\n", 1)[1].split("\n\nThe data flow")[0])
    lines = [line for line in code.splitlines() if not line.startswith(("asdkit.simulate", "asdkit.evaluate"))]
    assert len(lines) >= 9 and "asdkit.load" in code
    monkeypatch.chdir(folder)
    monkeypatch.setattr(asdkit.detector, "Config", lambda: small)
    names = {"network": lambda x: x.mean(2)}
    exec("\n".join(lines), names)
    detector, table = names["detector"], names["table"]
    assert list(table.columns) == ["file", "score", "decision", "reason"]
    bad, rattle = (table.set_index("file").loc[f"new/{name}.wav"] for name in ("notes", "rattle"))
    assert bad[["score", "decision"]].isna().all() and "notes.wav" in bad["reason"]
    assert rattle["score"] > detector.threshold(false_alarm=0.02) and rattle["decision"] == 1 and rattle["reason"] == ""
    assert detector.score("new", progress=False).equals(table)  # the one that was saved and loaded scores the same
    assert isinstance(detector.explain("new/rattle.wav").plot(), Figure)
    assert len(repr(detector).splitlines()) <= 3 and "2 % false alarms" in repr(detector)


def test_the_docstring_runs_as_written(pump, tmp_path, monkeypatch):
    read_the_docstring_aloud(sorted((pump / "train").iterdir())[:13], tmp_path, monkeypatch)


def test_the_docstring_runs_as_written_on_real_recordings(real_data, tmp_path, monkeypatch):
    read_the_docstring_aloud(sorted((real_data / "fan/train").glob("*.wav"))[:13], tmp_path, monkeypatch)


def test_a_folder_its_files_and_their_clips_are_the_same_to_fit(pump):
    folder, files = pump / "train", sorted((pump / "train").iterdir())[:4]
    given = [folder, str(folder), [str(f) for f in folder.iterdir()], read_folder(folder)]
    fitted = [asdkit.fit(x, BRIEF, progress=False) for x in given]
    assert len({(d.threshold(), *d.held_out.scores) for d in fitted}) == 1
    by_name = [asdkit.fit(x, BRIEF, progress=False).threshold() for x in (pump, index_machine(pump).train)]
    assert by_name[0] == by_name[1] != fitted[0].threshold()  # a machine's folder has the domains of its names
    one, *same = (scores_of(fitted[0], x) for x in (files[0], str(files[0]), [files[0]], read_folder(files[0])))
    assert [one] * 3 == same
    with pytest.raises(InputError, match="found 1 clip.s., expected at least 2"):
        asdkit.fit(files[0], BRIEF, progress=False)


def test_a_threshold_at_another_rate_is_that_of_a_fit_with_it(pump):
    one, other = (asdkit.fit(pump, replace(BRIEF, false_alarm=rate), progress=False) for rate in (0.25, 0.1))
    assert one.threshold(0.1) == other.threshold() > one.threshold()
    table = one.score(pump / "test", false_alarm=0.1, progress=False)
    assert (table["decision"] == (table["score"] > one.threshold(0.1))).all()


def test_without_enough_recordings_there_are_scores_and_no_decision(pump, caplog):
    few = asdkit.fit(sorted((pump / "train").iterdir())[:2], BRIEF, progress=False)
    assert "found 2 recordings, expected at least 3 for a false-alarm rate of 0.25" in caplog.text
    unpromised = asdkit.fit(pump, replace(BRIEF, false_alarm=0.01), progress=False)
    asdkit.evaluate([index_machine(pump)], {"asdkit": replace(BRIEF, false_alarm=0.02)}, progress=False)  # a run says so, too
    assert "for a false-alarm rate of 0.01" in caplog.text and "for a false-alarm rate of 0.02" in caplog.text
    for each in (few, unpromised):
        table = each.score(pump / "test", progress=False)
        assert table["score"].notna().all() and table["decision"].isna().all() and "no threshold" in repr(each)
    assert unpromised.threshold(0.1) > 0
    with pytest.raises(InputError, match="found no recordings held out"):
        few.threshold()


def test_names_neighbours_and_the_order_of_training_clips_change_no_score(pump_detector, scores, pump, tiny_config):
    lying = [
        replace(c, domain={"source": "target"}.get(c.domain, "source"), label=1 - c.label, attributes="lie", recording="one")
        for c in index_machine(pump).test[::-2]
    ]
    assert scores_of(pump_detector, lying) == {c.name: scores[c.name] for c in lying}
    turned = asdkit.fit(list(index_machine(pump).train[::-1]), tiny_config, progress=False)
    assert scores_of(turned, pump / "test") == scores


def test_fitting_and_calibrating_open_no_test_file(pump, monkeypatch):
    opened = folders_opened(monkeypatch)
    config = replace(BRIEF, blocks=("msm", "ridge"), steps=1, batch_size=8)
    assert np.isfinite(asdkit.fit(pump, config, progress=False).threshold())
    assert opened == {"pump/train"}


@pytest.mark.parametrize("gain", [[8.0, 1.0], [1.0, 1 / 3]])
def test_one_gain_on_all_clips_of_a_channel_changes_no_ranking(pump_copy, scores, tiny_config, gain):
    for path in pump_copy.rglob("*.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples * gain, rate, subtype="FLOAT")
    louder = scores_of(asdkit.fit(pump_copy, tiny_config, progress=False), pump_copy / "test")
    np.testing.assert_allclose(list(louder.values()), list(scores.values()), rtol=2e-3)
    assert sorted(louder, key=louder.get) == sorted(scores, key=scores.get)


@pytest.mark.parametrize("aggregate", ["pooled", "top"])
@pytest.mark.parametrize("backend", ["domain", "pooled"])
def test_identical_training_clips_are_survived(pump_copy, aggregate, backend):
    train = sorted((pump_copy / "train").iterdir())
    for path in train[1:]:
        shutil.copy(train[0], path)
    config = replace(BRIEF, blocks=("ridge", "statistics"), aggregate=aggregate, backend=backend)
    found = asdkit.fit(pump_copy, config, progress=False)
    twin, *others = scores_of(found, [train[0], *(pump_copy / "test").iterdir()]).values()
    assert np.isfinite([twin, *others]).all() and twin <= min(others)


def test_a_long_recording_is_scored_as_one(pump, tmp_path, monkeypatch):
    """Its segments are described one after the other: with windows pooled, the mean of all of them is compared."""
    found = asdkit.fit(pump, replace(BRIEF, aggregate="mean"), progress=False)
    samples = 0.1 * np.random.default_rng(0).normal(size=(60 * 16000, 2))
    soundfile.write(tmp_path / "long.wav", samples, 16000, subtype="FLOAT")
    starts = [start for start, _ in found.segment_spectra(tmp_path / "long.wav")]
    assert len(starts) > 2 and starts[0] == 0
    pieces, apart = np.split(samples, [round(16000 * s) for s in starts[1:]]), []
    for i, piece in enumerate(pieces):
        soundfile.write(tmp_path / f"{i}.wav", piece, 16000, subtype="FLOAT")
        apart.append(found.score_file(tmp_path / f"{i}.wav").score)
    whole = found.score_file(tmp_path / "long.wav").score
    assert whole == pytest.approx(np.average(apart, weights=[len(x) for x in pieces]), rel=0.01)
    monkeypatch.setattr(asdkit.detector, "LONGEST_S", 50.0)
    assert "expected at most" in found.score_file(tmp_path / "long.wav").reason
    for wrong, says in ((lambda *_: float("nan"), "found score nan"), (lambda *_: 1 / 0, "division by zero")):
        monkeypatch.setattr(asdkit.Detector, "score_spectra", wrong)
        result = found.score_file(tmp_path / "0.wav")  # whatever goes wrong is of that file
        assert result.score is result.decision is None and f"{tmp_path / '0.wav'}: " in result.reason and says in result.reason


def test_an_embedding_takes_the_place_of_the_network_or_is_refused(pump, pump_detector, scores, tiny_config, tmp_path):
    net = pump_detector.extractor.learned["encoder"].net
    same = asdkit.fit(pump, tiny_config, embed=net.embed, progress=False)
    assert scores_of(same, pump / "test") == scores
    other = asdkit.fit(pump, tiny_config, embed=lambda x: x.mean(2).numpy(), progress=False)
    assert not set(scores_of(other, pump / "test").values()) & set(scores.values())
    model = same.save(tmp_path / "model")
    assert scores_of(asdkit.load(model, embed=net.embed), pump / "test") == scores
    with pytest.raises(InputError, match="model: found a model with an embedding of its own, expected load.folder, embed="):
        asdkit.load(model)
    for embed in (lambda x: x, lambda x: x.mean((1, 2)), lambda x: x.mean(2)[:1]):
        with pytest.raises(InputError, match=r"embed: found an array of shape \(.*\), expected \(\d+, dim\)"):
            asdkit.fit(pump, replace(BRIEF, blocks=("msm",)), embed=embed, progress=False)


def test_systems_that_share_a_cache_score_as_each_does_alone(tiny_data, tiny_config):
    """Whatever they differ in: modulation that no other has, alpha, its control, the width, an embedding, the seed."""
    base = replace(BRIEF, blocks=("statistics", "ridge"), width=40, train_hop=40, test_hop=40)
    net = replace(tiny_config, blocks=("msm",), steps=1, width=16)
    changes = [{}, {"blocks": ("statistics", "modulation")}, {"ridge_penalty": 0.9}, {"width": 48}, {"context": 0}]
    changes += [{"alpha": 0.3}, {"cancel_penalty": 0.9}, {"control": "scrambled-phase"}]
    systems = [(replace(base, **change), {}) for change in changes]
    systems += [(net, o) for o in ({}, {"seed": 1}, {"embed": lambda x: x.mean(2)}, {"embed": lambda x: x.mean(1)})]
    machine, cache, seen = index_machine(tiny_data / "dev_data/raw/valve"), Cache(), set()
    training = TrainingSet.of(machine.train)
    for config, options in systems:
        plain = Describer if config.control == "none" else CachedDescriber  # whose control is seeded by the clip
        describers = CachedDescriber(config, cache, **options), plain(config, **options)
        shared, alone = (fit_detector(training, d) for d in describers)
        assert shared.held_out.scores.tolist() == alone.held_out.scores.tolist()
        spectra = [read_spectra(machine.test[0], config)]
        assert shared.score_spectra(spectra) == alone.score_spectra(spectra)
        seen.add(alone.score_spectra(spectra))
    assert len(seen) == len(systems)
