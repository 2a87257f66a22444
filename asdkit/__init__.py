"""asdkit: hear that a machine is failing, from recordings of its healthy sound, with a near and a far microphone::

    import asdkit

    detector = asdkit.fit("healthy/")                # a folder, files, or clips; Config() unless another is given
    table = detector.score("new/")                   # DataFrame: file, score, decision, reason
    detector.threshold(false_alarm=0.02)             # any rate the recordings can promise, without fitting again
    detector.explain("new/rattle.wav").plot()        # when, in which bands, in which block
    detector.save("model")
    detector = asdkit.load("model")

    asdkit.fit("healthy/", embed=network)            # any callable (n, 128, width) -> (n, dim) in place of the network
    asdkit.simulate("data/demo", ["fan", "valve"])   # simulated machines with known faults
    asdkit.evaluate("data/demo", systems=["asdkit", "report"])   # DataFrame: machine, system, AUCs, Omega, interval

The data flow, file by file: `recordings`, `spectrogram`, `dsp`, `msm`, `blocks`, `describer`, `conditioning`, `space`, `knn`,
`scorer`, `calibration`, `detector`, `metrics`. Around it are rooms: `simulate`, `experiments`, `figures`, `apps`.
"""

from asdkit.public import on_first_use

__version__ = "0.1.0"

_PUBLIC = {  # in the order that the data flow
    "Clip": "recordings", "Machine": "recordings", "Reading": "recordings", "InputError": "recordings",
    "index_data": "recordings", "read_clip": "recordings", "stft": "spectrogram", "log_mel": "spectrogram",
    "cancel_far": "dsp", "modulation": "dsp",
    "texture": "dsp", "MSM": "msm", "train_msm": "training", "read_spectra": "blocks", "fit_conditioner": "conditioning",
    "fit_knn": "knn", "Config": "config", "fit": "detector", "load": "detector", "Detector": "detector",
    "bootstrap": "metrics", "evaluate": "experiments", "run": "experiments", "systems": "experiments",
}  # fmt: skip
_ROOMS = ("recordings", "simulate", "experiments", "figures", "metrics", "dsp")
__all__ = ["__version__", *_PUBLIC, *_ROOMS]
__getattr__, __dir__ = on_first_use(__name__, _PUBLIC, _ROOMS)
