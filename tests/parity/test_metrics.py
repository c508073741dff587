"""The figures of an evaluation against scikit-learn: accuracy, F1, confusion, log loss, Brier score, calibration."""
import json
import os
import pathlib
import subprocess

import numpy
import pytest
from sklearn import calibration, metrics

BUILD = pathlib.Path(os.environ["ENGRAM_BUILD"])
BINS = 15


def measure(logits: numpy.ndarray, labels: numpy.ndarray) -> dict:
    answer = subprocess.run([BUILD / "bin" / "parity_metrics"], input=json.dumps({"logits": logits.tolist(), "labels": labels.tolist()}),
                            capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


# (texts, classes, scale of the logits, how far the labels agree with them): over- and underconfident, few and many classes, some never seen.
@pytest.mark.parametrize("count,classes,scale,agreement", [(1000, 2, 1.0, 1.0), (500, 14, 3.0, 0.7), (300, 77, 0.5, 0.9), (40, 50, 4.0, 0.2), (1, 3, 1.0, 1.0)])
def test_against_scikit_learn(count, classes, scale, agreement):
    rng = numpy.random.default_rng(count)
    logits = (scale * rng.standard_normal((count, classes))).astype(numpy.float32)
    labels = numpy.where(rng.random(count) < agreement, logits.argmax(1), rng.integers(0, classes, count))
    got = measure(logits, labels)

    shifted = numpy.exp(logits.astype(numpy.float64) - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    predicted, every = probabilities.argmax(1), list(range(classes))
    assert got["count"] == count
    assert got["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted), abs=1e-12)
    assert got["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro", zero_division=0), abs=1e-12)
    by_class = metrics.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    assert numpy.allclose(numpy.array(got["classes"]), numpy.array(by_class).T, atol=1e-12)
    assert numpy.array_equal(numpy.array(got["confusion"]).reshape(classes, classes), metrics.confusion_matrix(labels, predicted, labels=every))
    assert got["negative_log_likelihood"] == pytest.approx(metrics.log_loss(labels, probabilities, labels=every), abs=1e-9)
    assert got["brier"] == pytest.approx(metrics.brier_score_loss(labels, probabilities, labels=every, scale_by_half=False), abs=1e-9)

    # Guo et al.: the gap between confidence and accuracy in each bin of the highest probability, weighted by the bin's share of the texts.
    confidence, right = probabilities.max(1), predicted == labels
    accuracy_of_bin, confidence_of_bin = calibration.calibration_curve(right, confidence, n_bins=BINS, strategy="uniform")
    sizes = numpy.histogram(confidence, bins=numpy.linspace(0, 1, BINS + 1))[0]
    error = numpy.abs(accuracy_of_bin - confidence_of_bin) @ sizes[sizes > 0] / count
    assert got["expected_calibration_error"] == pytest.approx(error, abs=1e-9)
    if count >= 300:
        assert error > 0.01  # the case has something to measure
