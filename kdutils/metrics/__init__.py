"""metrics: arrays in, floats out."""

from kdutils.metrics.multilabel import (
    by_label,
    by_teacher_entropy,
    calibration,
    entropy,
    errors_by_teacher,
    fidelity,
    macro_f1,
)
from kdutils.metrics.quality import (
    accuracy,
    agreement,
    ari,
    auc,
    brier,
    correct,
    ece,
    effective,
    errors,
    kl,
    near_certain,
    nll,
    nmi,
    predicted,
    summary,
)

__all__ = ["accuracy", "agreement", "ari", "auc", "brier", "by_label", "correct", "ece"]
__all__ += ["by_teacher_entropy", "calibration", "effective", "entropy", "errors", "kl"]
__all__ += ["errors_by_teacher", "macro_f1", "near_certain", "nll", "nmi", "predicted"]
__all__ += ["fidelity", "summary"]
