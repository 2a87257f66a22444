"""The whole method: clips are *described*, and their descriptors *scored*.

recordings -> spectra -> embedding and DSP blocks | whitening -> balance -> domain-conditional kNN -> file score.

A `Describer` does what stands left of the bar, `fit_scorer` what stands right of it; `fit_detector` joins them, and holds
recordings out for the decision. Nothing here reads a test clip's label, domain or attributes: scoring is given samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from asdkit import __version__
from asdkit.blocks import HOP, Encoder, FeatureExtractor, Spectra, extract, read_spectra
from asdkit.calibration import Fold, HeldOut, calibrated, hold_out, warn_of_few
from asdkit.conditioning import FarConditioner
from asdkit.config import Config
from asdkit.describer import Describer, check
from asdkit.dsp import Ridge
from asdkit.explain import Explainer, Explanation, fit_explainer
from asdkit.knn import DomainKNN
from asdkit.msm import MSM, BandWhitening
from asdkit.recordings import Clip, InputError, Reading, TrainingSet, wav_files
from asdkit.recordings.intake import check_order, read_folder, segments, training_record
from asdkit.recordings.reading import TWO_CHANNELS, near_of
from asdkit.scorer import Scorer, fit_scorer
from asdkit.space import Scaler, Space, conditions_embedding
from asdkit.storage import damaged_if_it_fails, load_tree, save_tree

CLASSES = (
    BandWhitening, Encoder, FeatureExtractor, Config, Ridge, FarConditioner, Scaler, Space, DomainKNN, Scorer, HeldOut, Reading,
    MSM,
)  # fmt: skip
LONGEST_S = 3600.0  # a recording that is scored as one
Recordings = str | Path | Clip | Iterable[str | Path | Clip]


def fit_detector(training: TrainingSet, describer: Describer) -> Detector:
    """Fit one machine."""
    config = describer.config
    torch.set_num_threads(config.threads)
    extractor, own = describer.extractors(training)
    pairs = list(zip(own, training.clips))
    blocks = [describer.blocks(e, c, config.train_hop) for e, c in describer.bar_and_trim(pairs, "describe")]
    far = [describer.block("msm-far", e, c, config.train_hop) for e, c in pairs] if conditions_embedding(config) else None
    scorer = fit_scorer(blocks, training, config, far, describer.seed, describer.fit_scaler)
    folds = hold_out(training, partial(fit_fold, training, describer, own, blocks, far))
    scorer, held_out = calibrated(scorer, training, folds)
    return Detector(extractor, scorer, held_out, seed=describer.seed)


def fit_fold(training: TrainingSet, describer: Describer, own, blocks, far, held: np.ndarray, clips: np.ndarray) -> Fold:
    """What is compared of `clips`, by their indices, where the clips of the mask `held` are left out of whitening and bank.

    own, blocks, far : extractor, blocks and embedding of far (if needed) of each training clip.
    """
    kept, config = np.flatnonzero(~held), describer.config
    blocks, far = ([each[i] for i in kept] if each else None for each in (blocks, far))
    scorer = fit_scorer(blocks, training.without(held), config, far, describer.seed, describer.fit_scaler)
    bar = describer.bar_and_trim(clips, "calibrate")
    units = [scorer.units(scorer.space(describer.blocks(own[i], training.clips[i], config.test_hop))) for i in bar]
    return Fold(np.repeat(clips, [len(x) for x in units]), torch.cat(units), scorer.bank)


@dataclass(frozen=True)
class FileResult:
    """What became of one recording."""

    file: str | Path
    score: float | None = None
    decision: int | None = None  # 1 anomaly, 0 normal; None without a threshold
    reason: str = ""  # why there is no score


@dataclass(frozen=True, repr=False)
class Detector:
    """A fitted system for one machine. Made by `fit` or `load`."""

    extractor: FeatureExtractor
    scorer: Scorer
    held_out: HeldOut | None = None
    reading: Reading = TWO_CHANNELS  # how its recordings are read
    seed: int = 0
    about: dict = field(default_factory=dict)  # what it was fitted on

    @property
    def config(self) -> Config:
        """Its options."""
        return self.extractor.config

    def score(self, recordings: Recordings, false_alarm: float | None = None, progress: bool = True):
        """Score WAV files of up to an hour, folders of them, or clips; of pairs of mono files the near ones are enough.

        Returns a DataFrame: file, score (higher: more anomalous), decision (1 anomaly, 0 normal, missing without a threshold;
        at the rate `false_alarm`, see `threshold`), reason (why a recording has no score; else empty).
        """
        import pandas as pd

        limit = self.decision_threshold() if false_alarm is None else self.threshold(false_alarm)
        rows = [self.score_file(path, limit) for path in tqdm(self.files(recordings), "score", disable=not progress)]
        columns = [f.name for f in fields(FileResult)]
        table = pd.DataFrame([(str(r.file), r.score, r.decision, r.reason) for r in rows], columns=columns)
        return table.astype({"score": float, "decision": "Int64"})

    def threshold(self, false_alarm: float | None = None) -> float:
        """Score above which a recording is an anomaly, for any rate of false alarms that the training recordings can promise.

        `config.false_alarm` by default; InputError for a rate that they cannot promise.
        """
        if self.held_out is None:
            raise InputError("threshold: found no recordings held out, expected at least 3 in training")
        return self.held_out.threshold(self.config.false_alarm if false_alarm is None else false_alarm)

    def decision_threshold(self) -> float | None:
        """The threshold of the configured rate; None where that cannot be promised."""
        try:
            return self.threshold()
        except InputError:
            return None

    def explain(self, recording: str | Path | Clip) -> Explanation:
        """When, in which bands and in which block a recording departs from healthy sound; InputError if it cannot be used."""
        return self.explainer(list(self.segment_spectra(recording)), self.decision_threshold())

    def save(self, folder: str | Path) -> Path:
        """Write it to a folder, whole or not at all; a model that is there is replaced."""
        folder = Path(folder)
        if folder.exists() and not (folder / "model.json").is_file():
            raise InputError(f"{folder}: found something that is not a model, expected a new folder or a model to replace")
        encoder, own = self.extractor.learned.get("encoder"), self.extractor
        if encoder is not None and not isinstance(encoder.net, MSM):  # a callable: `load` is given it again
            own = replace(own, learned=own.learned | {"encoder": replace(encoder, net=None)})
        tree = dict(extractor=own, scorer=self.scorer, held_out=self.held_out, reading=self.reading)
        return save_tree(folder, tree, asdkit=__version__, config=self.config.hash(), seed=self.seed, about=self.about)

    def __repr__(self) -> str:
        config, about, threshold = self.config, self.about, self.decision_threshold()
        learned = f" of {about['clips']} clips, {about['recordings']} recordings," if "clips" in about else ""
        decision = f"threshold {threshold:.3f} for" if threshold is not None else "no threshold: too few recordings for"
        return (
            f"Detector{learned} seed {self.seed}, config {config.hash()}\n"
            f"  blocks {', '.join(config.blocks)}; alpha {config.alpha:g}; kNN {config.backend}, k = {config.k}\n"
            f"  {decision} {100 * config.false_alarm:g} % false alarms"
        )

    @cached_property
    def explainer(self) -> Explainer:
        """Made when it is first asked for."""
        return fit_explainer(self.extractor, self.scorer)

    def files(self, recordings: Recordings) -> list[Path | Clip]:
        """What is to be scored: the files of folders, each pair once by its near file."""
        items = [recordings] if isinstance(recordings, str | Path | Clip) else recordings
        items = [item if isinstance(item, Clip) else Path(item) for item in items]
        files = list(chain.from_iterable(wav_files(i) if isinstance(i, Path) and i.is_dir() else [i] for i in items))
        return list(dict.fromkeys(near_of(f) for f in files)) if self.reading.pairs else files

    def segment_spectra(self, recording: str | Path | Clip) -> Iterator[tuple[float, Spectra]]:
        """Where each segment of one recording begins (s), and its spectra; InputError for one that cannot be used."""
        is_clip = isinstance(recording, Clip)
        clips = (recording,) if is_clip else segments(Clip(Path(recording), reading=self.reading))
        if (seconds := clips[-1].segment[1] if clips[-1].segment and not is_clip else 0.0) > LONGEST_S:
            raise InputError(f"{recording}: found {seconds / 3600:.1f} hours, expected at most {LONGEST_S / 3600:.0f}")
        for clip in clips:
            yield clip.segment[0] if clip.segment else 0.0, read_spectra(clip, self.config)

    def score_spectra(self, segments: Iterable[Spectra]) -> float:
        """Anomaly score of one recording from the spectra of its segments."""
        return self.scorer(self.extractor.describe_all(segments, self.config.test_hop))

    def score_file(self, recording: str | Path | Clip, threshold: float | None = None) -> FileResult:
        """The result of one recording, whatever is in it."""
        name = recording.name if isinstance(recording, Clip) else recording
        try:
            score = self.score_spectra(spectra for _, spectra in self.segment_spectra(recording))
            if not np.isfinite(score):
                raise InputError(f"{name}: found score {score}, expected a number: its sound is like no recording")
        except InputError as error:
            return FileResult(name, reason=str(error))
        except Exception as error:  # one file must not keep the others from being scored
            return FileResult(name, reason=f"{name}: failed ({error!r})")
        return FileResult(name, score, None if threshold is None else int(score > threshold))


def fit(
    recordings: Recordings, config: Config | None = None, *, target: Recordings | None = None, reading: Reading | None = None,
    embed: Callable | None = None, seed: int = 0, progress: bool = True,
) -> Detector:  # fmt: skip
    """Fit one machine on its normal recordings, two or more, and calibrate its decision.

    Parameters
    ----------
    recordings, target : path, Clip, or several
        A folder of normal recordings in any names, or a machine's folder in the DCASE layout; files; or clips, whose `domain`
        tells source from target and whose `recording` tells siblings. In `target`, if given, a few normal recordings of
        another operating condition. InputError for those that cannot be used.
    reading : Reading, optional
        Which channel is near, and so on. Pairs of mono files are recognised.
    embed : callable, optional
        (n_windows, 128, width) whitened log-mel windows, torch -> (n_windows, dim), in place of the network.
    seed : int
        Of the networks' weights, the crops and the masks.
    """
    clips = read_folder(recordings, reading)
    clips += read_folder(target, reading, "target") if target is not None else ()
    training = TrainingSet.of(clips)
    reading = training.clips[0].reading
    if not (reading.near_only or reading.pairs):
        check_order(training.clips)
    describer = Describer(config or Config(), seed, embed, progress="fit" if progress else "")
    warn_of_few(training, describer.config.false_alarm)
    return replace(fit_detector(training, describer), reading=reading, about=training_record(clips))


def load(folder: str | Path, embed: Callable | None = None) -> Detector:
    """Read a detector back, with the `embed` that it was fitted with, if any; a window of test noise must get a score.

    InputError when the folder holds no model, one of another version, a damaged one, or one that needs `embed`.
    """
    tree, head = load_tree(folder, CLASSES, asdkit=__version__)
    if not isinstance(tree, dict) or "extractor" not in tree:
        raise InputError(f"{folder}: found another kind of model, expected one written by `asdkit fit`")
    encoder = damaged_if_it_fails(Path(folder), lambda: tree["extractor"].learned.get("encoder"))
    if encoder is not None and getattr(encoder, "net", encoder) is None:
        if embed is None:
            raise InputError(f"{folder}: found a model with an embedding of its own, expected load(folder, embed=...) with it")
        learned = tree["extractor"].learned | {"encoder": replace(encoder, net=embed)}
        tree["extractor"] = replace(tree["extractor"], learned=learned)
    detector = damaged_if_it_fails(Path(folder), lambda: _tried(Detector(**tree, seed=head["seed"], about=head["about"]), head))
    torch.set_num_threads(detector.config.threads)
    return detector


def _tried(detector: Detector, head: dict) -> Detector:
    """The detector, if what it is made of fits together and a window of noise gets a score."""
    config = check(detector.config)
    if config.hash() != head["config"] or config != detector.scorer.config:
        raise ValueError(f"found config {config.hash()}, expected {head['config']}")
    if not (isinstance(detector.reading, Reading) and isinstance(detector.held_out, HeldOut | None)):
        raise ValueError("found another reading or other held-out scores than those of a detector")
    noise = np.random.default_rng(0).normal(size=(2, (config.width - 1) * HOP)).astype(np.float32)
    score = detector.score_spectra([extract(0.1 * noise, config)])
    if not np.isfinite(score):
        raise ValueError(f"found score {score} for noise")
    return detector
