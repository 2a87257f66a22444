"""The official DCASE Task 2 baseline: a dense autoencoder of stacked log-mel frames, for comparison.

Harada et al., EUSIPCO 2023 (arXiv 2303.00455). Where the paper and the released code differ, this follows the code.

logmel : (n_mels, n_frames) of the near channel, dB.
vector : `STACK` neighbouring frames in one row, n_mels * STACK values.
residual : (n_vectors, n_mels * STACK), input minus reconstruction, dB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

STACK = 5  # frames in a vector
HIDDEN = (128, 128, 128, 128, 8, 128, 128, 128, 128)
BATCH = 256  # vectors
LEARNING_RATE = 1e-3  # Adam
HELD_OUT = 0.1  # share of the vectors that the released code keeps from training


def build_network(n_inputs: int, generator: torch.Generator) -> nn.Sequential:
    """Linear layers with batch normalisation and ReLU between them. Shape: (n_vectors, n_inputs) -> (n_vectors, n_inputs)."""
    layers = []
    for n_in, n_out in pairwise((n_inputs, *HIDDEN, n_inputs)):
        linear = nn.utils.skip_init(nn.Linear, n_in, n_out)
        for parameter in linear.parameters():  # torch's default, drawn from `generator`, not from the global state
            parameter.data.uniform_(-(n_in**-0.5), n_in**-0.5, generator=generator)
        layers += [linear, nn.BatchNorm1d(n_out, momentum=0.01, eps=1e-3), nn.ReLU()]
    return nn.Sequential(*layers[:-2])  # the output is a bare linear layer


def stack_frames(frames: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Vectors, earliest frame first. Shape: (n_frames, n_mels), (n_vectors,) first frames -> (n_vectors, STACK * n_mels)."""
    return frames[starts[:, None] + torch.arange(STACK)].flatten(1)


@dataclass(frozen=True)
class Autoencoder:
    """A fitted baseline of one machine."""

    network: nn.Sequential  # in evaluation mode
    precisions: torch.Tensor  # (n_domains, n_mels, n_mels) inverse covariances of the residuals of each domain, float64

    @torch.no_grad()
    def score(self, logmel: torch.Tensor) -> tuple[float, float]:
        """Mean squared residual (dB^2) and squared Mahalanobis norm of one clip, (n_mels, `STACK` or more frames).

        The norm is the smaller of the domains', of the clip's *mean* residual over all of its frames. The paper averages a
        distance per frame; the released code averages a frames x frames matrix of inner products: the norm of the mean.
        """
        frames = logmel.T
        vectors = stack_frames(frames, torch.arange(len(frames) - STACK + 1))
        residual = vectors - self.network(vectors)
        mean = residual.reshape(-1, frames.shape[1]).mean(0).double()
        return residual.square().mean().item(), (mean @ self.precisions @ mean).min().item()


def fit(logmels: Sequence[torch.Tensor], domains: Sequence[str], seed: int, epochs: int = 100) -> Autoencoder:
    """Train on the normal clips of one machine, each (n_mels, n_frames), with a domain each: "source" or "target".

    Without target clips (or without source clips) there is one covariance. The global random state is neither read nor changed.
    """
    generator = torch.Generator().manual_seed(seed)
    frames = torch.cat([logmel.T for logmel in logmels])
    n_vectors, n_before = [logmel.shape[1] - STACK + 1 for logmel in logmels], np.cumsum([0, *(x.shape[1] for x in logmels)])
    starts = torch.cat([torch.arange(first, first + n) for first, n in zip(n_before, n_vectors)])  # no vector spans two clips
    is_target = torch.from_numpy(np.repeat([domain == "target" for domain in domains], n_vectors))
    trained = torch.randperm(len(starts), generator=generator)[: int((1 - HELD_OUT) * len(starts))]
    starts, is_target = starts[trained], is_target[trained]
    network = build_network(STACK * frames.shape[1], generator)
    _train(network, frames, starts, generator, epochs)
    return Autoencoder(network, _precisions(network, frames, starts, is_target, generator))


def _batches(n: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Random indices in batches; a last batch of one is dropped, since it has no batch statistics."""
    return (batch for batch in torch.randperm(n, generator=generator).split(BATCH) if len(batch) > 1)


def _train(network, frames, starts, generator, epochs: int) -> None:
    """Adam on the mean squared residual."""
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    network.train()
    for batch in (batch for _ in range(epochs) for batch in _batches(len(starts), generator)):
        vectors = stack_frames(frames, starts[batch])
        optimizer.zero_grad()
        (vectors - network(vectors)).square().mean().backward()
        optimizer.step()
    network.eval()


@torch.no_grad()
def _precisions(network, frames, starts, is_target, generator) -> torch.Tensor:
    """Inverse covariance of the residual frames of each domain present, (n_domains, n_mels, n_mels) float64.

    As released: residual frames are centred per batch, not over all, and their scatter is divided by the number of *vectors*,
    which makes the norms `STACK` times smaller. The pseudo-inverse is finite even where there are too few frames (seconds).
    """
    n_mels = frames.shape[1]
    scatter = torch.zeros(2, n_mels, n_mels, dtype=torch.float64)
    for batch in _batches(len(starts), generator):
        vectors = stack_frames(frames, starts[batch])
        residual = (vectors - network(vectors)).double()
        for domain in (0, 1):
            rows = residual[is_target[batch] == bool(domain)].reshape(-1, n_mels)
            if len(rows):
                rows = rows - rows.mean(0)
                scatter[domain] += rows.T @ rows
    counts = torch.stack([(~is_target).sum(), is_target.sum()])
    present = counts > 0
    covariance = scatter[present] / (counts[present] - 1).clamp(min=1)[:, None, None]
    return torch.linalg.pinv(covariance, hermitian=True)
