"""A judge's yes-probability made to mean what it says, fitted on tasks that nothing is claimed of.

    calibration = fit(probabilities, labels, judge=judge.identity)
    calibrated = replace(judge, calibration=calibration)

An extension of the paper, whose judge answers true or false. A small judge may rank criteria
well and yet say yes at the wrong place; log-odds are moved along a straight line,
``calibrated = slope * log-odds + intercept``, which changes verdicts and never the ranking.
A calibration belongs to one judge (model, weights, endpoint, prompt and code) and refuses any
other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError

from rar_lib.core.errors import DataError
from rar_lib.core.files import code_hash, digest, save_text, sources
from rar_lib.core.stats import expected_calibration_error
from rar_lib.core.types import Frozen, Unit
from rar_lib.judging.messages import JudgeMessages

#: A hash, of which the beginning is enough for a person, and what follows it (such as "+w8a8").
_SHA = re.compile(r"^([0-9a-f]{12})[0-9a-f]{52}(?=\+|$)")
#: Probabilities closer than this to 0 or 1 are moved here: log-odds stay finite.
_EDGE = 1e-6
#: The modules that make a judge's question and read its answer, and the texts of prompts.
_DECIDE = (
    "core/errors.py",
    "core/files.py",
    "core/processes.py",
    "core/prompts",
    "core/scoring.py",
    "core/stats.py",
    "core/text.py",
    "core/types.py",
    "judging/addresses.py",
    "judging/calibration.py",
    "judging/cassette.py",
    "judging/chat.py",
    "judging/dialect.py",
    "judging/failures.py",
    "judging/guard.py",
    "judging/judge.py",
    "judging/messages.py",
    "judging/reading.py",
    "judging/wire.py",
)
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Identity(Frozen):
    """All of a judge that can change its yes-probability.

    Attributes:
        weights: SHA-256 of the weights, or the address of an API that does not publish one.
        wording, prompt: name and fingerprint of the messages.
        dialect: SHA-256 of what was declared of the endpoint.
        engine: versions of the packages that answer, for a server that this library starts; what
            answers at an address is not known.
        code: SHA-256 of the modules and prompts that make a question and read its answer, without
            comments and docstrings.
    """

    model: str
    weights: str
    wording: str
    prompt: str
    dialect: str = ""
    engine: str = ""
    code: str = ""

    @classmethod
    def of(
        cls,
        model: str,
        weights: str,
        messages: JudgeMessages,
        *,
        dialect: str = "",
        engine: str = "",
    ) -> Identity:
        """The identity of a model that is asked in these messages by this library."""
        return cls(
            model=model,
            weights=weights,
            wording=messages.name,
            prompt=messages.fingerprint,
            dialect=dialect,
            engine=engine,
            code=digest(sources(*_DECIDE, of=code_hash)),
        )

    def __str__(self) -> str:
        parts = {
            "weights": _SHA.sub(r"\1", self.weights),  # an address says which judge only as a whole
            "wording": self.wording,
            "prompt": self.prompt[:8],
            "dialect": self.dialect[:8],
            "engine": self.engine,
            "code": self.code[:8],
        }
        known = ", ".join(f"{name} {value}" for name, value in parts.items() if value)
        return f"{self.model} ({known})"


class Calibration(Frozen):
    """A straight line in log-odds, and where it comes from.

    Attributes:
        slope: not negative.
        judge: whose probabilities it is for.
        n: verdicts it was fitted on.
        ece_before, ece_after: expected calibration error on those same verdicts, in [0, 1]. The
            second flatters itself: the honest one is measured on the test split.
    """

    slope: Annotated[Finite, Field(ge=0.0)]
    intercept: Finite
    judge: Identity
    n: Annotated[int, Field(ge=2)]
    ece_before: Unit
    ece_after: Unit

    def check(self, judge: Identity) -> None:
        """Refuse another judge.

        Raises:
            DataError: naming both.
        """
        if judge != self.judge:
            raise DataError(
                f"this calibration was fitted for {self.judge} and can't be applied to {judge}: "
                f"{_way_out([self.judge], judge)}"
            )


def _way_out(held: Sequence[Identity], judge: Identity) -> str:
    """What to do where a calibration is another judge's."""
    fit = "run `rar align` again with this one, or `fit` and leave its labels out of every claim"
    unknown = [one for one in held if "://" in one.weights and "://" in judge.weights]
    if not any(one.model_copy(update={"weights": judge.weights}) == judge for one in unknown):
        return fit
    return (
        "they differ in their address alone, which stands for weights that are not known: if the "
        "same model answers at both, give it one name in both runs, Chat(..., weights='my-judge-1')"
        f", and {fit}"
    )


