"""Simulated recordings: what a scene fixes, what a counterfactual changes, and what is written."""

import csv
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf

from asdkit import simulate as simulation
from asdkit.recordings import SAMPLE_RATE, InputError, index_data
from asdkit.simulate import FAR_DB, GENERIC, KINDS, LAYOUTS, MACHINES, Scene, inject, mix, render, rms

SMALL = dict(n_source=2, n_target=1, n_test=2, seconds=1.0)
PAIRS = [(machine, fault) for machine in MACHINES for fault in KINDS[machine].faults]


def scene(machine="fan", **changes):
    return replace(Scene(machine, seed=0, index=5, seconds=2.0), **changes)


@pytest.fixture(scope="module")
def fan(tmp_path_factory):
    out = tmp_path_factory.mktemp("fan")
    simulation(out, ["fan"], **SMALL, snr=None)  # the room is called as its function `simulate` is
    return out


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("domain", ["source", "target"])
@pytest.mark.parametrize("snr", [None, -25.0, 10.0])
def test_the_ratio_at_the_near_microphone_is_the_one_asked_for_or_within_the_range(machine, domain, snr):
    parts = mix(scene(machine, snr=snr, domain=domain))
    ratio = 20 * np.log10(rms(parts.machine[0]) / rms(parts.noise[0]))
    low, high = LAYOUTS[machine].snr[domain] if snr is None else (snr - 0.1, snr + 0.1)
    assert ratio == pytest.approx(parts.near_snr_db, abs=0.1) and low <= parts.near_snr_db <= high
    assert np.abs(parts.machine + parts.noise).max() < 0.99


def test_microphones_and_noise_stand_where_they_are_told():
    one, four = (simulation.specimen("fan", 0, n, 1.0)[1] for n in (1, 4))
    assert len(four.loudspeakers) == 4 and four.loudspeakers[:1] == one.loudspeakers  # one more moves none of the others
    assert np.hypot(*np.subtract(one.far, one.machine)[:2]) == pytest.approx(1.0, abs=0.01)
    share = [rms(mix(scene(far_distance=m)).machine[1]) for m in (0.5, 2.5)]
    assert share[0] > 1.5 * share[1]  # the closer, the more far hears the machine
    for machine in MACHINES:
        _, room = simulation.specimen(machine, 0)
        energy = np.sum(simulation.impulse_responses(room) ** 2, axis=2)
        assert (energy > 0).all() and energy[0, 0] > 2 * energy[0, 1]
        assert np.isclose(np.linalg.norm(np.subtract(room.near, room.machine)), 0.25, atol=0.01)


GOLDEN = {  # RMS of near and far x 1000, version 1
    "fan": [12.9013, 7.8929], "gearbox": [23.5271, 17.7817], "bearing": [20.4015, 13.0879], "slider": [11.9305, 5.9741],
    "valve": [14.8806, 8.7401],
}  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
def test_the_sound_of_version_1_is_frozen(machine):
    clip = render(scene(machine, domain="target", fault=list(KINDS[machine].faults)[-1], severity=1.0))
    np.testing.assert_allclose([1e3 * rms(channel) for channel in clip], GOLDEN[machine], rtol=1e-3)


@pytest.mark.parametrize("machine", MACHINES)
def test_severity_zero_is_exactly_no_fault_a_scene_repeats_and_another_differs(machine):
    healthy, fault = render(scene(machine)), next(iter(KINDS[machine].faults))
    assert healthy.shape == (2, 32000) and healthy.dtype == np.float32
    for change in ({}, dict(fault=fault, severity=0.0), dict(fault=None, severity=1.0)):
        assert render(scene(machine, **change)).tobytes() == healthy.tobytes()
    one = dict(loudspeakers=1)
    for change in (dict(index=6), dict(seed=1), dict(noise=1), dict(domain="target"), dict(loudspeakers=2)):
        assert not np.allclose(render(scene(machine, **one | change)), render(scene(machine, **one)), atol=1e-4)


@pytest.mark.parametrize("wrong, said", [
    (dict(machine="toaster"), "toaster.*expected one of fan"), (dict(domain="moon"), "moon.*expected source or target"),
    (dict(fault="chatter"), "fan has no fault 'chatter'; expected one of imbalance"), (dict(loudspeakers=5), "1 to 4"),
    (dict(severity=2.0), "severity is 2.0; expected 0..1"), (dict(seconds=0.1), "0.1 s is too short"),
    (dict(far_distance=0), "at most 3"),
])  # fmt: skip
def test_an_impossible_scene_says_why(wrong, said):
    with pytest.raises(InputError, match=said):
        scene(**wrong)


