"""Figures of scores and metrics.

Legend
------
results : the rows of ``results.csv`` as a pandas DataFrame, metrics as fractions in [0, 1]; machine ``all`` is the
    official Omega over the machines. scores : (n_clips,), higher = more anomalous. labels : (n_clips,), 1 = anomaly.
domains : (n_clips,), "source" or "target".
"""

from __future__ import annotations

from itertools import cycle, islice

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from asdkit.figures.style import BLACK, GREY, HIGHLIGHT, LINES, SKY, STYLE, VERMILLION, YELLOW


@mpl.rc_context(STYLE)
def omega_bars(results) -> Figure:
    """Omega of each system on each machine: mean over seeds, each seed, and the 95 % interval.

    Parameters
    ----------
    results : DataFrame
        Columns ``machine, system, seed, omega, omega_lo, omega_hi``, fractions. Systems are drawn from top to bottom
        in the order of their first row. The interval drawn is the mean of the seeds' bounds, if there are any.

    Returns
    -------
    Figure
        A panel for each machine, ``all`` last.
    """
    rows = results.dropna(subset="omega")
    if rows.empty:
        raise ValueError("omega_bars: found no row with a value in column omega; expected a labelled machine")
    systems = list(rows["system"].unique())
    machines = sorted(rows["machine"].unique(), key=lambda name: (name == "all", name))
    depth = -(-len(machines) // 4)
    columns = -(-len(machines) // depth)
    size = (1.6 + 1.9 * columns, 0.5 + depth * (0.65 + 0.21 * len(systems)))
    fig = Figure(figsize=size, layout="constrained")
    axes = fig.subplots(depth, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, machine in zip(axes, machines):
        _dots(ax, rows[rows["machine"] == machine], systems)
        ax.set_title("all machines" if machine == "all" else machine, weight="bold" if machine == "all" else None)
    axes[0].set_yticks(range(len(systems)), systems)
    axes[0].set_ylim(len(systems) - 0.5, -0.5)
    for ax in axes[len(machines) :]:
        ax.set_axis_off()
    for ax in axes[max(0, len(machines) - columns) : len(machines)]:
        ax.tick_params(labelbottom=True)
    seeds = "; small dots: each seed" if rows["seed"].nunique() > 1 else ""
    fig.supxlabel(f"Omega (x100); bar: 95 % interval; dashed: chance{seeds}", fontsize=9)
    return fig


def _dots(ax, rows, systems) -> None:
    ax.axvline(50, color=GREY, linestyle="--", linewidth=0.9)
    ax.grid(axis="x")
    ax.tick_params(axis="y", length=0)
    for system, of_system in rows.groupby("system", sort=False):
        y, colour = systems.index(system), HIGHLIGHT.get(system, GREY)
        seeds = 100 * of_system["omega"]
        mean, lo, hi = (100 * of_system[c].mean() for c in ("omega", "omega_lo", "omega_hi"))
        if len(seeds) > 1:
            ax.plot(seeds, [y + 0.3] * len(seeds), "o", color=colour, alpha=0.6, markersize=2.5, markeredgewidth=0)
        ax.plot([lo, hi], [y, y], color=colour, linewidth=1.2, solid_capstyle="butt")
        ax.plot(mean, y, "D" if system in HIGHLIGHT else "o", color=colour, markersize=5)


@mpl.rc_context(STYLE)
def score_histograms(scores, labels, domains, threshold=None, title="") -> Figure:
    """Scores of normal and anomalous test clips, a panel for each domain, with the decision threshold.

    Parameters
    ----------
    scores, labels, domains : array_like, (n_clips,)
    threshold : float, optional
        In units of the score; clips above it are called anomalous.
    title : str

    Returns
    -------
    Figure
    """
    scores, labels, domains = _clips(scores, labels, domains)
    bins = np.histogram_bin_edges(scores if threshold is None else np.append(scores, threshold), bins=30)
    fig = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = fig.subplots(2, 1, sharex=True, sharey=True)
    for ax, domain in zip(axes, ("source", "target")):
        here = domains == domain
        ax.hist(scores[here & (labels == 0)], bins, color=SKY, label="normal")
        kwargs = {"histtype": "step", "hatch": "////", "linewidth": 1.3, "edgecolor": VERMILLION}
        ax.hist(scores[here & (labels == 1)], bins, label="anomaly", facecolor="none", fill=True, **kwargs)
        if threshold is not None:
            ax.axvline(threshold, color=BLACK, linestyle="--", linewidth=1.2, label="threshold")
        ax.set_ylabel(f"{domain}\nclips")
        ax.yaxis.get_major_locator().set_params(integer=True)
    axes[-1].set_xlabel("anomaly score")
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside right upper")
    fig.suptitle(title, fontsize=10)
    return fig


@mpl.rc_context(STYLE)
def roc(scores, labels, domains, max_fpr=0.1) -> Figure:
    """ROC curves behind the three parts of the official metric.

    Parameters
    ----------
    scores : dict of str to array_like, (n_clips,)
        System -> scores.
    labels, domains : array_like, (n_clips,)
    max_fpr : float
        Upper end of the false positive rates that pAUC is computed over, shaded.

    Returns
    -------
    Figure
        Three panels: source normals, target normals (each against the anomalies of both domains), all clips.
    """
    fig = Figure(figsize=(8.2, 3.7), layout="constrained")
    axes = fig.subplots(1, 3, sharex=True, sharey=True)
    for ax, part in zip(axes, ("source", "target", "all")):
        for (system, values), (line, colour) in zip(scores.items(), _line_styles(len(scores))):
            _roc_curve(ax, *_clips(values, labels, domains), part, label=system, linestyle=line, color=colour)
        ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        ax.set_aspect("equal")
        ax.grid()
        ax.set_title("all clips" if part == "all" else f"{part} normals, all anomalies")
    axes[-1].axvspan(0, max_fpr, color=YELLOW, alpha=0.45, linewidth=0)
    axes[-1].text(max_fpr + 0.02, 0.02, f"pAUC: up to {max_fpr:g}", color=GREY)
    ticks = {"ticks": [0, 0.25, 0.5, 0.75, 1], "labels": ["0", "0.25", "0.5", "0.75", "1"]}
    axes[0].set(ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
    axes[0].set_xticks(**ticks)
    axes[0].set_yticks(**ticks)
    axes[1].set_xlabel("false positive rate")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(scores), 4))
    return fig


def _line_styles(n):
    """The first `n` pairs (line style, colour); neighbours differ in both, so that a grey print tells them apart."""
    return list(islice(zip(cycle(("-", "--", "-.", ":")), cycle(LINES)), n))


def _roc_curve(ax, scores, labels, domains, part, **kwargs) -> None:
    from sklearn.metrics import roc_curve

    keep = (labels == 1) | (domains == part) | (part == "all")
    if len(np.unique(labels[keep])) == 2:  # a domain without normals has no curve
        false_positive, true_positive, _ = roc_curve(labels[keep], scores[keep])
        ax.plot(false_positive, true_positive, **kwargs)


def _clips(scores, labels, domains):
    scores, labels, domains = np.asarray(scores, dtype=float), np.asarray(labels), np.asarray(domains)
    if not scores.shape == labels.shape == domains.shape or scores.ndim != 1:
        found = f"{scores.shape}, {labels.shape}, {domains.shape}"
        raise ValueError(f"scores, labels, domains: found shapes {found}; expected one shape (n_clips,)")
    return scores, labels, domains
