"""Where the knee lies, from yes and no at several loads: a Bayesian threshold estimate, on a grid. Pure.

A load x (a logarithm; larger is harder) is carried with probability ε + (1 − 2ε) / (1 + exp((x − knee) / scatter)). The
knee is the load that is carried in every second run; `scatter` is how much it moves from run to run; ε is the chance
that a run went astray for a reason that has nothing to do with its load. After QUEST (Watson and Pelli, Perception &
Psychophysics 33, 1983) with the scatter unknown as well (Kontsevich and Tyler, Vision Research 39, 1999). It may be
told outcomes at loads that were chosen by earlier outcomes: the likelihood does not ask why a load was tried.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LAPSE = 0.02
SCATTERS = np.geomspace(0.004, 0.25, 8)  # each as likely as the next before anything is known
_STEP = 0.006  # of the knee's grid: 0.6 %
_MARGIN = 1.25  # the knee lies within this of the loads given: five times the largest scatter


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: the logarithm of its load, larger being harder, and whether the system carried it."""

    x: float
    carried: bool


@dataclass(frozen=True, slots=True)
class Knee:
    """What is believed of the knee: its grid, and the probability of each point of it."""

    grid: Floats
    weights: Floats

    def quantile(self, share: float) -> float:
        """The point below which the knee lies with this probability."""
        below = np.cumsum(self.weights)
        return float(np.interp(share, below, self.grid))

    def interval(self, confidence: float) -> tuple[float, float]:
        """The central interval that holds the knee with this probability."""
        tail = (1 - confidence) / 2
        return self.quantile(tail), self.quantile(1 - tail)


def knee(trials: Sequence[Trial], low: float, high: float) -> Knee:
    """The belief after these trials; before them the knee may be anywhere round `low` to `high`, evenly."""
    grid = np.arange(low - _MARGIN, high + _MARGIN + _STEP, _STEP)
    log_likelihood = np.zeros((len(SCATTERS), len(grid)))
    for trial, often in Counter(trials).items():
        away = np.clip((trial.x - grid[np.newaxis, :]) / SCATTERS[:, np.newaxis], -50, 50)
        carried = LAPSE + (1 - 2 * LAPSE) / (1 + np.exp(away))
        log_likelihood += often * np.log(carried if trial.carried else 1 - carried)
    weights = np.exp(log_likelihood - log_likelihood.max()).sum(axis=0)
    return Knee(grid, weights / weights.sum())
