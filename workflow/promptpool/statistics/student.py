"""Student's t distribution, as scipy.stats computes it.

scipy.stats takes longer to import than pandas. Every table and every figure has an interval, and each is a process of
its own, so this uses the functions of scipy.special that scipy.stats.t rests on.
"""

import numpy as np
from scipy.special import ndtri, stdtr, stdtridf, stdtrit


def quantile(share: float, freedom: float) -> float:
    """The value below which this share of the distribution lies. share: in (0, 1); freedom: above 0, may be inf."""
    return float(ndtri(share) if np.isinf(freedom) else stdtrit(freedom, share))


def freedom_of(share: float, value: float) -> float:
    """The degrees of freedom with which this share of the distribution lies below `value`."""
    return float(stdtridf(share, value))


def two_sided(size: np.ndarray | float, freedom: float) -> np.ndarray:
    """How often the distribution lies further from 0 than `size`: a two-sided test's p, in the shape of `size`.

    NaN where size is NaN, and everywhere if there is no degree of freedom.
    """
    return 2 * stdtr(freedom, -np.abs(size))


def normal_quantile(share: float) -> float:
    """The value below which this share of the standard normal distribution lies."""
    return float(ndtri(share))
