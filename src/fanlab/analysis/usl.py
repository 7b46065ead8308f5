"""The Universal Scalability Law (Gunther 2007): X(N) = λN / (1 + s(N − 1) + κN(N − 1)), fitted with s, κ ≥ 0. Pure.

λ is what one node does, s the share of work that waits its turn (contention, Gunther's sigma), κ what nodes tell each
other for every pair of them (crosstalk). With u = 1/λ, a = s/λ and b = κ/λ

    N / X(N) = u + a (N − 1) + b N (N − 1)

is linear in all three, so that the best fit is found at once, whatever one starts from. Deviations count as shares of
what they deviate from, for a throughput is measured to some per cent. The band is of the fit's own uncertainty: a
bootstrap of the runs' deviations from the law. Three runs lie on a law of three parameters, whatever noise is in them,
and have no deviations to tell it by: it takes more, or throughputs that come with an uncertainty of their own. Then the
larger of the two decides: what they say of themselves, or how far they lie from the law (Birge, Phys. Rev. 40, 1932).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fanlab.seed import rng

Floats = NDArray[np.float64]

RESAMPLES: Final = 1000
FAR: Final = 2.0  # past so many times the measured range a forecast is a guess
_PARAMETERS: Final = 3
_NORMAL_95: Final = 1.96  # standard deviations to either side of 95 %
_LEAST: Final = 0.05  # of what was fitted: a throughput is above 0


@dataclass(frozen=True, slots=True)
class Law:
    """The three parameters. `per_s` is of one node alone."""

    per_s: float
    contention: float
    crosstalk: float

    def __call__(self, nodes: float) -> float:
        """The throughput of so many nodes, in the unit that it was fitted in."""
        return nodes * self.per_s / (1 + self.contention * (nodes - 1) + self.crosstalk * nodes * (nodes - 1))

    @property
    def peak(self) -> float | None:
        """Past so many nodes it goes down; None: it never does."""
        if not self.crosstalk:
            return None
        return float(np.sqrt(max(0.0, 1 - self.contention) / self.crosstalk))


@dataclass(frozen=True, slots=True)
class Band:
    """A forecast with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The law of some runs, and those of their resamples. `measured` is the most nodes that any run had."""

    law: Law
    resampled: tuple[Law, ...]
    measured: int

    def at(self, nodes: float) -> Band:
        """What so many nodes are forecast to do."""
        low, high = np.percentile([law(nodes) for law in self.resampled], (2.5, 97.5))
        value = self.law(nodes)
        return Band(value, min(value, float(low)), max(value, float(high)))

    def far(self, nodes: float) -> bool:
        """Whether that is too far from what was measured to be told as a number."""
        return nodes > FAR * self.measured

    @property
    def peak(self) -> Band | None:
        """Past how many nodes it goes down; None unless the interval of the crosstalk excludes 0."""
        crosstalk = np.percentile([law.crosstalk for law in self.resampled], 2.5)
        if crosstalk <= 0 or self.law.peak is None:
            return None
        peaks = [law.peak for law in self.resampled if law.peak is not None]
        low, high = np.percentile(peaks, (2.5, 97.5))
        return Band(self.law.peak, min(self.law.peak, float(low)), max(self.law.peak, float(high)))


def fit(
    nodes: Sequence[int], throughput: Sequence[float], *, sure: Sequence[float] | None = None, seed: int = 1
) -> Fit:
    """The law of runs with so many nodes each, and what each did.

    `sure` is the standard error of each throughput, as a share of it, where that is known. Raises ValueError for fewer
    than three numbers of nodes, no more than three runs without `sure`, or what is no throughput.
    """
    n, x = np.array(nodes, np.float64), np.array(throughput, np.float64)
    if n.shape != x.shape or (n < 1).any() or not (np.isfinite(x) & (x > 0)).all():
        raise ValueError("each run has a number of nodes from 1 on, and a throughput above 0")
    if len(np.unique(n)) < _PARAMETERS:
        raise ValueError(f"the law has {_PARAMETERS} parameters: give runs with as many numbers of nodes")
    errors = None if sure is None else np.array(sure, np.float64)
    if errors is not None and (errors.shape != n.shape or not (np.isfinite(errors) & (errors > 0)).all()):
        raise ValueError("each run has one standard error, above 0")
    if errors is None and len(n) <= _PARAMETERS:
        raise ValueError(f"{len(n)} runs fit {_PARAMETERS} parameters whatever is in them: give one more at least")
    law = law_of(n, x)
    random = np.random.default_rng(rng(seed, "usl").getrandbits(128))
    fitted = np.array([law(count) for count in nodes])
    shares = _deviations(x, fitted, random) if errors is None else _errors(x, fitted, errors, random)
    return Fit(law, tuple(_laws(n, fitted * np.maximum(_LEAST, 1 + shares))), int(n.max()))


def held_out(
    nodes: Sequence[int], throughput: Sequence[float], *, sure: Sequence[float] | None = None, seed: int = 1
) -> tuple[Band, float]:
    """What the runs but those of the most nodes foretell of these, and their mean: the fit's own test.

    Raises ValueError where too few are left.
    """
    most = max(nodes)
    kept = [at for at, count in enumerate(nodes) if count < most]
    if not kept:
        raise ValueError("all runs have one number of nodes: there is nothing to foretell from")
    errors = None if sure is None else [sure[at] for at in kept]
    band = fit([nodes[at] for at in kept], [throughput[at] for at in kept], sure=errors, seed=seed).at(most)
    truth = [value for count, value in zip(nodes, throughput, strict=True) if count == most]
    return band, sum(truth) / len(truth)


def law_of(nodes: Floats, throughput: Floats) -> Law:
    """The nearest law with neither contention nor crosstalk below 0."""
    return _laws(nodes, throughput[None, :])[0]


def _laws(nodes: Floats, throughput: Floats) -> list[Law]:
    """The nearest law for each row of throughputs (rows × runs): the best of the choices of what is 0 that keep to it.

    By the normal equations of all rows at once; a run's deviation counts as a share, which is its row's weight.
    """
    columns = np.column_stack([np.ones(len(nodes)), nodes - 1, nodes * (nodes - 1)])
    weight = throughput / nodes
    squares = np.einsum("rk,ki,kj->rij", weight**2, columns, columns)
    sides = weight @ columns
    best, error = np.zeros((len(throughput), _PARAMETERS)), np.full(len(throughput), np.inf)
    for chosen in ([0], [0, 1], [0, 2], [0, 1, 2]):
        part = np.linalg.solve(squares[:, chosen][:, :, chosen], sides[:, chosen, None])[:, :, 0]
        left = np.sum(((part @ columns[:, chosen].T) * weight - 1) ** 2, axis=1)
        better = (part[:, 0] > 0) & (part[:, 1:] >= 0).all(axis=1) & (left < error)
        best[np.ix_(better, range(_PARAMETERS))] = 0.0
        best[np.ix_(better, chosen)] = part[better]
        error[better] = left[better]
    return [Law(1 / u, a / u, b / u) for u, a, b in best.tolist()]


def _deviations(throughput: Floats, fitted: Floats, random: np.random.Generator) -> Floats:
    """How far from the law the runs might as well have been, as shares: their own deviations, drawn anew.

    With few runs of each number of nodes, drawing the runs themselves would hardly change anything. Deviations are made
    larger by what the fit has taken from them, and by Student's factor.
    """
    freedom = len(fitted) - _PARAMETERS
    shares = (throughput / fitted - 1) * np.sqrt(len(fitted) / freedom) * _student(freedom)
    size = (RESAMPLES, len(fitted))
    drawn: Floats = random.choice(shares, size) * random.choice((-1, 1), size)
    return drawn


def _errors(throughput: Floats, fitted: Floats, errors: Floats, random: np.random.Generator) -> Floats:
    """The same from the runs' standard errors, larger by Birge's ratio where they lie further off than that."""
    freedom = len(fitted) - _PARAMETERS
    birge = 1.0
    if freedom:
        ratio = float(np.sqrt(np.sum(((throughput / fitted - 1) / errors) ** 2) / freedom))
        birge = ratio * _student(freedom) if ratio > 1 else 1.0
    return random.normal(size=(RESAMPLES, len(fitted))) * errors * birge


def _student(freedom: int) -> float:
    """By how much wider than a normal distribution Student's is, at 95 % (its first term, Fisher 1926)."""
    return 1 + (_NORMAL_95**2 + 1) / (4 * freedom)
