"""Figures of scores and metrics.

results : the rows of ``results.csv`` as a pandas DataFrame, metrics as fractions in [0, 1]; machine ``all`` is the
    official Omega over the machines. scores : (n_clips,), higher = more anomalous. labels : (n_clips,), 1 = anomaly.
domains : (n_clips,), "source" or "target".
"""

from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from asdkit.figures.style import DASH, GREY, HIGHLIGHT, LINES, SKY, VERMILLION, canvas, facets, interval_dot, name_rows, styled


@styled
def omega_bars(results) -> Figure:
    """Omega of each system on each machine, ``all`` last: mean over seeds, each seed, and the 95 % interval.

    Columns ``machine, system, seed, omega, omega_lo, omega_hi``, fractions; systems in the order of their first row, with the
    mean of the seeds' bounds. A table without a value of omega is a ValueError.
    """
    rows = results.dropna(subset="omega")
    if rows.empty:
        raise ValueError("omega_bars: found no row with a value in column omega; expected a labelled machine")
    systems = list(rows["system"].unique())
    machines = sorted(rows["machine"].unique(), key=lambda name: (name == "all", name))
    fig, axes = facets(len(machines), (1.6, 1.9), (0.5, 0.65 + 0.21 * len(systems)), sharex=True, sharey=True)
    for ax, machine in zip(axes.flat, machines):
        ax.axvline(50, color=GREY, linestyle="--", linewidth=0.9)
        ax.grid(axis="x")
        for system, of_system in rows[rows["machine"] == machine].groupby("system", sort=False):
            y, colour, seeds = systems.index(system), HIGHLIGHT.get(system, GREY), 100 * of_system["omega"]
            if len(seeds) > 1:
                ax.plot(seeds, [y + 0.3] * len(seeds), "o", color=colour, alpha=0.6, markersize=2.5, markeredgewidth=0)
            values = 100 * of_system[["omega", "omega_lo", "omega_hi"]].mean()
            interval_dot(ax, y, values, colour, "D" if system in HIGHLIGHT else "o")
        ax.set_title("all machines" if machine == "all" else machine, weight="bold" if machine == "all" else None)
    name_rows(axes, systems)
    for ax in axes.flat[: len(machines)][-axes.shape[1] :]:
        ax.tick_params(labelbottom=True)
    seeds = "; small dots: each seed" if rows["seed"].nunique() > 1 else ""
    fig.supxlabel(f"Omega (x100); bar: 95 % interval; dashed: chance{seeds}")
    return fig


@styled
def score_histograms(scores, labels, domains, threshold=None, title="") -> Figure:
    """Scores of normal and anomalous test clips, a panel for each domain, with the decision threshold.

    Clips above the `threshold` are called anomalous.
    """
    scores, labels, domains = _clips(scores, labels, domains)
    bins = np.histogram_bin_edges(scores if threshold is None else np.append(scores, threshold), bins=30)
    outline = dict(histtype="step", hatch="////", linewidth=1.3, edgecolor=VERMILLION, facecolor="none", fill=True)
    fig, axes = canvas(5.6, 3.8, 2, sharex=True, sharey=True)
    for ax, domain in zip(axes.flat, ("source", "target")):
        here = domains == domain
        ax.hist(scores[here & (labels == 0)], bins, color=SKY, label="normal")
        ax.hist(scores[here & (labels == 1)], bins, label="anomaly", **outline)
        if threshold is not None:
            ax.axvline(threshold, color="black", linestyle="--", linewidth=1.2, label="threshold")
        ax.set_ylabel(f"{domain}\nclips")
        ax.yaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("anomaly score")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside right upper")
    fig.suptitle(title)
    return fig


@styled
def roc(scores, labels, domains) -> Figure:
    """ROC curves behind the official metric: source normals, target normals (each against all anomalies), and all clips.

    `scores` are {system: (n_clips,)}; pAUC is computed over false positive rates up to 0.1, shaded.
    """
    from sklearn.metrics import roc_curve

    fig, [axes] = canvas(8.2, 3.7, 1, 3, sharex=True, sharey=True)
    for ax, normals in zip(axes, ("source", "target", "all")):
        for (system, values), line, colour in zip(scores.items(), cycle(DASH), cycle(LINES)):
            values, faulty, where = _clips(values, labels, domains)
            keep = (faulty == 1) | (where == normals) | (normals == "all")
            if len(np.unique(faulty[keep])) == 2:  # a domain without normals has no curve
                ax.plot(*roc_curve(faulty[keep], values[keep])[:2], label=system, linestyle=line, color=colour)
        ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        ax.set_aspect("equal")
        ax.grid()
        ax.set_title("all clips" if normals == "all" else f"{normals} normals, all anomalies")
    axes[-1].axvspan(0, 0.1, color=SKY, alpha=0.3, linewidth=0)
    axes[-1].text(0.12, 0.02, "pAUC: up to 0.1", color=GREY)
    ticks = [0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"]
    axes[0].set(ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
    axes[0].set_xticks(*ticks)
    axes[0].set_yticks(*ticks)
    axes[1].set_xlabel("false positive rate")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(scores), 4))
    return fig


def _clips(scores, labels, domains):
    arrays = np.asarray(scores, dtype=float), np.asarray(labels), np.asarray(domains)
    if len({x.shape for x in arrays}) > 1 or arrays[0].ndim != 1:
        shapes = ", ".join(str(x.shape) for x in arrays)
        raise ValueError(f"scores, labels, domains: found shapes {shapes}; expected one shape (n_clips,)")
    return arrays
