"""The official DCASE Task 2 baseline: a dense autoencoder of stacked log-mel frames, for comparison.

Harada et al., First-shot anomaly sound detection for machine condition monitoring: a domain generalization baseline,
EUSIPCO 2023 (arXiv 2303.00455). Where the paper and the released code differ, this follows the code.

Legend
------
logmel : (n_mels, n_frames) of the near channel, dB.
vector : `STACK` neighbouring frames in one row, n_mels * STACK values.
residual : (n_vectors, n_mels * STACK), input minus reconstruction, dB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

STACK = 5  # frames in a vector
HIDDEN = (128, 128, 128, 128, 8, 128, 128, 128, 128)
BATCH = 256  # vectors
LEARNING_RATE = 1e-3  # Adam
HELD_OUT = 0.1  # share of the vectors that the released code keeps from training
DOMAINS = ("source", "target")


def build_network(n_inputs: int, generator: torch.Generator) -> nn.Sequential:
    """Encoder and decoder: linear layers with batch normalisation and ReLU between them.

    Shape: (n_vectors, n_inputs) -> (n_vectors, n_inputs).
    """
    layers = []
    for n_in, n_out in pairwise((n_inputs, *HIDDEN, n_inputs)):
        layers += [_linear(n_in, n_out, generator), nn.BatchNorm1d(n_out, momentum=0.01, eps=1e-3), nn.ReLU()]
    return nn.Sequential(*layers[:-2])  # the output is a bare linear layer


def _linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's default initial distribution, drawn from `generator` instead of the global state."""
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-(n_in**-0.5), n_in**-0.5, generator=generator)
    return layer


