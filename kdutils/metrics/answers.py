"""answers: texts that answer a question, judged as SQuAD's own script does.

Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1: case, punctuation and articles do
not count; of several right answers the nearest does.
"""

from __future__ import annotations

import re
import string
from collections import Counter

import numpy as np

ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str) -> list[str]:
    """The words of an answer that count."""
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return ARTICLES.sub(" ", plain).split()


def exact_match(text: str, answers: tuple[str, ...]) -> float:
    """1 if the text equals one of the answers, else 0."""
    return float(any(normalised(text) == normalised(a) for a in answers))


def token_f1(text: str, answers: tuple[str, ...]) -> float:
    """The largest F1 of the text's words and an answer's; 0 without a common word."""
    return max(_f1(normalised(text), normalised(a)) for a in answers)


def _f1(words: list[str], answer: list[str]) -> float:
    common = sum((Counter(words) & Counter(answer)).values())
    return 2 * common / (len(words) + len(answer)) if common else 0.0


def spans(logits: np.ndarray, most: int = 30) -> np.ndarray:
    """int (n, 2): first and last word of the likeliest answers of up to `most` words.

    logits: (n, 2, length) of a word being the first, and the last.
    """
    n, _, length = logits.shape
    first, last = logits[:, 0].astype(np.float32), logits[:, 1].astype(np.float32)
    best, found = np.full(n, -np.inf, np.float32), np.zeros((n, 2), np.int64)
    for more in range(min(most, length)):
        score = first[:, : length - more] + last[:, more:]
        at = score.argmax(1)
        value = score[np.arange(n), at]
        better = value > best
        best[better] = value[better]
        found[better] = np.stack((at, at + more), 1)[better]
    return found
