import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, log_loss

from digits.metrics import accuracy, calibration_error, cross_entropy, is_significantly_worse


@pytest.fixture
def answers():
    """Random probabilities, float32 (500, 10), and labels that they know a little about."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 500)
    logits = rng.normal(size=(500, 10)) + 2 * np.eye(10)[labels]
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype("float32"), labels


def test_loss_and_accuracy_are_scikit_learns(answers):
    probabilities, labels = answers
    assert cross_entropy(*answers) == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    assert accuracy(*answers) == accuracy_score(labels, probabilities.argmax(axis=1))


def test_calibration_error_is_the_mean_gap_of_scikit_learns_curve(answers):
    probabilities, labels = answers
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    observed, expected = calibration_curve(correct, confidence, n_bins=15)
    counts = np.histogram(confidence, bins=np.linspace(0, 1, 16))[0]
    gap = np.average(abs(observed - expected), weights=counts[counts > 0])
    assert calibration_error(*answers) == pytest.approx(gap, abs=1e-6)


def test_calibration_error_is_what_its_definition_says():
    probabilities = np.full((10, 10), 0.05 / 9)
    probabilities[:, 3] = 0.95  # 95 % confident, and correct in 8 of 10
    labels = np.array([3] * 8 + [4] * 2)
    assert calibration_error(probabilities, labels) == pytest.approx(0.15)
    probabilities[:5] = 0.1
    probabilities[:5, 3] = 0.1001  # 10 % confident, and always correct
    assert calibration_error(probabilities, labels) == pytest.approx((0.8999 * 5 + 0.35 * 5) / 10)


@pytest.mark.parametrize(
    ("lost", "won", "worse"),
    [(0, 0, False), (4, 0, False), (5, 0, True), (12, 5, False), (40, 5, True), (1, 30, False)],
)
def test_a_model_is_worse_where_an_exact_test_says_so(lost, won, worse):
    labels = np.zeros(100, int)
    right, wrong = np.eye(10)[[0, 1]]
    old = np.array([right] * lost + [wrong] * won + [right] * (100 - lost - won))
    new = np.array([wrong] * lost + [right] * won + [right] * (100 - lost - won))
    assert is_significantly_worse(new, old, labels) is worse
    if lost + won:
        exact = binomtest(lost, lost + won, alternative="greater").pvalue
        assert bool(exact < 0.05) is worse
