"""text: networks for sentences, words int32 (n, length) -> logits (n, K).

A sentence is a row of places in a list of words, filled with -1 at its end. Which word
stands there, a net is told once, by `spell`: a student hashes it and needs no list, a
BERT cuts it into word pieces.
"""

from __future__ import annotations

import json
import math
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kdutils.deploy.words import hashed, rows_of

HEADS, PIECES = 12, 13  # attention heads of MiniLM; the most pieces of a word
WORDS = "embeddings.word_embeddings.weight"
OUTSIDE = -100.0  # the logit of a place that cannot be
QKV = "query", "key", "value"
CLS, SEP, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"


class Hashed(nn.Module):
    """A net that looks words up by their hash: it needs no list of words.

    Rows of its table begin at 0, and one that no sentence of the training asked for
    stays 0: in a file of deflated weights such a row costs next to nothing, so that a
    table much longer than the list of words has few words with one row.
    buckets: rows; width: numbers in a row; letters: least and most of a word's parts
    that have rows as well, so that a word that was never seen has what its parts have
    (Bojanowski et al. 2017, arXiv 1607.04606), or (); hide: how often a word in
    training has its parts' rows alone.
    """

    def __init__(self, buckets: int, width: int, letters=(), hide=0.0) -> None:
        super().__init__()
        self.buckets, self.letters, self.hide = buckets, tuple(letters or ()), hide
        self.embed = nn.Embedding(buckets + 1, width, padding_idx=0)
        nn.init.zeros_(self.embed.weight)

    def spell(self, words) -> Hashed:
        """Set the list of words of the sentences to come."""
        h = hashed(words, *self.letters)
        h = torch.from_numpy(np.concatenate((h, np.full_like(h[:1], -1))))
        self.register_buffer("table", h, persistent=False)
        return self

    @torch.no_grad()
    def keep(self, counts: np.ndarray, least: int) -> Hashed:
        """Let rows that sentences ask for less than `least` times stay 0.

        counts: how often the sentences have each word of the list.
        """
        rows = rows_of(self.table[:-1].reshape(len(counts), -1), self.buckets, 1)
        asked = torch.zeros(self.buckets + 1)
        some = torch.tensor(counts, dtype=torch.float32)[:, None].expand(rows.shape)
        asked.index_add_(0, rows.flatten(), some.flatten())
        asked[0] = 0
        alive = (asked >= least)[:, None]
        self.embed.weight *= alive
        self.embed.weight.register_hook(lambda g: g * alive.to(g.device))
        return self

    def there(self, x: Tensor) -> Tensor:
        """x (n, longest), cut after the longest sentence's last word."""
        return x[:, : max(int((x >= 0).sum(1).max()), 1)].long()

    def hashes(self, x: Tensor) -> Tensor:
        """The words' hashes int64 (n, longest), -1 after the last one."""
        return self.table[self.there(x)]

    def rows(self, x: Tensor) -> Tensor:
        """What the table has of each word (n, longest, width)."""
        some, place = torch.unique(x, return_inverse=True)
        h = self.table[some].reshape(len(some), -1)
        e = self.embed(rows_of(h, self.buckets, 1))
        own, parts = e[:, 0], e[:, 1:]
        if self.letters:
            if self.training and self.hide:
                own = own * (torch.rand(len(own), 1, device=own.device) >= self.hide)
            count = (h[:, 1:] >= 0).sum(1, keepdim=True).clamp(min=1)
            own = own + parts.sum(1) / count.sqrt()
        return own[place]

    def first(self) -> list:
        """The first step, as `deploy.runtime` has it."""
        letters = self.letters or (0, 0)
        return ["words", *letters, self.buckets, self.embed.embedding_dim]

    @torch.no_grad()
    def pretrained(self, place: Path, words, counts: np.ndarray, scale: float):
        """Set the rows from MiniLM's embeddings, in the folder `place`.

        A word's embedding is the mean of its pieces'; kept are its parts along the
        principal directions, weighted by the root of a word's count, brought to the
        standard deviation `scale`. Known are the words counted, and all whole pieces.
        """
        vocab = vocabulary(place / "vocab.txt")
        table = safetensors(place / "model.safetensors")[WORDS]
        count = dict(zip(words, counts.tolist(), strict=True))
        known = {w for w in vocab if not w.startswith(("##", "["))}
        known = sorted(known | {w for w, n in count.items() if n})
        E = np.stack([table[pieces(w, vocab)].mean(0) for w in known])
        n = np.array([count.get(w, 0) for w in known])
        weight = np.where(n > 0, np.sqrt(n), 0.1)[:, None]
        E = E - (weight * E).sum(0) / weight.sum()
        axes = np.linalg.eigh((weight * E).T @ E)[1][:, ::-1]
        E = torch.tensor(E @ axes[:, : self.embed.embedding_dim], dtype=torch.float32)
        E *= scale / E[torch.tensor(n) > 0].std()
        share = torch.tensor(np.maximum(n, 0.1), dtype=torch.float32)
        rows = torch.from_numpy(rows_of(hashed(known)[:, None], self.buckets, 1)[:, 0])
        sums = torch.zeros_like(self.embed.weight)
        sums.index_add_(0, rows, E * share[:, None])
        total = torch.zeros(len(sums)).index_add_(0, rows, share)
        self.embed.weight.copy_(sums / total.clamp(min=1e-9)[:, None])
        return self


