"""The default hears faults: strong ones of a simulated machine, and those of real machines."""

import pytest
import soundfile
from sklearn.metrics import roc_auc_score

import asdkit
from asdkit.config import Config
from asdkit.recordings import Clip, index_data
from asdkit.simulate import KINDS, Scene, render


def auc(train, test) -> float:
    detector = asdkit.fit(train, Config().quick(), progress=False)
    return roc_auc_score([c.label for c in test], detector.score(test, progress=False)["score"])


def test_the_default_detects_strong_faults_of_a_simulated_machine(tmp_path):
    def clip(i, fault=None):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, render(Scene("fan", seed=0, index=i, seconds=4.0, fault=fault, severity=1.0)).T, 16000)
        return Clip(path, label=int(fault is not None), recording=path.name)

    healthy = [clip(i) for i in range(18)]
    faulty = [clip(20 + i, fault) for i, fault in enumerate(KINDS["fan"].faults)]
    assert auc(healthy[:14], [*healthy[14:], *faulty]) > 0.85


@pytest.mark.parametrize("machine, floor", [("InductionMotor2", 0.6), ("BrushlessMotor", 0.7)])
def test_the_default_detects_faults_of_real_machines(real_data, machine, floor):
    (found,) = index_data(real_data, [machine])
    train, test = ({c.recording for c in clips} for clips in (found.train, found.test))  # clips cut from one are siblings
    assert not train & test and (machine != "BrushlessMotor" or len(train) < len(found.train) / 2)
    assert auc(found.train[::9], found.test[::5]) > floor
