"""Linear probes, and how they go from one model to another: as covectors, against the way that vectors go.

A vector v of the source is carried by a map A of states, source to target: A v. A probe w reads states, w h.
In the target it must read a target's state as w reads the source's, so it wants a map B the other way: with
B y + c the source state that goes with y, the probe is w (B y + c) + b, its weight B^T w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.mappings.base import LinearMapping
from lrt_bench.steering.concepts import ConceptStates

LEAST = 4  # texts on either side: two folds of two
PENALTIES = np.logspace(-4, 2, 7)  # inverse strengths that cross-validation chooses from
FOLDS = 5


@dataclass(frozen=True)
class Probe:
    """A linear probe of one site: a state h [..., d] scores weight h + bias; above 0 is the positive side.

    Raises ValueError where the weight is no vector.
    """

    weight: Tensor
    bias: float

    def __post_init__(self) -> None:
        if self.weight.ndim != 1:
            raise ValueError(f"weight {tuple(self.weight.shape)}: want [d]")

    def __call__(self, states: Tensor) -> Tensor:
        """States [..., d] to scores [...], float64."""
        return states.double() @ self.weight.double() + self.bias

    def carried(self, back: LinearMapping) -> Probe:
        """Return the probe of the site that `back` maps from: it reads states as this one reads their images.

        back : from the other site's states to this one's, as `fit(Pair(target, source))` gives it.

        Raises UserError where its images have another width than the probe.
        """
        if len(back.weight) != len(self.weight):
            raise UserError(
                f"probe: of width {len(self.weight)}, and the map gives states of width {len(back.weight)}: "
                "fit a map from the target to the source"
            )
        weight = self.weight.double()
        return Probe(back.weight.T.cpu() @ weight, float(weight @ back.bias.cpu()) + self.bias)


def fit_probe(states: ConceptStates, seed: int = 0) -> Probe:
    """Fit a probe to a concept's states at one site: logistic regression on standardised states.

    The l2 penalty is chosen by cross-validation of the log-likelihood.

    seed : deals the texts to folds.

    Raises UserError where a side has fewer than `LEAST` texts.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    fewest = min(len(states.positive), len(states.negative))
    if fewest < LEAST:
        raise UserError(f"probe: {fewest} texts on a side: give {LEAST} or more")
    x = torch.cat([states.positive, states.negative]).double().numpy()
    y = np.repeat([1, 0], [len(states.positive), len(states.negative)])
    mean, width = x.mean(0), x.std(0)
    width = np.where(width > 0, width, 1.0)
    folds = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    standard = (x - mean) / width
    models = [LogisticRegression(C=penalty, max_iter=2000) for penalty in PENALTIES]
    likelihoods = [
        cross_val_score(one, standard, y, cv=folds, scoring="neg_log_loss").mean() for one in models
    ]
    model = models[int(np.argmax(likelihoods))].fit(standard, y)
    weight = model.coef_[0] / width
    return Probe(torch.from_numpy(weight), float(model.intercept_[0] - weight @ mean))


def auroc(probe: Probe, states: ConceptStates) -> float:
    """Area under the ROC curve: how often a positive text scores above a negative one; a tie is half."""
    from sklearn.metrics import roc_auc_score

    scores = torch.cat([probe(states.positive), probe(states.negative)]).numpy()
    labels = np.repeat([1, 0], [len(states.positive), len(states.negative)])
    return float(roc_auc_score(labels, scores))


def balanced_accuracy(probe: Probe, states: ConceptStates) -> float:
    """Mean of the shares of positive texts above 0 and of negative ones below: the threshold counts."""
    right = (probe(states.positive) > 0).double().mean(), (probe(states.negative) < 0).double().mean()
    return float(sum(right) / 2)
