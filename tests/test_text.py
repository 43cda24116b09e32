"""Sentences: files, words, nets, views, the file that ships, and the whole recipe."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from kdutils import models, train
from kdutils.compress import convert, quantize
from kdutils.data import readers, registry, sentences
from kdutils.data.simulate import miniatures
from kdutils.deploy import __main__ as program
from kdutils.deploy import bundle, container, words
from kdutils.models import text
from kdutils.recipes import bit_widths, networks
from kdutils.store import runs
from kdutils.views import figures
from kdutils.views import networks as nets

LIST = ["bad", "dull", "film", "good", "not", "plot", "the", "warm"]
NETS = {"bag": {"widths": [6, 4], "buckets": 64, "order": 2}}
NETS |= {"textcnn": {"widths": [6, 5], "buckets": 64}}
NETS |= {"bilstm": {"widths": [6, 4, 3], "buckets": 64}}
NETS |= {"textcnn of parts": {"widths": [6, 5], "buckets": 64, "letters": [3, 4]}}
NETS |= {"bilstm of parts": {"widths": [6, 4, 3], "buckets": 64, "letters": [2, 3]}}


def net_of(name, seed=0):
    """A net with rows for the words of LIST."""
    torch.manual_seed(seed)
    net = models.build(name.split()[0], 9, 2, **NETS[name]).spell(LIST).eval()
    with torch.no_grad():
        net.embed.weight[1:40] = torch.randn(39, 6)
    return net


def put(place, **files):
    """The three files of a data set, each as given or a good one."""
    place.mkdir(exist_ok=True)
    good = b"sentence\tlabel\na good film\t1\na dull plot\t0\n"
    for name in readers.SST2:
        (place / name).write_bytes(files.get(name.removesuffix(".tsv"), good))
    return place


# --- files --------------------------------------------------------------------------


def test_both_orders_of_the_columns_are_read(tmp_path):
    other = b"label\tcontent\r\n1\tGood , the Film\r\n0\tbad\r\n"
    rows = readers.sst2(put(tmp_path, test=other))
    assert rows.features == (",", "a", "bad", "dull", "film", "good", "plot", "the")
    assert rows.part.tolist() == ["train"] * 2 + ["val"] * 2 + ["test"] * 2
    assert rows.y.tolist() == [1, 0, 1, 0, 1, 0]
    assert rows.X[4].tolist() == [5, 0, 7, 4] and rows.X[5].tolist() == [2, -1, -1, -1]
    assert rows.group.tolist() == [0, 1, 0, 1, 2, 3]


def test_without_a_labelled_test_file_dev_is_the_test_set(tmp_path):
    train_rows = b"".join(b"word%d of it\t%d\n" % (i, i % 2) for i in range(9))
    bare = b"index\tsentence\n0\tfine .\n"
    put(tmp_path / "sst2", train=b"sentence\tlabel\n" + train_rows, test=bare)
    (tmp_path / "sst2" / readers.MARKER).touch()
    split = sentences.split("sst2", seed=0, val=3, root=str(tmp_path))
    assert [len(p) for p in (split.train, split.val, split.test)] == [6, 3, 2]
    assert sentences.shown(split, split.test.X[0]) == "a good film"
    with pytest.raises(ValueError, match=r"val is 9: expected 0 to 8, as sst2 has 9"):
        sentences.split("sst2", seed=0, val=9, root=str(tmp_path))


WRONG = {
    "header": (b"text\tlabel\nfine\t1\n", "line 1: 'text.tlabel' where sentence"),
    "label": (b"label\tsentence\n1\tfine\n2\tbad\n", "line 3: .* a label 0 or 1 were"),
    "empty": (b"", "line 1: '' where sentence"),
    "alone": (b"sentence\tlabel\n", "has a header and no sentence"),
    "bytes": (
        b"sentence\tlabel\nfine\t1\nb\xff\t0\n",
        "line 3: expected text in UTF-8",
    ),
    "long": (
        b"sentence\tlabel\n" + b"a " * 10_000 + b"\t1\n",
        "line 2: .* of 10000 words where one sentence of 1 to 500",
    ),
    "columns": (b"sentence\tlabel\nfine\n", "line 2: 'fine' of 0 words"),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_wrong_file_is_refused_by_line(tmp_path, what, part):
    content, words_ = WRONG[what]
    with pytest.raises(ValueError, match=rf"{part}\.tsv.*{words_}") as caught:
        readers.sst2(put(tmp_path, **{part: content}))
    assert "\n" not in str(caught.value)


REAL = Path(os.environ.get("KD_DATA", ".data")) / "sst2"


@pytest.mark.skipif(not (REAL / "train.tsv").exists(), reason="SST-2 is not there")
def test_the_real_files_are_the_official_ones():
    split = sentences.split("sst2", seed=0, val=0)
    assert split.kind == "real" and split.train.X.shape == (67348, 56)
    assert (len(split.val), len(split.test)) == (872, 1821)
    same = sum(
        words.divided(shown) == shown.split()
        for shown in (sentences.shown(split, x) for x in split.test.X)
    )
    assert same / 1821 > 0.99


def test_the_miniature_can_be_learned_but_not_perfectly(written):
    split = sentences.split("sst2", seed=0, val=0, root=str(written))
    assert [len(p) for p in (split.train, split.val, split.test)] == [240, 60, 100]
    good = [split.features.index(w) for w in miniatures.GOOD if w in split.features]
    bad = [split.features.index(w) for w in miniatures.BAD if w in split.features]
    X, y = split.test.X, split.test.y
    guess = np.isin(X, good).sum(1) > np.isin(X, bad).sum(1)
    assert 0.6 < (guess == y).mean() < 0.95


# --- words --------------------------------------------------------------------------


def test_a_text_is_divided_as_the_corpus_is():
    said = "It's GREAT (isn't it?) -- Mr. Smith's war\\/love plot: don't"
    same = (
        "it 's great -lrb- is n't it ? -rrb- -- mr. smith 's war\\/love plot : do n't"
    )
    assert " ".join(words.divided(said)) == " ".join(words.divided(same)) == same


def test_numpy_and_torch_choose_the_same_rows():
    h = np.append(words.hashed(["not", "good", "film"]), -1)[None]
    for order in (1, 2, 3):
        one = words.rows_of(h, 1000, order)
        other = words.rows_of(torch.from_numpy(h), 1000, order).numpy()
        assert (one == other).all() and one.shape == (1, 5 - order)
        assert one[0, -1] == 0 and (one[0, : 4 - order] > 0).all()
    swapped = words.rows_of(h[:, [1, 0, 2, 3]], 1000, 2)
    assert swapped[0, 0] != words.rows_of(h, 1000, 2)[0, 0], "an order of words"
    every = words.rows_of(words.hashed(map(str, range(20_000)))[:, None], 64, 1)
    counts = np.bincount(every.ravel(), minlength=65)
    assert counts[0] == 0 and counts[1:].min() > 230 and counts.max() < 400


def test_pieces_are_the_longest_from_the_left():
    vocab = {w: i for i, w in enumerate(["[UNK]", "un", "##a", "##aff", "##able", "-"])}
    assert text.pieces("Unáffable", vocab) == [1, 3, 4]
    assert text.pieces("un-un", vocab) == [1, 5, 1]
    assert text.pieces("unx", vocab) == [0]


# --- views and batches --------------------------------------------------------------


def test_sentences_are_shortened_the_same_way_each_time():
    X = np.full((400, 12), -1, np.int32)
    for i, row in enumerate(X):
        row[: 1 + i % 12] = np.arange(1 + i % 12)
    views = train.Shortened(X, 3, seed=1, drop=0.0, window=0.5)
    assert len(list(views)) == len(views) == 3 and (views[0].numpy() == X).all()
    one, other = views[1].numpy(), views[2].numpy()
    assert (one == views[1].numpy()).all() and (one != other).any()
    n, left = (X >= 0).sum(1), (one >= 0).sum(1)
    assert (left >= 1).all() and (left <= n).all()
    assert 0.3 < (left < n)[n > 6].mean() < 0.5
    for row, count in zip(one, left, strict=True):  # a stretch, from the left
        assert (np.diff(row[:count]) == 1).all() and (row[count:] == -1).all()
    left = (train.Shortened(X, 2, seed=1, drop=0.3, window=0.0)[1] >= 0).sum(1)
    assert left.min() >= 1 and 0.65 < left.sum() / n.sum() < 0.78


def test_a_batch_has_sentences_of_about_one_length():
    lengths = np.random.default_rng(0).integers(1, 50, 1000)
    batches = train.Batches(lengths, batch=16, seed=0, lengths=lengths)
    shown = [x.numpy() for (x,) in batches]
    assert len(shown) == len(batches)
    assert sorted(np.concatenate(shown)) == sorted(lengths)
    assert np.mean([x.max() - x.min() for x in shown]) < 3
    assert not np.array_equal(shown[0], next(iter(batches))[0].numpy())


# --- nets ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_a_sentence_has_the_logits_that_it_has_alone(name):
    net = net_of(name)
    with torch.no_grad():
        for module in net.modules():  # a bias that zeros would be larger with
            if isinstance(module, torch.nn.Linear):
                module.bias.fill_(0.5)
    X = np.array([[3, 2, -1, -1, -1], [4, 3, 5, 6, 7], [1, -1, -1, -1, -1]], np.int32)
    together = models.predict(net, X)
    for row, z in zip(X, together, strict=True):
        alone = models.predict(net, row[None, row >= 0])
        np.testing.assert_allclose(alone[0], z, atol=1e-6)
    assert np.ptp(together[:, 0]) > 1e-3


def test_a_row_that_no_sentence_asked_for_stays_zero():
    torch.manual_seed(0)
    net = models.build("bag", 9, 2, widths=[4], buckets=512, order=1).spell(LIST)
    X, y = np.array([[0, 1], [3, 7]], np.int32), np.array([0, 1])
    how = {"epochs": 20}
    how |= {"optimizer": lambda p: torch.optim.AdamW(p, lr=0.05, fused=True)}
    train.fit(net, train.Batches(X, y, batch=2, seed=0), F.cross_entropy, **how)
    used = words.rows_of(words.hashed([LIST[i] for i in (0, 1, 3, 7)])[:, None], 512, 1)
    table = net.embed.weight.detach().numpy()
    assert set(np.flatnonzero(table.any(1))) == set(used.ravel())
    assert (models.predict(net, X).argmax(1) == y).all()


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """A BERT of two narrow layers in the files and names of MiniLM."""
    place, rng = tmp_path_factory.mktemp("minilm"), np.random.default_rng(0)
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LIST[:6], "wa", "##rm", "[unused1]"]
    (place / "vocab.txt").write_text("\n".join(vocab) + "\n")
    wide, hidden, held = 12, 20, {}

    def new(name, *shape):
        held[name] = rng.normal(0, 0.5, shape).astype(np.float32)

    for name, rows in (("word", len(vocab)), ("position", 16), ("token_type", 2)):
        new(f"embeddings.{name}_embeddings.weight", rows, wide)
    shapes = {"attention.output.dense": (wide, wide)}
    shapes |= {"intermediate.dense": (hidden, wide)}
    shapes |= {f"attention.self.{n}": (wide, wide) for n in ("query", "key", "value")}
    shapes["output.dense"] = (wide, hidden)
    norms = ["embeddings.LayerNorm"]
    for k in (0, 1):
        start = f"encoder.layer.{k}."
        norms += [f"{start}attention.output.LayerNorm", f"{start}output.LayerNorm"]
        for name, shape in shapes.items():
            new(f"{start}{name}.weight", *shape)
            new(f"{start}{name}.bias", shape[0])
    for name in norms:
        new(f"{name}.weight", wide)
        new(f"{name}.bias", wide)
    (place / "model.safetensors").write_bytes(container.write(held, {}))
    return place, held


def test_bert_computes_what_its_paper_says(minilm):
    """Each layer by hand: attention of 12 heads, GELU, normalisations after the sum."""
    place, held = minilm
    torch.manual_seed(0)
    net = models.build("bert", 9, 2, widths=[12, 20], depth=2, rows=[13, 16])
    net = net.spell(LIST, place).pretrained(place / "model.safetensors").eval()
    t = {name: torch.from_numpy(a) for name, a in held.items()}

    def linear(x, name):
        return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0)
        return x * t[f"{name}.weight"] + t[f"{name}.bias"]

    x = t["embeddings.word_embeddings.weight"][[2, 7, 10, 11, 1, 3]]  # good warm the
    x = x + t["embeddings.position_embeddings.weight"][:6]
    x = norm(
        x + t["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm"
    )
    for k in (0, 1):
        at = f"encoder.layer.{k}."
        parts = (
            linear(x, f"{at}attention.self.{n}") for n in ("query", "key", "value")
        )
        q, key, v = (p.view(6, 12, 1).transpose(0, 1) for p in parts)
        mixed = (q @ key.transpose(1, 2)).softmax(-1) @ v  # heads of one number
        mixed = linear(
            mixed.transpose(0, 1).reshape(6, 12), f"{at}attention.output.dense"
        )
        x = norm(x + mixed, f"{at}attention.output.LayerNorm")
        inner = F.gelu(linear(x, f"{at}intermediate.dense"))
        x = norm(x + linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
    expected = net.head(x.mean(0)).detach().numpy()
    X = np.array([[3, 7, 6, -1, -1], [0, 1, 2, 3, 4]], np.int32)
    np.testing.assert_allclose(models.predict(net, X)[0], expected, atol=1e-5)
    np.testing.assert_allclose(models.predict(net, X[:1, :3])[0], expected, atol=1e-5)


def test_a_word_that_was_never_seen_has_what_its_parts_have():
    """w + sum(parts) / sqrt(number), by hand; a hidden word has its parts alone."""
    assert words.parts("so", 2, 3) == [b"#<s", b"#so", b"#o>", b"#<so", b"#so>"]
    assert len(words.parts("x" * 99, 3, 5)) == words.MOST_PARTS
    sizes = {"widths": [3, 5], "buckets": 4096, "letters": [2, 3], "hide": 1.0}
    net = models.build("textcnn", 9, 2, **sizes).spell(["so", "good"])
    torch.nn.init.normal_(net.embed.weight[1:])
    h = [zlib.crc32(part) for part in words.parts("so", 2, 3)]
    E = net.embed.weight[words.rows_of(torch.tensor(h), 4096, 1)]
    own = words.rows_of(torch.tensor([zlib.crc32(b"so")]), 4096, 1)
    expected = E.sum(0) / 5**0.5
    x = torch.tensor([[1, 0, -1]])
    assert torch.allclose(net.train().rows(x)[0, 1], expected)
    expected = expected + net.embed.weight[own[0]]
    assert torch.allclose(net.eval().rows(x)[0, 1], expected)


def test_rows_that_are_asked_for_too_rarely_stay_zero():
    sizes = {"widths": [3, 5], "buckets": 4096, "letters": [3, 3]}
    net = models.build("textcnn", 9, 2, **sizes).spell(["art", "tart", "dull"])
    torch.nn.init.normal_(net.embed.weight[1:])
    net.keep(np.array([3, 1, 2]), 3)
    net(torch.tensor([[0, 1, 2]])).sum().backward()
    rows = words.rows_of(torch.from_numpy(words.hashed(["art", "tart"], 3, 3)), 4096, 1)
    art = [own for own in rows[0].tolist() if own]  # art, <ar, art, rt>
    alive = net.embed.weight.any(1).nonzero()[:, 0].tolist()
    assert alive == sorted(art) and {*alive} & {*rows[1].tolist()}  # tart has art, rt>
    assert {*net.embed.weight.grad.any(1).nonzero()[:, 0].tolist()} <= {*alive}


def test_a_student_begins_with_the_teachers_words(minilm):
    place, held = minilm
    net = models.build("textcnn", 9, 2, widths=[12, 5], buckets=4096)
    net.spell(LIST).pretrained(place, LIST, np.array([5, 0, 2, 9, 1, 1, 0, 3]), 0.3)
    known = [*LIST[:6], "warm", "wa", "dull", "the"]
    rows = words.rows_of(words.hashed(known)[:, None], 4096, 1)[:, 0]
    E = net.embed.weight.detach().numpy()[rows]
    assert (E[-1] == 0).all() and E[:-1].any(1).all(), "neither counted nor a piece"
    table = held[text.WORDS]
    theirs = np.stack([*table[4:10], table[10:12].mean(0), table[10]])
    gaps = [np.linalg.norm(A[:, None] - A[None], axis=2) for A in (E[:8], theirs)]
    share = gaps[0][gaps[1] > 0] / gaps[1][gaps[1] > 0]
    np.testing.assert_allclose(share, share[0], rtol=1e-3)  # turned and scaled alone


# --- the file that ships ------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", NETS)
def test_numpy_repeats_the_net_that_was_filed(name, bits):
    net = net_of(name)
    how = {"id": "toy", "most": bits}
    file, small = convert.packed(net, 0, ("negative", "positive"), **how)
    loaded = bundle.loads(file, "toy.kdb")
    texts = ["good", "the film 's plot is NOT good", "unheard-of (things)!"]
    told = [words.divided(some) for some in texts]
    every = sorted({w for some in told for w in some})
    small.spell(every)
    for some, z in zip(told, loaded.score(texts), strict=True):
        x = np.array([[every.index(w) for w in some]], np.int32)
        np.testing.assert_allclose(models.predict(small, x)[0], z, atol=1e-5)
        z8 = models.predict(net.spell(every), x)[0]
        assert np.abs(z8 - z).max() < (0.05 if bits == 8 else 0.5)
    at = len(file) // 2
    broken = file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]
    with pytest.raises(bundle.BundleError, match="damaged"):
        bundle.loads(broken, "toy.kdb")


def test_a_table_without_its_rows_is_refused():
    file, _ = convert.packed(net_of("bag"), 0, ("a", "b"), id="toy")
    held, about = container.read(file, "toy")
    for rows in (None, held["rows"][:4], np.append(held["rows"], np.uint8(1))):
        more = {} if rows is None else {"rows": rows}
        wrong = {k: a for k, a in held.items() if k != "rows"} | more
        with pytest.raises(bundle.BundleError, match="holds no whole student"):
            bundle.loads(container.write(wrong, about), "toy")


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_a_table_tuned_in_few_bits_is_the_one_that_its_file_has(bits):
    net = net_of("textcnn")

    def fit(net):
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.05)
        x, y = torch.tensor([[0, 2, -1], [3, 5, 7]]), torch.tensor([0, 1])
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()

    tuned, table = quantize.tune(net, fit, bits=bits), net.embed.weight
    own = tuned.embed.weight
    assert not torch.equal(own, table)
    assert not torch.equal(tuned.conv.weight, net.conv.weight)
    assert not own[40:].any() and not own[0].any()  # what no word asked for stays 0
    assert all(len(column.unique()) < 2**bits for column in own.T)
    file, small = convert.packed(tuned, 0, ("no", "yes"), id="toy", most=bits)
    assert small.bits == bits and torch.equal(small.embed.weight, own)
    assert bundle.loads(file, "toy").score(["warm film"]).shape == (1, 2)


def test_sentences_on_standard_input(tmp_path, monkeypatch, capsys):
    file, _ = convert.packed(net_of("textcnn"), 0, ("negative", "positive"), id="toy")
    path = tmp_path / "student.kdb"
    path.write_bytes(file)

    def run(data, *arguments):
        stream = io.TextIOWrapper(io.BytesIO(data))
        monkeypatch.setattr("sys.stdin", stream)
        code = program.main([str(path), "-", *arguments])
        return code, *capsys.readouterr()

    code, out, err = run("A good film.\nCaf\u00e9, not good!\n".encode())
    lines = [line.split(",") for line in out.splitlines()]
    assert code == 0 and not err
    assert lines[0] == ["row", "negative", "positive", "verdict"]
    z = bundle.load(path).score(["A good film.", "Caf\u00e9, not good!"])
    assert [line[0] for line in lines[1:]] == ["1", "2"]
    np.testing.assert_allclose(np.array(lines[1:])[:, 1:3].astype(float), z, rtol=1e-6)
    assert [line[3] == "positive" for line in lines[1:]] == (z[:, 1] > z[:, 0]).tolist()
    for data, error in (
        (b"", "standard input has no sentence"),
        (b"fine\nb\xff\n", "standard input, line 2: expected text in UTF-8"),
        (b"fine\n\n", "sentence 2 has 0 words, expected 1 to 500"),
        (b"a " * 10_000, "sentence 1 has 10,000 words, expected 1 to 500"),
    ):
        assert run(data) == (2, "", error + "\n")
    assert "sentences" in program.inspect(path)
    with pytest.raises(ValueError, match="for numpy alone"):
        program.export(bundle.load(path), "onnx")


# --- the recipe ---------------------------------------------------------------------

SHARED = {"source": "sst2", "val": 0, "batch": 16, "lr": 0.02, "decay": 0.01}
SHARED |= {"schedule": "cosine", "smoothing": 0.0, "bf16": False}
SHARED |= {"augment": {"drop": 0.1, "window": 0.3}, "sets": 2}
BAG = {"student": "bag", "net": "bag", "seeds": 2, "epochs": 8, "file_bytes": 6000}
BAG |= {"sizes": {"widths": [6], "buckets": 1024, "order": 1}}
TEACHER = {"student": "teacher", "method": "label-only", "teaches": True, "seeds": 2}
TEACHER |= {"net": "bag", "epochs": 8}
TEACHER |= {"sizes": {"widths": [16], "buckets": 4096, "order": 2}}
KD = {**BAG, "method": "kd", "teacher": "teacher/label-only", "alpha": [0.5, 1.0]}
KD |= {"beside": "bag/label-only", "T": 2}


@pytest.fixture(scope="module")
def found(written, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs.paths, "ROOT", tmp_path_factory.mktemp("work"))
        patch.setenv("KD_REPORT", "toy")
        torch.set_num_threads(1)

        def mapped(part, arms, rows=None):
            configs = networks.plan(arms, rows, root=str(written), **SHARED)
            return runs.map("11_kd_text", networks, configs, part=part, workers=1)

        alone = mapped("alone", [TEACHER, {**BAG, "method": "label-only", "sets": 1}])
        yield alone, mapped("taught", [KD], alone)


def test_students_of_sentences_learn_from_a_teacher(found):
    alone, taught = found
    rows = nets.tidy(alone, taught)
    acc = rows.groupby(["student", "method"])["test_acc"].mean()
    assert acc["teacher", "label-only"] > 0.7 and acc["bag", "kd"] > 0.65
    assert (
        taught["teacher_acc"] == np.repeat(alone["test_acc"][:2], 2).to_numpy()
    ).all()
    assert rows["kind"].unique().tolist() == ["generated"]
    assert taught["packed_bytes"].max() <= 6000
    run = runs.open(networks, alone["run"].iloc[0])
    views, parts = run.arrays("views")["views"], networks.task(run.config)
    split = parts.load(run.config)
    sets, net = networks.shown(run.config, split, 2), networks.trained(run, split)
    assert views.shape == (2, len(split.train), 2)
    for e in (0, 1):
        expected = models.predict(net, sets[e].numpy()[:20])
        np.testing.assert_allclose(views[e][:20], expected, atol=5e-3)


def test_a_files_accuracy_is_that_of_its_text(found):
    taught = found[1]
    run = runs.open(networks, taught["run"].iloc[0])
    split = networks.task(run.config).load(run.config)
    net = networks.trained(run, split)
    file, _ = convert.packed(net, 0, ("class 0", "class 1"), id=f"sst2-{'0' * 12}")
    texts = [sentences.shown(split, x) for x in split.test.X]
    right = bundle.loads(file, "f").score(texts).argmax(1) == split.test.y
    assert right.mean() == taught["packed_acc"].iloc[0]
    assert len(file) == taught["packed_bytes"].iloc[0]


def test_a_run_that_needs_minilm_is_recorded_with_it():
    config = {"source": "sst2", "root": "", "net": "textcnn", "sizes": {}}
    plain = networks.digest(config)
    assert plain != networks.digest({**config, "sizes": {"scale": 0.3}})
    assert plain != networks.digest({**config, "net": "bert"})
    assert registry.known("minilm").licence == "Apache 2.0"


def test_a_taught_net_is_packed_at_several_widths(found):
    alone, taught = found
    rows = nets.tidy(alone, taught)
    configs = bit_widths.plan(rows, bits=[8, 4, 2])
    best = taught.loc[taught.groupby("seed")["val_acc"].idxmax()]
    assert [config["net"] for config in configs] == best["run"].tolist()
    made = runs.map("11_kd_text", bit_widths, configs, workers=1)
    assert made["packed_bits"].tolist() == [8, 4, 2] * 2
    assert (made["packed_bytes"].diff().dropna()[made["packed_bits"] < 8] < 0).all()
    first = best.iloc[0]
    (same,) = made[made["packed_bits"] == first["packed_bits"]].to_dict("records")[:1]
    assert same["packed_bytes"] == first["packed_bytes"]
    assert same["cost"] == first["packed_acc"] - first["test_acc"]
    table = nets.widths(made)
    assert table["n"].tolist() == [2, 2, 2]
    assert figures.bit_widths(table, "sentences").axes[0].texts[0].get_text() == "2"
    four = [table.assign(student=name) for name in ("a", "b", "c", "d")]
    assert len(figures.bit_widths(pd.concat(four)).axes[0].texts) == 12
    assert bit_widths.plan(rows[rows["method"] != "kd"], bits=[8]) == []
    assert bit_widths.plan(rows, bits=[]) == []


def test_steps_are_paired_with_plain_distillation(found):
    rows = nets.tidy(*found)
    later = rows[rows["method"] == "kd"].assign(method="qat")
    later["test_acc"] += 0.01
    both = nets.joined(rows, later)
    steps = nets.steps(both, ["takd", "qat"])
    assert steps["method"].tolist() == ["qat"]
    assert steps["gain"].tolist() == pytest.approx([0.01])
    assert nets.steps(rows, ["takd"]).empty
    assert set(nets.swept(both)["method"]) == {"label-only", "kd"}
