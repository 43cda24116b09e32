"""squad: SQuAD's questions, each to be answered by a stretch of a text.

Rajpurkar et al. 2016, arXiv 1606.05250 (v1.1), and 2018, arXiv 1806.03822 (v2.0).
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdutils.data import Rows

TRAIN = "train-v1.1.json", "train-v2.0.json", "test-v2.0.json"  # one of them is there
TEST = "dev-v1.1.json", "dev-v2.0.json", "dev-v2.0.json"  # and its other half
SEPARATOR = "[SEP]"  # the word between question and text
MOST_WORDS = 380, 60  # of a text and of a question: what is beyond them is cut
NO_LABEL = -100
WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Question:
    """A question as the file has it.

    answers: the texts of all annotators, () where the file has none; first: the place
    in the context of each; article: its title.
    """

    id: str
    article: str
    question: str
    context: str
    answers: tuple[str, ...]
    first: tuple[int, ...]

    def span(self) -> tuple[int, int]:
        """First and last word of the answer that most annotators gave; NO_LABEL twice
        where there is none, or where it is beyond the words that are kept."""
        if not self.answers:
            return NO_LABEL, NO_LABEL
        pairs = zip(self.first, self.answers, strict=True)
        start, text = Counter(pairs).most_common(1)[0][0]
        words = enumerate(WORD.finditer(self.context))
        end = start + len(text)
        inside = [i for i, m in words if m.start() < end and m.end() > start]
        if not inside or inside[-1] >= MOST_WORDS[0]:
            return NO_LABEL, NO_LABEL
        return inside[0], inside[-1]

    def text(self, first: int, last: int) -> str:
        """What stands in the context from one word to another."""
        words = list(WORD.finditer(self.context))
        return self.context[words[first].start() : words[last].end()]


def prefix(question: Question) -> list[str]:
    """The words before the text's own: those of the question, and `SEPARATOR`."""
    return [*WORD.findall(question.question)[: MOST_WORDS[1]], SEPARATOR]


def read(place: Path) -> Rows:
    """Questions with an answer, and of test-v2.0.json all, which has no answers.

    train-v1.1.json or train-v2.0.json, or the halves of v2.0's dev set that Stanford's
    course CS224n gives (dev-v2.0.json with answers, test-v2.0.json without).
    X: int32 (n, length), places of words in the features: the question, `SEPARATOR`,
    the text, then -1; y: int64 (n, 2), first and last word of the answer among X's
    columns, -100 where there is none; group: its article; part: test where the
    official distribution says so, else train.
    """
    both = questions(place)
    texts = [[*prefix(q), *WORD.findall(q.context)[: MOST_WORDS[0]]] for q, _ in both]
    words = sorted({word for text in texts for word in text})
    at = {word: i for i, word in enumerate(words)}
    X = np.full((len(texts), max(map(len, texts))), -1, np.int32)
    y = np.full((len(texts), 2), NO_LABEL, np.int64)
    for row, label, text, (q, _) in zip(X, y, texts, both, strict=True):
        row[: len(text)] = [at[word] for word in text]
        span = np.array(q.span())
        label[:] = np.where(span < 0, span, span + text.index(SEPARATOR) + 1)
    names = dict.fromkeys(q.article for q, _ in both)
    articles = {name: i for i, name in enumerate(names)}
    group = np.array([articles[q.article] for q, _ in both], np.int64)
    part = np.array([part for _, part in both])
    content = json.dumps([[*vars(q).values(), part] for q, part in both])
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    row = np.arange(len(X))
    return Rows(X, y, group, row, tuple(words), part=part, sha256=sha256)


@functools.lru_cache(maxsize=2)
def questions(place: Path) -> tuple[tuple[Question, str], ...]:
    """Every question of `read`, in its order, with its part."""
    train = place / TRAIN[0] if place.is_dir() else place
    test = train.with_name(TEST[TRAIN.index(train.name)])
    course = train.name == TRAIN[2]
    known = [(q, "train" if course else "test") for q in _questions(test) if q.answers]
    others = [q for q in _questions(train) if course or q.answers]
    return (*((q, "train") for q in others), *known)


def _questions(path: Path) -> list[Question]:
    """All questions of a file; ValueError, one sentence, where it is not SQuAD's."""
    try:
        held = json.loads(path.read_bytes().decode("utf-8"))
    except OSError:
        raise ValueError(f"{path} is not there: expected both files of SQuAD") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: expected text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {error.lineno}, column {error.colno}: expected JSON "
            f"({error.msg})"
        ) from None
    found = []
    try:
        for article in held["data"]:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    found.append(_question(path, article, paragraph, qa))
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: {error} is missing after {len(found)} questions: expected data, "
            "paragraphs, context and qas, of these id, question and answers"
        ) from None
    if not found:
        raise ValueError(f"{path} has no question")
    return found


def _question(path: Path, article: dict, paragraph: dict, qa: dict) -> Question:
    answers = qa["answers"]
    texts = tuple(a["text"] for a in answers)
    first = tuple(a["answer_start"] for a in answers)
    context = paragraph["context"]
    for start, text in zip(first, texts, strict=True):
        if not text or context[start : start + len(text)] != text:
            raise ValueError(
                f"{path}: question {qa['id']}: answer {text[:40]!r} is not at place "
                f"{start} of its context"
            )
    own = (str(qa["id"]), str(article.get("title", "")), qa["question"], context)
    return Question(*own, texts, first)
