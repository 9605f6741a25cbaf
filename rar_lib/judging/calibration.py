"""A judge's yes-probability made to mean what it says, fitted on the val split and nowhere else.

    calibration = fit(probabilities, labels, judge=judge.identity, kind="platt")
    calibrated = replace(judge, calibration=calibration)

An extension of the paper, whose judge answers true or false. A small judge may rank criteria
well and yet say yes at the wrong place; all three kinds move log-odds along a straight line,
``calibrated = slope * log-odds + intercept``, so they change verdicts and never the ranking.
A calibration belongs to one judge (model, weights and prompt) and refuses any other.
"""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError

from rar_lib.core.errors import DataError
from rar_lib.core.prompts import template
from rar_lib.core.stats import expected_calibration_error
from rar_lib.core.types import Frozen, Unit
from rar_lib.judging.messages import SUFFIX, Wording

Kind = Literal["threshold", "temperature", "platt"]
#: Probabilities closer than this to 0 or 1 are moved here: log-odds stay finite.
_EDGE = 1e-6
_LOG_TEMPERATURE = (-math.log(50.0), math.log(50.0))
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Identity(Frozen):
    """All of a judge that can change its yes-probability.

    Attributes:
        weights: SHA-256 of the weights, or the address of an API that does not publish one.
        prompt: SHA-256 of the texts that a criterion's prompt is made of.
    """

    model: str
    weights: str
    wording: Wording
    prompt: str

    @classmethod
    def of(cls, model: str, weights: str, wording: Wording) -> Identity:
        """The identity of a model that reads the present prompts in this wording."""
        end = SUFFIX[wording]
        names = (f"judge_system{end}", f"judge_explicit{end}", "format_verdict_token")
        text = "\0".join(template(name) for name in names)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return cls(model=model, weights=weights, wording=wording, prompt=digest)

    def __str__(self) -> str:
        digest, plus, form = self.weights.partition("+")  # such as "+w8a8": other numbers
        weights = f"{digest[:12]}{plus}{form}"
        return f"{self.model} (weights {weights}, wording {self.wording}, prompt {self.prompt[:8]})"


class Calibration(Frozen):
    """A straight line in log-odds, and where it comes from.

    Attributes:
        slope: not negative; 1 for kind ``threshold``, 1 / T for ``temperature``.
        intercept: 0 for ``temperature``.
        judge: whose probabilities it is for.
        n: verdicts it was fitted on.
        ece_before, ece_after: expected calibration error on those same verdicts, in [0, 1]. The
            second flatters itself: the honest one is measured on the test split.
    """

    kind: Kind
    slope: Annotated[Finite, Field(ge=0.0)]
    intercept: Finite
    judge: Identity
    n: Annotated[int, Field(ge=2)]
    ece_before: Unit
    ece_after: Unit

    @property
    def threshold(self) -> float | None:
        """The judge's own probability that becomes one half; ``None`` if none does."""
        return float(_sigmoid(-self.intercept / self.slope)) if self.slope else None

    def check(self, judge: Identity) -> None:
        """Refuse another judge.

        Raises:
            DataError: naming both.
        """
        if judge != self.judge:
            raise DataError(
                f"this calibration was fitted for {self.judge} and can't be applied to {judge}: "
                "fit one for that judge on the val split"
            )

    def to_json(self) -> str:
        """As one JSON object; numbers survive exactly."""
        return self.model_dump_json(indent=1)

    @staticmethod
    def from_json(text: str) -> Calibration:
        """The reverse of :meth:`to_json`.

        Raises:
            DataError: not JSON, a field missing, unknown or out of range.
        """
        try:
            return Calibration.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the text"
            raise DataError(
                f"no calibration: {where}: {first['msg']}; fit it again on the val split"
            ) from error


def apply(
    calibration: Calibration, probabilities: ArrayLike, judge: Identity
) -> NDArray[np.float64]:
    """Calibrated probabilities, in the shape given; above 0.5 the verdict is yes.

    Args:
        probabilities: the judge's own, each in [0, 1].
        judge: who gave them.

    Raises:
        DataError: they come from another judge than the one it was fitted for.
    """
    calibration.check(judge)
    return _line(_log_odds(probabilities), calibration.slope, calibration.intercept)


