"""Other training objectives over the encoder of the masked spectrogram model, for the invariance trap.

The same encoder from the same initial weights, the same crops, steps, batch size and learning rate; `Config.objective` names
what is asked of its embedding:

msm                  restore hidden patches (`asdkit.training.Masked`)
autoencoder          restore the window through the bottleneck, nothing hidden
far-to-near          restore the near window from the far one (denoising)
machine-id           tell machines and their attributes apart: softmax, one network over all machines
pseudo-cluster       tell k-means clusters of one machine's clips apart: angular margin (ArcFace; Deng et al., CVPR 2019)
sub-cluster-adacos   as machine-id, with sub-cluster AdaCos and mixup (Wilkinghoff, IJCNN 2021)

Every machine is standardised by its own training statistics. The constants are tuned on nothing. embedding : (batch, dim);
targets : (batch, n_classes), class weights that sum to 1, one-hot without mixup.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from asdkit.config import Config
from asdkit.dsp import statistics
from asdkit.msm import CHANNELS, MSM, ROWS, masked_error
from asdkit.recordings import Clip, InputError
from asdkit.training import Crops, Masked, Watch, train_encoder

DIM = 2 * CHANNELS[-1] * ROWS  # of the embedding
POOLED = ("machine-id", "sub-cluster-adacos")  # one network over all machines
RECONSTRUCT = ("msm", "autoencoder")  # with a residual of their own
CLUSTERS = 16  # k-means clusters of one machine's training clips
MARGIN = 0.5  # radians
SCALE = 30.0  # of cosines under an angular margin
SUB_CLUSTERS = 16  # centres of one class


@dataclass(frozen=True)
class Examples:
    """What a network sees of one machine's training clips; one entry a clip."""

    name: str  # of the machine; no two alike
    spectrograms: Sequence[torch.Tensor]  # (n_mels, n_frames) standardised log-mels
    far: Sequence[torch.Tensor] = ()  # the same of the far channel; for "far-to-near" only
    classes: Sequence[str] = ()  # see `class_name`


def class_name(clip: Clip) -> str:
    """Section and attributes of a training clip; the section alone where no attribute is given."""
    return f"{clip.section} {'' if clip.attributes == 'noAttribute' else clip.attributes}"


def train_objective(
    machines: Sequence[Examples], config: Config, seed: int, description: str = "", watch: Watch | None = None
) -> tuple[MSM, list[float]]:
    """Train one network under ``config.objective``, as `asdkit.training.train_encoder` does; InputError for one class only.

    `machines` are the one that will be scored, then others, which only the `POOLED` objectives look at; their network depends
    on the set of machines, not on which is first.
    """
    if config.objective in POOLED:
        crops, criterion = classify_machines(sorted(machines, key=lambda m: m.name), config, seed)
    else:
        crops, criterion = _of_one_machine(machines[0], config, seed)
    return train_encoder(crops, criterion, config, seed, description, watch)


def _of_one_machine(machine: Examples, config: Config, seed: int):
    """Crops of one machine, and the maker of an objective that looks at it alone."""
    crops = Crops(machine.spectrograms, config, seed)
    if config.objective == "far-to-near":
        return crops, partial(FarToNear, crops, machine.far)
    if config.objective == "pseudo-cluster":
        labels = pseudo_labels(machine.spectrograms, CLUSTERS, seed)
        return crops, partial(Classification, ArcFace, labels, _n_classes(labels, config))
    return crops, partial(Masked, config.mask_ratio if config.objective == "msm" else 0.0, seed)


def classify_machines(machines: Sequence[Examples], config: Config, seed: int):
    """Crops of all machines, each machine as often, and the maker of a classifier of their classes."""
    names = [f"{i} {c}" for i, machine in enumerate(machines) for c in machine.classes]
    labels, counts = np.unique(names, return_inverse=True)[1], [len(m.spectrograms) for m in machines]
    weights = np.repeat([1 / (len(machines) * count) for count in counts], counts)
    crops = Crops([s for m in machines for s in m.spectrograms], config, seed, weights)
    mixed = config.objective == "sub-cluster-adacos"
    head, generator = (SubClusterAdaCos, torch.Generator().manual_seed(seed)) if mixed else (Softmax, None)
    return crops, partial(Classification, head, labels, _n_classes(labels, config), generator)


def _n_classes(labels: np.ndarray, config: Config) -> int:
    if (n := int(labels.max()) + 1) < 2:
        expected = "machines, or attributes in training file names" if config.objective in POOLED else "clips that differ"
        raise InputError(f"objective {config.objective}: found 1 class, expected several {expected}")
    return n


def pseudo_labels(spectrograms: Sequence[torch.Tensor], n_clusters: int, seed: int) -> np.ndarray:
    """k-means clusters, (n_spectrograms,) from 0 to at most `n_clusters` - 1, by mean and standard deviation of each band."""
    from sklearn.cluster import KMeans

    features = torch.cat([statistics(s[None]) for s in spectrograms]).double().numpy()
    n = min(n_clusters, len(np.unique(features, axis=0)))
    clusters = KMeans(n, n_init=10, random_state=seed).fit_predict(features)
    return np.unique(clusters, return_inverse=True)[1]