@pytest.mark.parametrize("machine, fault", PAIRS)
def test_a_fault_is_audible_not_clipped_and_proportional_to_severity(machine, fault):
    healthy = mix(scene(machine, domain="target"))
    graded = [mix(scene(machine, domain="target", fault=fault, severity=s)) for s in (0.25, 0.5, 1.0)]
    moved = np.array([rms((each.machine - healthy.machine)[0]) for each in graded])
    np.testing.assert_allclose(moved / moved[2], [0.25, 0.5, 1.0], rtol=1e-3)
    assert moved[2] > 0.05 * rms(healthy.machine[0]) and np.isfinite(graded[2].machine).all()
    assert np.abs(graded[2].machine + graded[2].noise).max() < 0.99
    assert all(np.array_equal(each.noise, healthy.noise) for each in graded)
    other = mix(scene(machine, domain="target", noise=7))  # other noise leaves the machine as it is
    assert np.array_equal(other.machine, healthy.machine) and other.operation == healthy.operation
    assert not np.allclose(other.noise, healthy.noise, atol=1e-4)


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout_names_and_tables(fan):
    files = sorted(path.relative_to(fan).as_posix() for path in fan.rglob("*.wav"))
    assert len(files) == 2 + 1 + 4 * 2 and [p.name for p in fan.iterdir()] == ["fan"]
    attributes, truth = table(fan / "fan/attributes_00.csv"), table(fan / "fan/simulation.csv")
    assert [row["file_name"] for row in attributes] == [row["file_name"] for row in truth] == files
    assert list(attributes[0]) == ["file_name", "d1p", "d1v", "d2p", "d2v"]
    row = next(row for row in attributes if "source_train_normal_0001" in row["file_name"])
    assert row["file_name"] == f"fan/train/section_00_source_train_normal_0001_spd_{row['d1v']}_load_{row['d2v']}.wav"
    assert all((row["fault"] != "") == ("anomaly" in row["file_name"]) for row in truth)
    info = sf.info(fan / files[0])
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (16000, 2, "PCM_16", 16000)


def test_files_are_the_clips_of_their_scenes_and_a_seed_fixes_them_whatever_the_jobs(tmp_path):
    for name, options in dict(a={}, b=dict(jobs=2), c=dict(seed=1)).items():
        simulation.simulate(tmp_path / name, ["bearing"], **SMALL, **options)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b and set(a) != set(c)
    small, large = (set(simulation.scenes("fan", n_source=n, n_target=1, n_test=n)) for n in (3, 6))
    assert small < large  # a small data set is a part of a large one
    condition, last = list(simulation.scenes("bearing", **SMALL))[-1]
    assert len(index_data(tmp_path / "a", ["bearing"])[0].test) == 8  # the package reads what is written
    (path,) = (tmp_path / "a/bearing/test").glob(f"section_00_{condition}_0001_*.wav")
    np.testing.assert_allclose(sf.read(path, dtype="float32")[0].T, render(last), atol=2**-15)


def test_test_attributes_do_not_tell_the_label():
    found = {"normal": set(), "anomaly": set()}
    for condition, each in simulation.scenes("slider", n_source=0, n_target=0, n_test=40):
        done = simulation.operation(each)
        found[condition.split("_")[2]].add((each.domain, done.speed, done.load))
    assert found["normal"] == found["anomaly"]


def test_a_complete_machine_is_left_alone_and_what_is_another_is_refused(fan, tmp_path, monkeypatch):
    before = contents(fan)
    simulation.simulate(fan, ["fan"], **SMALL)
    for machines, options, says in (
        (["gearbox", "fan"], dict(seed=1), "fan: found seed 0; expected seed 1"),
        (["fan"], dict(snr=-15.0), "expected snr -15.0"),
    ):
        with pytest.raises(InputError, match=says) as error:
            simulation.simulate(fan, machines, **SMALL, **options)
        assert "\n" not in str(error.value) and not (fan / "gearbox").exists()
    monkeypatch.setattr(simulation.datasets, "VERSION", 2)
    with pytest.raises(InputError, match="found version 1; expected version 2"):
        simulation.simulate(fan, ["fan"], **SMALL)
    (tmp_path / "valve").mkdir()
    with pytest.raises(InputError, match="valve: holds no simulation.json"):
        simulation.simulate(tmp_path, ["valve"], **SMALL)
    assert contents(fan) == before