class _Kept(Frozen):
    """A file of calibrations: of one judge or several, and what they were fitted on."""

    calibrations: Annotated[tuple[Calibration, ...], Field(min_length=1)]
    split: dict[str, Any]


def save_calibrations(
    path: str | Path, calibrations: Sequence[Calibration], split: Mapping[str, Any]
) -> None:
    """Write calibrations as JSON, whole or not at all.

    Args:
        split: which tasks they were fitted on and which were held out, as a JSON value.

    Raises:
        DataError: the file could not be written.
    """
    kept = _Kept(calibrations=tuple(calibrations), split=dict(split))
    save_text(path, kept.model_dump_json(indent=1) + "\n")


def load_calibration(path: str | Path, judge: Identity) -> Calibration:
    """This judge's calibration from a file that :func:`save_calibrations` wrote.

    Raises:
        DataError: the file can't be read, or holds no calibration of this judge.
    """
    try:
        kept = _Kept.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); `rar align` writes calibrations"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "(the whole file)"
        raise DataError(
            f"{path}, field {field}: {first['msg']}; give a calibration that `rar align` wrote"
        ) from error
    for calibration in kept.calibrations:
        if calibration.judge == judge:
            return calibration
    held = "; ".join(str(calibration.judge) for calibration in kept.calibrations)
    raise DataError(
        f"{path} holds calibrations of {held}, none of {judge}: a calibration is for one judge as "
        f"it was asked then; {_way_out([one.judge for one in kept.calibrations], judge)}"
    )


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


def fit(probabilities: ArrayLike, labels: ArrayLike, *, judge: Identity) -> Calibration:
    """Fit on labelled verdicts of the val split (`evaluation.alignment.calibrate` sees to it).

    Slope and intercept by Platt (1999), with his smoothed targets, which keep the slope finite
    where the classes separate. A judge that ranks backwards is not turned round: its slope is 0,
    the best that is not negative, and all its verdicts become the majority's.

    Args:
        probabilities: shape (n,), each in [0, 1].
        labels: shape (n,), the truth.

    Raises:
        DataError: a length, value or class is missing, or all probabilities are the same.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    y = np.asarray(labels, dtype=bool)
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
    slope, intercept = _platt(x, y)
    return Calibration(
        slope=slope,
        intercept=intercept,
        judge=judge,
        n=len(p),
        ece_before=expected_calibration_error(p, y),
        ece_after=expected_calibration_error(_line(x, slope, intercept), y),
    )


def _platt(x: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    true = int(y.sum())
    false = int((~y).sum())
    target = np.where(y, (true + 1) / (true + 2), 1 / (false + 2))
    # A fraction as target: the row once as true with that weight, once as false with the rest.
    model = LogisticRegression(C=math.inf, max_iter=1000).fit(
        np.concatenate([x, x])[:, None],
        np.repeat([1, 0], len(x)),
        sample_weight=np.concatenate([target, 1.0 - target]),
    )
    slope = float(model.coef_[0, 0])
    intercept = float(model.intercept_[0])
    if slope < 0:
        share = float(target.mean())
        return 0.0, math.log(share / (1.0 - share))
    return slope, intercept


def _log_odds(p: ArrayLike) -> NDArray[np.float64]:
    inside = np.clip(np.asarray(p, dtype=np.float64), _EDGE, 1.0 - _EDGE)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _line(x: NDArray[np.float64], slope: float, intercept: float) -> NDArray[np.float64]:
    return _sigmoid(slope * x + intercept)


def _sigmoid(x: ArrayLike) -> NDArray[np.float64]:
    """Without overflow, because tanh has none."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, dtype=np.float64))))
