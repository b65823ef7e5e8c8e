"""Student's t without scipy.stats: the same numbers, and no import of it."""

import subprocess
import sys

import numpy as np
import pytest
from promptpool.statistics.student import freedom_of, normal_quantile, quantile, two_sided
from scipy import stats


@pytest.mark.parametrize("freedom", [1, 1.7, 9, 40.5, 1e6, np.inf])
def test_the_numbers_are_those_of_scipy_stats(freedom):
    for share in (0.001, 0.5, 0.8, 0.975):
        assert quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-14)
        assert normal_quantile(share) == stats.norm.ppf(share)
    sizes = np.array([0.0, 0.3, -2.0, 7.5, np.inf])
    assert np.array_equal(two_sided(sizes, freedom), 2 * stats.t.sf(np.abs(sizes), freedom))
    assert np.isnan(two_sided(np.nan, freedom))


@pytest.mark.parametrize("freedom", [1, 1.7, 9, 199])
def test_the_degrees_of_freedom_of_a_critical_value(freedom):
    assert freedom_of(0.975, stats.t.ppf(0.975, freedom)) == pytest.approx(freedom, rel=1e-6)


def test_no_degrees_of_freedom_are_no_number():
    assert np.isnan(quantile(0.975, 0)) and np.isnan(two_sided(1.0, 0))


@pytest.mark.parametrize("stage", ["analysis.compare_ablation", "analysis.summarise_scores", "figures.scores"])
def test_tables_and_figures_do_not_import_scipy_stats(stage):
    look = f"import sys, promptpool.{stage}; print('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "False\n"