class Bag(Hashed):
    """The mean of hashed n-grams' rows, and a layer or more above it.

    fastText (Joulin et al. 2017), its hashing trick for words as well; widths: of a row
    and of the hidden layers; order: words in the longest n-gram.
    """

    def __init__(self, length: int, classes: int, widths=(16,), buckets=4096, order=2):
        super().__init__(buckets, widths[0])
        self.order, layers = order, []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.head = nn.Sequential(*layers, nn.Linear(widths[-1], classes))

    def program(self) -> list[list]:
        """The steps, as `deploy.runtime` has them."""
        out = self.embed.embedding_dim
        first = ["grams", self.order, self.buckets, out]
        return [first, *_linear(self.head)]

    def forward(self, x: Tensor) -> Tensor:
        h = self.hashes(x)
        found = [rows_of(h, self.buckets, k + 1) for k in range(self.order)]
        rows = torch.cat(found, 1)
        count = (rows > 0).sum(1, keepdim=True).clamp(min=1)
        return self.head(self.embed(rows).sum(1) / count)


class Convolved(Hashed):
    """Hashed words' rows, a convolution over three of them, the largest (Kim 2014).

    widths: of a row and of the convolution.
    """

    def __init__(
        self, length, classes, widths=(32, 64), buckets=8192, dropout=0, **own
    ):
        super().__init__(buckets, widths[0], **own)
        self.conv = nn.Linear(3 * widths[0], widths[1])
        self.drop, self.head = nn.Dropout(dropout), nn.Linear(widths[1], classes)

    def program(self) -> list[list]:
        """The steps, as `deploy.runtime` has them."""
        threes = ["threes", self.conv.out_features, 1, 1]
        return [self.first(), threes, ["most"], *_linear(self.head)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.there(x)
        e = nn.functional.pad(self.drop(self.rows(x)), (0, 0, 2, 2))
        threes = torch.cat((e[:, :-2], e[:, 1:-1], e[:, 2:]), 2)
        there = nn.functional.pad(x >= 0, (2, 0), value=True)[..., None]
        return self.head(self.drop((self.conv(threes).relu() * there).amax(1)))


class Recurrent(Hashed):
    """Hashed words' rows, a bidirectional LSTM, the largest of its states.

    Tang et al. 2019, arXiv 1903.12136, whose words have word2vec embeddings; widths: of
    a row, of each direction and of the hidden layer.
    """

    def __init__(
        self, length, classes, widths=(32, 48, 32), buckets=8192, dropout=0, **own
    ):
        super().__init__(buckets, widths[0], **own)
        a, b, c = widths
        self.lstm = nn.LSTM(a, b, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.Linear(2 * b, c), nn.ReLU(), nn.Linear(c, classes))

    def program(self) -> list[list]:
        """The steps, as `deploy.runtime` has them."""
        lstm = ["lstm", self.lstm.hidden_size]
        return [self.first(), lstm, ["most"], *_linear(self.head)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.there(x)
        e = self.drop(self.rows(x))
        n = (x >= 0).sum(1).clamp(min=1).cpu()  # the way back begins at the last word
        e = pack_padded_sequence(e, n, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(e)[0], batch_first=True)
        states = states.masked_fill((x < 0)[..., None], -1)
        return self.head(self.drop(states.amax(1)))


def _linear(head: nn.Module) -> list[list]:
    """The steps of linear layers, each but the last closed by a ReLU."""
    layers = [m for m in head.modules() if isinstance(m, nn.Linear)]
    found = [["linear", m.out_features, 1, 1] for m in layers]
    found[-1][-1] = 0
    return found


class Bert(nn.Module):
    """BERT (Devlin et al. 2019), the mean of its states classified by one layer.

    MiniLM's weights come from a training of such means (Reimers & Gurevych 2019).

    widths: of a state and of the hidden layer; depth: layers; rows: of the tables of
    pieces and of places. Its sizes are those of MiniLM (Wang et al. 2020). Without
    attention_dropout torch never holds the weights of attention: 400 pieces are learned
    from in a third of the time and half of the memory.
    """

    def __init__(
        self,
        length: int,
        classes: int,
        widths=(384, 1536),
        depth=6,
        dropout=0.1,
        rows=(30522, 512),
        attention_dropout=0.1,
    ):
        super().__init__()
        wide, hidden = widths
        self.word, self.place = (nn.Embedding(n, wide) for n in rows)
        self.norm, self.drop = nn.LayerNorm(wide, 1e-12), nn.Dropout(dropout)
        sizes = wide, HEADS, hidden, dropout, "gelu", 1e-12
        layer = nn.TransformerEncoderLayer(*sizes, batch_first=True)
        layer.dropout.p = 0.0  # BERT drops no state inside of its hidden layer
        layer.self_attn.dropout = attention_dropout
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(wide, classes)

    def spell(self, words, place: Path) -> Bert:
        """Set each word's pieces, from the vocabulary in the folder `place`."""
        vocab = vocabulary(place / "vocab.txt")
        table = np.zeros((len(words) + 1, PIECES), np.int64)
        for i, word in enumerate(words):
            found = [vocab[SEP]] if word == SEP else pieces(word, vocab)[:PIECES]
            table[i, : len(found)] = found
        self.register_buffer("table", torch.from_numpy(table), persistent=False)
        self.ends = vocab[CLS], vocab[SEP]
        return self

    def states(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States (n, pieces, wide) of all pieces; which are there (n, pieces); each
        word's first (n, length).

        A word that is not there, or beyond the 510 pieces that are kept, has the last.
        """
        cls, sep = self.ends
        p = self.table[x.long()].flatten(1)
        n = (p > 0).sum(1)
        each = (self.table[x.long()] > 0).sum(2)
        first = (each.cumsum(1) - each + 1).clamp(max=511)
        order = (p == 0).to(torch.uint8).sort(dim=1, stable=True).indices
        p = p.gather(1, order)[:, : min(int(n.max()), 510)]
        n = n.clamp(max=510)
        p = torch.cat([p.new_full((len(p), 1), cls), p, p.new_zeros(len(p), 1)], 1)
        p[torch.arange(len(p)), n + 1] = sep
        h = self.word(p) + self.place.weight[: p.shape[1]]
        h = self.drop(self.norm(h))
        h = self.layers(h, src_key_padding_mask=p == 0)
        return h, p > 0, first.clamp(max=p.shape[1] - 1)

    def forward(self, x: Tensor) -> Tensor:
        h, there, _ = self.states(x)
        mean = (h * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        return self.head(self.drop(mean))

    @torch.no_grad()
    def pretrained(self, path: Path) -> Bert:
        """Set all but the head from a file of MiniLM's weights.

        The embedding of the one token type is added to that of every place. A net of
        fewer layers takes every second, third, ... one (Sanh et al. 2019, arXiv
        1910.01108, section 3).
        """
        held = safetensors(path)
        step = sum(k.endswith("output.LayerNorm.bias") for k in held) // 2
        step //= len(self.layers.layers)
        own = {
            "word.weight": held[WORDS],
            "place.weight": held["embeddings.position_embeddings.weight"]
            + held["embeddings.token_type_embeddings.weight"][0],
            "norm.weight": held["embeddings.LayerNorm.weight"],
            "norm.bias": held["embeddings.LayerNorm.bias"],
            "head.weight": self.head.weight,
            "head.bias": self.head.bias,
        }
        names = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        for k in range(len(self.layers.layers)):
            theirs = f"encoder.layer.{k * step}."
            for part in ("weight", "bias"):
                heads = [f"{theirs}attention.self.{n}.{part}" for n in QKV]
                qkv = np.concatenate([held[head] for head in heads])
                own[f"layers.layers.{k}.self_attn.in_proj_{part}"] = qkv
                for mine, name in names.items():
                    value = held[f"{theirs}{name}.{part}"]
                    own[f"layers.layers.{k}.{mine}.{part}"] = value
        self.load_state_dict({k: torch.as_tensor(v) for k, v in own.items()})
        return self


class Spans(Bert):
    """A BERT that finds answers: logits (n, 2, length) of each word to be the first,
    and the last, of the stretch that answers (Devlin et al. 2019, section 4.2).

    Words of the question have `OUTSIDE`, as those that are not there.
    """

    def spell(self, words, place: Path) -> Spans:
        """Set each word's pieces, and which word parts question and text."""
        super().spell(words, place)
        self.separator = list(words).index(SEP)
        return self

    def forward(self, x: Tensor) -> Tensor:
        h, _, first = self.states(x)
        h = self.drop(h.gather(1, first[..., None].expand(-1, -1, h.shape[2])))
        text = (x == self.separator).cumsum(1) > 0
        inside = text & (x >= 0) & (x != self.separator)
        z = self.head(h).float().masked_fill(~inside[..., None], OUTSIDE)
        return z.transpose(1, 2)


def safetensors(path: Path) -> dict[str, np.ndarray]:
    """The float32 arrays of a safetensors file by name.

    Eight bytes of the header's length, the header in JSON, then the arrays.
    """
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    held = json.loads(data[8:start])
    held.pop("__metadata__", None)
    found = {}
    for name, its in held.items():
        if its["dtype"] == "F32":
            shape, (at, _) = its["shape"], its["data_offsets"]
            flat = np.frombuffer(data, "<f4", math.prod(shape), start + at)
            found[name] = flat.reshape(shape).copy()
    return found


def vocabulary(path: Path) -> dict[str, int]:
    """Each piece's number: its line, from 0."""
    return {w: i for i, w in enumerate(path.read_text("utf-8").split("\n")) if w}


def pieces(word: str, vocab: dict[str, int]) -> list[int]:
    """The numbers of a word's pieces: BERT's uncased WordPiece (Devlin et al. 2019).

    Lower case without accents, signs each on their own; then from the left the longest
    piece that the vocabulary has.
    """
    plain = unicodedata.normalize("NFD", word.lower())
    plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
    parts = "".join(c if _inside(c) else f" {c} " for c in plain).split()
    return [number for part in parts for number in _longest(part, vocab)]


def _inside(c: str) -> bool:
    """Whether a character may stand inside a word."""
    if c.isascii():
        return c.isalnum() or c.isspace()
    return not unicodedata.category(c).startswith("P")


def _longest(part: str, vocab: dict[str, int]) -> list[int]:
    found, start = [], 0
    while start < len(part):
        mark = "##" if start else ""
        ends = range(len(part), start, -1)
        end = next((e for e in ends if mark + part[start:e] in vocab), None)
        if end is None:
            return [vocab[UNKNOWN]]
        found.append(vocab[mark + part[start:end]])
        start = end
    return found


MODELS = {"bag": Bag, "textcnn": Convolved, "bilstm": Recurrent, "bert": Bert}
MODELS["spans"] = Spans
