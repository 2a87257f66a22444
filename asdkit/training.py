"""One plain training loop, and the masked spectrogram model trained with it. The other objectives are in `asdkit.objectives`.

spectrograms : sequence of (n_mels, n_frames) standardised log-mels, one per clip.
watch : ``watch(step, snapshot)``, called after so many steps, from 0 to the last; ``snapshot()`` copies the model as it is
    then, ready to embed. Watching changes nothing in the training.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from asdkit.config import Config
from asdkit.msm import MSM, calibrate_batchnorm, masked_error, random_hidden

Watch = Callable[[int, Callable[[], MSM]], None]


class Crops:
    """Draws training windows from spectrograms, all alike or with the probabilities `weights` (n_spectrograms,)."""

    def __init__(self, spectrograms: Sequence[torch.Tensor], config: Config, seed: int, weights: np.ndarray | None = None):
        self.spectrograms, self.width, self.weights = spectrograms, config.width, weights
        self.rng = np.random.default_rng(seed)

    def __call__(self, n: int) -> torch.Tensor:
        """Draw (n, n_mels, width)."""
        return self.cut(*self.draw(n))

    def draw(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw n places: which spectrogram, and at which frame of it a window starts."""
        if self.weights is None:
            clips = self.rng.integers(len(self.spectrograms), size=n)
        else:
            clips = self.rng.choice(len(self.spectrograms), size=n, p=self.weights)
        n_starts = np.array([self.spectrograms[i].shape[1] - self.width + 1 for i in clips])
        return clips, self.rng.integers(n_starts)

    def cut(self, clips: np.ndarray, starts: np.ndarray, spectrograms: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        """Windows at these places, (n, n_mels, width), of these or of other spectrograms of the same clips."""
        source = self.spectrograms if spectrograms is None else spectrograms
        return torch.stack([source[i][:, start : start + self.width] for i, start in zip(clips, starts)])


class Masked(nn.Module):
    """Masked spectrogram modelling: likelihood of the hidden cells; of all of them where nothing is hidden."""

    def __init__(self, ratio: float, seed: int):
        super().__init__()
        self.ratio, self.generator = ratio, torch.Generator().manual_seed(seed)

    def forward(self, model: MSM, x: torch.Tensor, clips: np.ndarray, starts: np.ndarray) -> torch.Tensor:
        """Loss of a batch of windows."""
        hidden = random_hidden(len(x), model.grid(x.shape[2]), self.ratio, self.generator)
        return masked_error(model, x, hidden.to(x.device)).mean()


def train_encoder(
    crops: Crops, objective: Callable[[], nn.Module], config: Config, seed: int, description="", watch: Watch | None = None
) -> tuple[MSM, list[float]]:
    """Train one network from scratch under any objective; with ``config.steps = 0`` its untrained twin.

    AdamW under a one-cycle schedule. ``objective()`` makes a module that is called with ``(model, x, clips, starts)``, a batch
    and its places, and returns a scalar; its weights are drawn after the encoder's, so that one seed is one initial encoder,
    whatever the objective. BatchNorm is calibrated on unmasked windows of `crops`, those of what the encoder reads when it is
    scored. Returns the model, in evaluation mode on the CPU, and the loss of each step.
    """
    device, losses = torch.device("cuda" if torch.cuda.is_available() else "cpu"), []
    with torch.random.fork_rng():  # layers draw their weights from the global generator
        torch.manual_seed(seed)
        model = MSM().to(device)
        criterion = objective().to(device)
    both = nn.ModuleList([model, criterion]).train()
    optimizer = torch.optim.AdamW(both.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=max(config.steps, 2))

    def snapshot():
        return _calibrated(copy.deepcopy(model), Crops(crops.spectrograms, config, seed, crops.weights), config, device)

    for step in tqdm(range(config.steps), desc=description, leave=False, disable=not description):
        if watch:
            watch(step, snapshot)
        optimizer.zero_grad(set_to_none=True)
        clips, starts = crops.draw(config.batch_size)
        loss = criterion(model, crops.cut(clips, starts).to(device), clips, starts)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    if watch:
        watch(config.steps, snapshot)
    return _calibrated(model, crops, config, device), losses


def _calibrated(model: MSM, crops: Crops, config: Config, device: torch.device) -> MSM:
    """The model in evaluation mode on the CPU, its BatchNorm calibrated."""
    calibrate_batchnorm(model, (crops(config.batch_size).to(device) for _ in range(16)))
    return model.cpu()


def train_msm(spectrograms: list[torch.Tensor], config: Config, seed: int, description: str = "") -> tuple[MSM, list[float]]:
    """Train one masked spectrogram model from scratch: `train_encoder` with `Masked`."""
    return train_encoder(Crops(spectrograms, config, seed), lambda: Masked(config.mask_ratio, seed), config, seed, description)