def stack_frames(frames: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """Vectors that begin at the given frames.

    Shape: (n_frames, n_mels), (n_vectors,) -> (n_vectors, STACK * n_mels), the earliest frame first.
    """
    return frames[starts[:, None] + torch.arange(STACK, device=starts.device)].flatten(1)


@dataclass(frozen=True)
class Autoencoder:
    """A fitted baseline of one machine.

    Attributes
    ----------
    network : nn.Sequential
        In evaluation mode.
    precisions : (n_domains, n_mels, n_mels) float64, on the CPU
        Inverse covariances of the training residuals, one for each domain that the training clips had.
    losses : list of float
        Mean squared error of each epoch, dB^2.
    """

    network: nn.Sequential
    precisions: torch.Tensor
    losses: list[float]

    @torch.no_grad()
    def score(self, logmel: torch.Tensor) -> tuple[float, float]:
        """Both anomaly scores of one clip.

        Parameters
        ----------
        logmel : (n_mels, n_frames)
            At least `STACK` frames.

        Returns
        -------
        mse : float
            Mean squared residual, dB^2.
        mahalanobis : float
            The smaller of the domains' squared Mahalanobis norms of the clip's *mean* residual over all of its frames.
            The paper averages a distance per frame; the released code averages a frames x frames matrix of inner
            products, and that is the norm of the mean.

        Raises
        ------
        ValueError
            A spectrogram with other bands than those of training, or of too few frames.
        """
        frames = _checked(logmel, self.precisions.shape[-1]).T.to(self.network[0].weight.device)
        vectors = stack_frames(frames, torch.arange(len(frames) - STACK + 1, device=frames.device))
        residual = _residual(self.network, vectors)
        mean = residual.reshape(-1, frames.shape[1]).mean(0).cpu().double()
        return residual.square().mean().item(), (mean @ self.precisions @ mean).min().item()


def fit(
    logmels: Sequence[torch.Tensor],
    domains: Sequence[str],
    seed: int,
    epochs: int = 100,
    progress: bool = True,
    device: str | torch.device = "cpu",
) -> Autoencoder:
    """Train on the normal clips of one machine, source and target together.

    Vectors are cut from the frames batch by batch, so that memory stays at the size of the spectrograms.

    Parameters
    ----------
    logmels : list of (n_mels, n_frames) tensor
        Near channel, 128 bands, 1024 / 512 samples; clips may differ in length.
    domains : list of str
        "source" or "target", one per clip. Without target clips (or without source clips) there is one covariance.
    seed : int
        Of initial weights, held-out vectors and batches. The global random state is neither read nor changed.
    epochs : int
    progress : bool
        Show a progress bar.
    device : str or torch.device

    Raises
    ------
    ValueError
        No clips, other domains, unequal numbers of clips and domains, clips of different bands or of fewer than `STACK`
        frames, or fewer than three vectors.
    """
    _check_training(logmels, domains)
    generator = torch.Generator().manual_seed(seed)
    frames = torch.cat([logmel.T for logmel in logmels]).to(device)
    starts, is_target = _index_vectors(logmels, domains)
    trained = torch.randperm(len(starts), generator=generator)[: int((1 - HELD_OUT) * len(starts))]
    starts, is_target = starts[trained], is_target[trained]
    network = build_network(STACK * frames.shape[1], generator).to(device)
    losses = _train(network, frames, starts, generator, epochs, progress)
    return Autoencoder(network, _precisions(network, frames, starts, is_target, generator), losses)


def _check_training(logmels, domains) -> None:
    if not len(logmels) or len(logmels) != len(domains):
        raise ValueError(f"found {len(logmels)} spectrograms and {len(domains)} domains; expected one domain per clip")
    if other := set(domains) - set(DOMAINS):
        raise ValueError(f"found domain {', '.join(sorted(map(str, other)))}; expected source or target")
    for logmel in logmels:
        _checked(logmel, logmels[0].shape[0])


def _checked(logmel: torch.Tensor, n_mels: int) -> torch.Tensor:
    if logmel.ndim != 2 or logmel.shape[0] != n_mels or logmel.shape[1] < STACK:
        raise ValueError(f"found a spectrogram of shape {tuple(logmel.shape)}; expected ({n_mels}, {STACK} or more)")
    return logmel


def _index_vectors(logmels, domains) -> tuple[torch.Tensor, torch.Tensor]:
    """First frame of every vector in the concatenated clips (none spans two clips), and whether it is a target's."""
    starts, is_target, first = [], [], 0
    for logmel, domain in zip(logmels, domains):
        n_vectors = logmel.shape[1] - STACK + 1
        starts.append(torch.arange(first, first + n_vectors))
        is_target.append(torch.full((n_vectors,), domain == "target"))
        first += logmel.shape[1]
    if (n := sum(map(len, starts))) < 3:
        raise ValueError(f"found {n} vectors of {STACK} frames; expected at least 3")
    return torch.cat(starts), torch.cat(is_target)


def _batches(n: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Random indices in batches; a last batch of one is dropped, since it has no batch statistics."""
    return (batch for batch in torch.randperm(n, generator=generator).split(BATCH) if len(batch) > 1)


def _residual(network: nn.Sequential, vectors: torch.Tensor) -> torch.Tensor:
    return vectors - network(vectors)


def _train(network, frames, starts, generator, epochs: int, progress: bool) -> list[float]:
    """Adam on the mean squared residual; returns the mean over batches of each epoch."""
    from tqdm.auto import tqdm

    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    network.train()
    losses = []
    bar = tqdm(range(epochs), desc="autoencoder", unit="epoch", disable=not progress)
    for _ in bar:
        batch_losses = [
            _step(network, optimizer, stack_frames(frames, starts[batch].to(frames.device)))
            for batch in _batches(len(starts), generator)
        ]
        losses.append(torch.stack(batch_losses).mean().item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}")
    network.eval()
    return losses


def _step(network, optimizer, vectors: torch.Tensor) -> torch.Tensor:
    loss = _residual(network, vectors).square().mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def _precisions(network, frames, starts, is_target, generator) -> torch.Tensor:
    """Inverse covariance of the residual frames of each domain present, (n_domains, n_mels, n_mels) float64.

    As released: residual frames are centred per batch, not over all, and their scatter is divided by the number of
    *vectors*, which makes the norms `STACK` times smaller. The inverse is a pseudo-inverse: the same where the
    covariance has full rank, which takes a few times `n_mels` frames (some seconds), and finite where it has not.
    """
    n_mels = frames.shape[1]
    scatter = torch.zeros(2, n_mels, n_mels, dtype=torch.float64)  # on the CPU: not every device has float64
    for batch in _batches(len(starts), generator):
        residual = _residual(network, stack_frames(frames, starts[batch].to(frames.device))).cpu().double()
        for domain in (0, 1):
            rows = residual[is_target[batch] == bool(domain)].reshape(-1, n_mels)
            if len(rows):
                rows = rows - rows.mean(0)
                scatter[domain] += rows.T @ rows
    counts = torch.stack([(~is_target).sum(), is_target.sum()])
    present = counts > 0
    covariance = scatter[present] / (counts[present] - 1).clamp(min=1)[:, None, None]
    return torch.linalg.pinv(covariance, hermitian=True)