def fit(
    probabilities: ArrayLike, labels: ArrayLike, kind: Kind = "platt", *, judge: Identity
) -> Calibration:
    """Fit on labelled verdicts of the val split (`evaluation.alignment.calibrate` sees to it).

    ``threshold`` moves the cut to where balanced accuracy is highest (ties: the cut that moves
    least; no move if no cut beats chance). ``temperature`` divides log-odds by the T in
    [1/50, 50] of highest likelihood (Guo et al. 2017). ``platt`` fits slope and intercept with
    Platt's smoothed targets (1999), which keeps the slope finite where the classes separate. A
    judge that ranks backwards is not turned round: its slope is 0, the best that is not
    negative, and all its verdicts become the majority's.

    Args:
        probabilities: shape (n,), each in [0, 1].
        labels: shape (n,), the truth.

    Raises:
        DataError: a length, value or class is missing, or all probabilities are the same.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=bool)
    if p.ndim != 1 or p.shape != y.shape:
        raise DataError(f"need one label per probability, got {p.shape} and {y.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("probabilities to calibrate must be in [0, 1]; leave unscored ones out")
    if y.all() or not y.any() or p.min() == p.max():
        raise DataError(
            f"{judge}: nothing to calibrate on {len(p)} verdicts ({int(y.sum())} labelled true): "
            "need both labels and two different probabilities; take more val pairs"
        )
    x = _log_odds(p)
    slope, intercept = {"threshold": _threshold, "temperature": _temperature, "platt": _platt}[
        kind
    ](x, y)
    return Calibration(
        kind=kind,
        slope=slope,
        intercept=intercept,
        judge=judge,
        n=len(p),
        ece_before=expected_calibration_error(p, y),
        ece_after=expected_calibration_error(_line(x, slope, intercept), y),
    )


def _threshold(x: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[float, float]:
    from sklearn.metrics import roc_curve

    false, true, cuts = roc_curve(y, x, drop_intermediate=False)
    # cuts[0] says yes to nothing and the last one to everything: chance. Between two scores
    # the middle is taken; the last one's lower neighbour does not exist.
    gain = (true - false)[1:-1]
    middle = (cuts[1:-1] + cuts[2:]) / 2.0
    if not len(gain) or gain.max() <= 0:
        return 1.0, 0.0
    best = middle[gain >= gain.max() - 1e-12]
    return 1.0, float(-best[np.abs(best).argmin()])


def _temperature(x: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[float, float]:
    from scipy.optimize import minimize_scalar

    sign = np.where(y, 1.0, -1.0)

    def loss(log_t: float) -> float:
        return float(np.logaddexp(0.0, -sign * x * math.exp(-log_t)).mean())

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURE, method="bounded")
    return math.exp(-float(found.x)), 0.0


def _platt(x: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    true, false = int(y.sum()), int((~y).sum())
    target = np.where(y, (true + 1) / (true + 2), 1 / (false + 2))
    # A fraction as target: the row once as true with that weight, once as false with the rest.
    model = LogisticRegression(C=math.inf, max_iter=1000).fit(
        np.concatenate([x, x])[:, None],
        np.repeat([1, 0], len(x)),
        sample_weight=np.concatenate([target, 1.0 - target]),
    )
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope < 0:
        share = float(target.mean())
        return 0.0, math.log(share / (1.0 - share))
    return slope, intercept


def _log_odds(p: ArrayLike) -> NDArray[np.float64]:
    q = np.clip(np.asarray(p, dtype=np.float64), _EDGE, 1.0 - _EDGE)
    return np.asarray(np.log(q) - np.log1p(-q))


def _line(x: NDArray[np.float64], slope: float, intercept: float) -> NDArray[np.float64]:
    return _sigmoid(slope * x + intercept)


def _sigmoid(x: ArrayLike) -> NDArray[np.float64]:
    """Without overflow, because tanh has none."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, dtype=np.float64))))