class FarToNear(nn.Module):
    """Denoising: likelihood of the near window given the far window of the same frames, which only the training sees."""

    def __init__(self, crops: Crops, far: Sequence[torch.Tensor]):
        super().__init__()
        self.crops, self.far = crops, far

    def forward(self, model: MSM, x: torch.Tensor, clips: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        """Loss of a batch of near windows and their places."""
        far = self.crops.cut(clips, starts, self.far).to(x.device)
        nothing = torch.zeros(len(x), *model.grid(x.shape[2]), dtype=torch.bool, device=x.device)
        return masked_error(model, far, nothing, target=x).mean()


class Classification(nn.Module):
    """Cross-entropy of a head on the embedding; `labels` (n_spectrograms,), `n` classes, mixed where there is a `generator`."""

    def __init__(self, head: type[nn.Module], labels: np.ndarray, n: int, generator: torch.Generator | None = None):
        super().__init__()
        self.head, self.generator = head(DIM, n), generator
        self.one_hot = F.one_hot(torch.from_numpy(labels).long(), n).float()

    def forward(self, model: MSM, x: torch.Tensor, clips: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        """Loss of a batch of windows and their places."""
        targets = self.one_hot[clips].to(x.device)
        if self.generator is not None:
            x, targets = mixup(x, targets, torch.rand(len(x), generator=self.generator).to(x.device))
        return -(targets * self.head(model.embed(x), targets)).sum(1).mean()


def mixup(x: torch.Tensor, targets: torch.Tensor, share: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each window, with a `share` (batch,), and its targets with another: the batch reversed (Zhang et al., ICLR 2018)."""
    wide, flat = share[:, None, None], share[:, None]
    return wide * x + (1 - wide) * x.flip(0), flat * targets + (1 - flat) * targets.flip(0)


class Softmax(nn.Linear):
    """Plain classification by a linear layer."""

    def forward(self, embedding: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (batch, n_classes)."""
        return super().forward(embedding).log_softmax(1)


class ArcFace(nn.Module):
    """Additive angular margin (Deng et al., CVPR 2019): softmax of ``SCALE cos(angle + MARGIN [true class])``."""

    def __init__(self, dim: int, n: int):
        super().__init__()
        self.centres = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n, dim)))

    def forward(self, embedding: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (batch, n_classes)."""
        return (SCALE * angular_margin(cosines(embedding, self.centres), targets)).log_softmax(1)


def cosines(embedding: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Cosine of every embedding with every centre. Shape: (batch, dim), (n, dim) -> (batch, n)."""
    return F.normalize(embedding, dim=1) @ F.normalize(centres, dim=1).T


def _angle(cosine: torch.Tensor) -> torch.Tensor:
    """Radians; the gradient stays finite at 0 and pi."""
    return cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()


def angular_margin(cosine: torch.Tensor, targets: torch.Tensor, margin: float = MARGIN) -> torch.Tensor:
    """``cos(angle + margin)`` for the true class; linear past ``angle = pi - margin``, where the cosine would turn back."""
    harder = torch.where(cosine > -math.cos(margin), (_angle(cosine) + margin).cos(), cosine - margin * math.sin(margin))
    return cosine + targets * (harder - cosine)


class SubClusterAdaCos(nn.Module):
    """Adaptively scaled cosine softmax with several centres a class (Wilkinghoff, IJCNN 2021).

    The probability of a class is the sum over its centres. In training the scale follows the batch, from
    ``sqrt(2) log(n_centres - 1)``: the scale at which its probabilities are most sensitive to the angle,
    ``log B / cos(min(pi / 4, median angle))``. ``B`` is the mean over the batch of the sum over all centres, the true class's
    included as in the published code, of ``exp(scale cosine)``; the angle is that to the nearest centre of a window's class.
    """

    def __init__(self, dim: int, n: int, n_centres: int = SUB_CLUSTERS):
        super().__init__()
        self.centres, self.grid = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n * n_centres, dim))), (n, n_centres)
        self.register_buffer("scale", torch.tensor(math.sqrt(2) * max(math.log(n * n_centres - 1), 0.5)))

    def forward(self, embedding: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (batch, n_classes)."""
        cosine = cosines(embedding, self.centres).unflatten(1, self.grid)
        if self.training:
            log_b = (self.scale * cosine.detach()).flatten(1).logsumexp(1).logsumexp(0) - math.log(len(cosine))
            angles = (targets * _angle(cosine.detach().amax(2))).sum(1)
            self.scale = log_b / angles.quantile(0.5).clamp(max=math.pi / 4).cos()
        return (self.scale * cosine).flatten(1).log_softmax(1).unflatten(1, self.grid).logsumexp(2)
