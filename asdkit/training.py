"""One plain training loop, and the masked spectrogram model trained with it.

Legend
------
spectrograms : list of (n_mels, n_frames) standardised log-mels, one per clip and channel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from tqdm.auto import tqdm

from asdkit.config import Config
from asdkit.msm import MSM, calibrate_batchnorm, masked_error, random_hidden
from asdkit.spectrogram import window_starts


def default_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    model: torch.nn.Module, loss: Callable[[int], torch.Tensor], steps: int, learning_rate: float, description: str = ""
) -> list[float]:
    """AdamW under a one-cycle schedule.

    Parameters
    ----------
    model : Module
        Trained in place.
    loss : callable
        ``loss(step)`` draws a batch and returns a scalar.
    steps : int
    learning_rate : float
        Peak.

    Returns
    -------
    losses : list of float
        The learning curve, one value a step.
    """
    if steps == 0:
        return []
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=max(steps, 2))
    losses = []
    model.train()
    for step in tqdm(range(steps), desc=description, leave=False, disable=not description):
        optimizer.zero_grad(set_to_none=True)
        value = loss(step)
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    return losses


class Crops:
    """Draws windows from spectrograms: at any frame, or at the fixed starts of the training windows."""

    def __init__(self, spectrograms: list[torch.Tensor], config: Config, seed: int):
        self.spectrograms, self.width, self.starts = spectrograms, config.width, None
        if not config.random_crops:
            self.starts = [window_starts(s.shape[1], config.width, config.train_hop) for s in spectrograms]
        self.rng = np.random.default_rng(seed)

    def __call__(self, n: int) -> torch.Tensor:
        """Draw (n, n_mels, width)."""
        return torch.stack([self._crop(i) for i in self.rng.integers(len(self.spectrograms), size=n)])

    def _crop(self, i: int) -> torch.Tensor:
        frames = self.spectrograms[i]
        room = frames.shape[1] - self.width
        start = self.rng.integers(room + 1) if self.starts is None else self.rng.choice(self.starts[i])
        return frames[:, start : start + self.width]


def train_msm(spectrograms: list[torch.Tensor], config: Config, seed: int, description: str = "") -> tuple[MSM, list[float]]:
    """Train one masked spectrogram model from scratch; with ``config.steps = 0`` its untrained twin.

    Returns
    -------
    model : MSM
        In evaluation mode, BatchNorm calibrated on unmasked windows, on the CPU.
    losses : list of float
    """
    device = default_device()
    with torch.random.fork_rng():  # layers draw their weights from the global generator
        torch.manual_seed(seed)
        model = MSM(config.width, config.bottleneck).to(device)
    crops, generator = Crops(spectrograms, config, seed), torch.Generator().manual_seed(seed)

    def loss(step):
        x = crops(config.batch_size)
        hidden = random_hidden(len(x), model.grid, config.mask_ratio, generator)
        return masked_error(model, x.to(device), hidden.to(device)).mean()

    losses = train(model, loss, config.steps, config.learning_rate, description)
    calibrate_batchnorm(model, (crops(config.batch_size).to(device) for _ in range(8)))
    return model.cpu(), losses
