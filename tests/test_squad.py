"""SQuAD: the official layout and measures, spans of words, questions that teach."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from kdutils.data import registry, sentences, squad
from kdutils.metrics import answers
from kdutils.models import text
from kdutils.recipes import networks
from kdutils.recipes.tasks import QUESTIONS
from kdutils.store import runs

REAL = Path(os.environ.get("KD_DATA", ".data")) / "squad"
SIZES = {"widths": [24, 48], "rows": [62, 512], "dropout": 0.0}
HOW = {"source": "squad", "val": 1, "net": "spans", "epochs": 2, "batch": 8}
HOW |= {"lr": 0.005, "decay": 0.0, "schedule": "warmup", "smoothing": 0.0}
HOW |= {"augment": {}, "sets": 1, "bf16": False, "seeds": 1}


@pytest.mark.parametrize(
    ("said", "right", "exact", "f1"),
    [
        ("the Eiffel Tower!", ["Eiffel tower"], 1, 1),
        ("a cat", ["The cats", "cat."], 1, 1),
        ("Denver Broncos won", ["Denver Broncos", "Broncos"], 0, 0.8),
        ("1,000 men", ["1000 men"], 1, 1),
        ("in the 10th century", ["10th and 11th centuries"], 0, 2 / 7),
        ("the", ["a"], 1, 0),
        ("Rollo", ["Normandy"], 0, 0),
    ],
)
def test_measures_of_an_answer(said, right, exact, f1):
    assert answers.exact_match(said, right) == exact
    assert answers.token_f1(said, right) == pytest.approx(f1)


def test_the_likeliest_span_ends_after_it_begins():
    z = np.full((2, 2, 60), -9.0)
    z[0, 0, [5, 9]], z[0, 1, [3, 8]] = [2, 1], [9, 1]  # 5 to 3 is none, nor 9 to 8
    z[1, 0, [10, 41]], z[1, 1, 40] = [3, 2], 3  # 31 words are too many
    found = answers.spans(z)
    assert found[0].tolist() in ([5, 8], [3, 3]) and found[0].tolist() == [5, 8]
    assert found[1, 1] - found[1, 0] < 30
    best = max(
        z[0, 0, i] + z[0, 1, j] for i in range(60) for j in range(i, min(i + 30, 60))
    )
    assert z[0, 0, found[0, 0]] + z[0, 1, found[0, 1]] == best


def test_a_span_of_words_is_the_answer_of_the_file(written):
    split = sentences.split("squad", seed=0, val=1, root=str(written))
    groups = [set(part.group) for part in (split.train, split.val, split.test)]
    assert not groups[0] & groups[1] and not (groups[0] | groups[1]) & groups[2]
    assert (split.train.y[:, 0] >= 0).sum() == 60 and len(split.train) == 108
    root = str(written)
    for part in (split.train, split.val, split.test):
        asked = sentences.questions("squad", root, part)
        for x, (first, last), q in zip(part.X, part.y, asked, strict=True):
            words = [split.features[i] for i in x if i >= 0]
            before = len(squad.prefix(q))
            assert words[:before] == squad.prefix(q)
            if q.answers:
                assert " ".join(words[first : last + 1]) == q.answers[0]
                assert q.text(first - before, last - before) == q.answers[0]
            else:
                assert first == last == squad.NO_LABEL


def put(folder, train=None, dev=None, name="train-v1.1.json"):
    """A file of one answered question each, or as given, in SQuAD's layout."""
    qa = {"id": "q1", "question": "Who?"}
    qa |= {"answers": [{"text": "Ann", "answer_start": 4}]}
    paragraph = {"context": "Dr. Ann came.", "qas": [qa]}
    held = {"data": [{"title": "a", "paragraphs": [paragraph]}]}
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in {name: train, name.replace("train", "dev"): dev}.items():
        content = json.dumps(held).encode() if content is None else content
        (folder / file).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1, column 1: expected JSON"),
        (b'{"data": [\n{"title"', r"line 2, column 9: expected JSON"),
        (b'{"data": [\xff]}', "line 1: expected text in UTF-8"),
        (b'{"data": []}', "has no question"),
        (b'{"rows": []}', "'data' is missing after 0 questions"),
        (b'{"data": [{"paragraphs": [{"qas": [{}]}]}]}', "'answers' is missing"),
        (
            b'{"data": [{"paragraphs": [{"context": "Dr. Ann came.", "qas": [{"id": 7, '
            b'"question": "Who?", "answers": [{"text": "Ann", '
            b'"answer_start": 3}]}]}]}]}',
            "question 7: answer 'Ann' is not at place 3 of its context",
        ),
    ],
)
def test_a_file_that_is_not_squads(tmp_path, content, words):
    with pytest.raises(ValueError, match=words) as error:
        squad.read(put(tmp_path, train=content))
    assert "train-v1.1.json" in str(error.value) and "\n" not in str(error.value)