def test_an_interrupted_run_leaves_nothing_half_written(tmp_path, monkeypatch):
    written, genuine = [], simulation.datasets.write_clip

    def interrupted(*args):
        written.append(genuine(*args))
        if len(written) == 5:
            raise KeyboardInterrupt
        return written[-1]

    monkeypatch.setattr(simulation.datasets, "write_clip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulation.simulate(tmp_path, ["fan"], **SMALL)
    assert len(written) == 5 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", GENERIC)
def test_an_injected_fault_has_its_level_and_is_faint_and_late_far_away(fault):
    samples = 0.1 * np.random.default_rng(0).normal(size=(2, 48000)).astype("float32")
    first, same, other = (inject(samples, fault, -12.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.float32 and (first == same).all() and (first != other).any()
    (near, far), decibels = first - samples, lambda x: 20 * np.log10(rms(x))
    assert decibels(near) - decibels(samples[0]) == pytest.approx(-12, abs=0.1)
    assert decibels(far) - decibels(near) == pytest.approx(FAR_DB, abs=0.2)
    assert not np.allclose(near, far * 10 ** (-FAR_DB / 20))
    assert not inject(np.zeros((2, 16000)), fault, 0.0, np.random.default_rng(0)).any()  # silence stays silence
    with pytest.raises(InputError, match="found 'chatter', expected outer_race, looseness, squeal"):  # it needs the machine
        inject(samples, "chatter", 0.0, np.random.default_rng(0))


@pytest.fixture
def shelf(tmp_path):
    rng = np.random.default_rng(0)
    for folder, names in dict(pump=[*(f"normal_{i}" for i in range(5)), "anomaly_0"], noise=["hall", "street"]).items():
        (tmp_path / folder).mkdir()
        for name in names:
            sf.write(tmp_path / folder / f"{name}.wav", 0.1 * rng.standard_normal(8000 * 5 // 2), 8000)
    return tmp_path


def test_recordings_are_rendered_in_the_layout(shelf):
    simulation.render_recordings(shelf / "pump", shelf / "noise", shelf / "out", "pump", seconds=1.0, n_target=3)
    rows = table(shelf / "out/pump/recordings_00.csv")
    conditions = Counter("_".join(row["file_name"].split("_")[2:5]) for row in rows)
    assert conditions == {
        "source_train_normal": 6, "target_train_normal": 3,  # three recordings, two clips each
        "source_test_normal": 4, "source_test_anomaly": 2, "target_test_normal": 4, "target_test_anomaly": 2,
    }  # fmt: skip
    train, test = ({row["recording"] for row in rows if f"/{split}/" in row["file_name"]} for split in ("train", "test"))
    assert not train & test and train | test == {*(f"normal_{i}" for i in range(5)), "anomaly_0"}
    clip, rate = sf.read(shelf / "out" / rows[0]["file_name"])
    assert clip.shape == (16000, 2) and rate == SAMPLE_RATE and 1e-3 < rms(clip) < 0.3
    truth = table(shelf / "out/pump/simulation.csv")
    noises = {domain: {row["noise"] for row in truth if f"_{domain}_" in row["file_name"]} for domain in ("source", "target")}
    assert noises == {"source": {"hall"}, "target": {"street"}}


def test_rendering_again_is_the_same_and_other_or_unusable_recordings_are_refused(shelf):
    for out in "aba":
        simulation.render_recordings(shelf / "pump", shelf / "noise", shelf / out, "pump")
    assert contents(shelf / "a") == contents(shelf / "b")
    (shelf / "pump/normal_4.wav").unlink()
    with pytest.raises(InputError, match="pump: found sources 6 files.*expected sources 5 files"):
        simulation.render_recordings(shelf / "pump", shelf / "noise", shelf / "a", "pump")
    for folder in ("none", "one"):
        (shelf / folder).mkdir()
    (shelf / "noise" / "hall.wav").rename(shelf / "one" / "hall.wav")
    for source, noise, says in (
        ("pump", "none", "none: found no audio files; expected .aif"), ("nowhere", "noise", "nowhere: no such folder"),
        ("one", "noise", "one: found 1 normal recordings; expected 2 or more"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            simulation.render_recordings(shelf / source, shelf / noise, shelf / "out")
    assert not (shelf / "out").exists()
    sf.write(shelf / "two.wav", np.stack([np.full(160, 0.5), np.zeros(160)], axis=1), SAMPLE_RATE)
    with pytest.warns(UserWarning, match=r"two.wav: found 2 channels, expected 1; the first is used"):
        np.testing.assert_allclose(simulation.read_mono(shelf / "two.wav"), 0.5, atol=1e-4)