def test_the_official_test_set_is_kept_and_its_half_asked_for(tmp_path):
    place = put(tmp_path)
    rows = squad.read(place)
    assert rows.part.tolist() == ["train", "test"] and rows.y.tolist() == [[5, 5]] * 2
    (tmp_path / "dev-v1.1.json").unlink()
    squad.questions.cache_clear()
    with pytest.raises(ValueError, match=r"dev-v1\.1\.json is not there"):
        squad.read(place)


def test_a_word_has_the_logits_of_its_first_piece(written):
    place = registry.find("minilm", str(written))
    words = ["[SEP]", "books", "lamp", "where", "xyz"]
    torch.manual_seed(0)
    net = text.Spans(9, 2, **SIZES, depth=2).spell(words, place).eval()
    net.pretrained(place / "model.safetensors")
    x = torch.tensor([[3, 0, 1, 2, -1], [3, 2, 0, 4, 1]], dtype=torch.int32)
    z = net(x)
    outside = z == text.OUTSIDE
    assert z.shape == (2, 2, 5)
    assert outside[:, 0].tolist() == [
        [True, True, False, False, True],
        [True] * 3 + [False] * 2,
    ]
    h, _, first = net.states(x)  # [CLS] where [SEP] book ##s lamp [SEP]
    assert first[0, :4].tolist() == [1, 2, 3, 5]
    assert torch.allclose(z[0, :, 3], net.head(h[0, 5]), atol=1e-6)
    alone = net(x[:1, :4])
    assert torch.allclose(alone[0], z[0, :, :4], atol=1e-5)


def test_a_net_of_fewer_layers_takes_every_second(written):
    place = registry.find("minilm", str(written))
    held = text.safetensors(place / "model.safetensors")
    one = text.Bert(9, 2, **SIZES, depth=1).pretrained(place / "model.safetensors")
    two = text.Bert(9, 2, **SIZES, depth=2).pretrained(place / "model.safetensors")
    for net, layer, theirs in ((one, 0, 0), (two, 1, 1)):
        own = net.layers.layers[layer].linear1.bias.detach().numpy()
        assert np.array_equal(
            own, held[f"encoder.layer.{theirs}.intermediate.dense.bias"]
        )


def test_questions_without_an_answer_teach_on_request_alone(
    written, apart, monkeypatch
):
    shared = HOW | {"root": str(written)}
    half = {"student": "half", "sizes": SIZES | {"depth": 1}}
    alone = [
        {"student": "teacher", "method": "label-only", "teaches": True}
        | {"sizes": SIZES | {"depth": 2}},
        half | {"method": "label-only"},
    ]
    taught = [
        half
        | {"method": method, "unlabelled": more, "alpha": 0.5, "T": 3.0}
        | {"teacher": "teacher/label-only", "beside": "half/label-only"}
        for method, more in (("kd", False), ("kd-unlabelled", True))
    ]

    seen, fit = [], networks.train.fit

    def spy(net, batches, *args, **how):
        seen.append(len(batches.X))
        return fit(net, batches, *args, **how)

    monkeypatch.setattr(networks.train, "fit", spy)

    def stage(configs, part):
        return runs.map("11_kd_text", networks, configs, part=part, workers=1)

    rows = stage(networks.plan(alone, **shared), "alone")
    more = stage(networks.plan(taught, rows, **shared), "taught")
    assert seen == [60, 60, 60, 108]
    assert {"f1", "val_f1", "test_acc", "val_acc"} <= {*rows.columns}
    assert (rows["f1"] >= rows["test_acc"]).all()
    assert more["teacher_acc"].eq(rows["test_acc"].iloc[0]).all()
    split = sentences.split("squad", seed=0, val=1, root=str(written))
    run = runs.open(networks, more["run"].iloc[0])
    z = run.arrays("logits")["test"]
    exact, f1 = QUESTIONS.judged(run.config, split.test, z)
    assert exact.mean() == more["test_acc"].iloc[0] and f1.mean() == more["f1"].iloc[0]
    with pytest.raises(ValueError, match="val is 6: expected 1 to 5 articles"):
        sentences.split("squad", seed=0, val=6, root=str(written))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"SQuAD is not in {REAL}")
def test_real_questions_are_divided_by_article():
    split = sentences.split("squad", seed=0, val=2)
    assert split.kind == "reduced"
    answered = [
        int((p.y[:, 0] >= 0).sum()) for p in (split.train, split.val, split.test)
    ]
    assert sum(answered) == 2898 and len(split.train) - answered[0] == 5927
