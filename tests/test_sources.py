"""Data sets are found, fetched, checked, or asked for in one sentence."""

from __future__ import annotations

import contextlib
import http.server
import io
import re
import socket
import threading
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from kdutils.data import registry, tables
from kdutils.data.simulate import miniatures
from kdutils.deploy.prepare import Prepare

CLOSED = "http://127.0.0.1:9/secom.zip"
FILES = ("secom.data", "secom_labels.data")


def zipped(folder, prefix="", names=FILES):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, prefix + name)
    return held.getvalue()


class Archive(http.server.BaseHTTPRequestHandler):
    """Serves server.body after server.wait seconds, says server.missing bytes more."""

    def do_GET(self):
        self.server.asked += 1
        time.sleep(self.server.wait)
        self.send_response(self.server.status)
        length = len(self.server.body) + self.server.missing
        self.send_header("Content-Length", str(length))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(self.server.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A miniature that stands for the official files, known by its checksum."""
    (folder,) = miniatures.write(str(tmp_path / "official"), "secom", seed=3)
    (folder / "GENERATED").unlink()
    known = registry.DATASETS["secom"]
    known = replace(known, sha256=(known.read(folder).sha256,), urls=(CLOSED,))
    monkeypatch.setitem(registry.DATASETS, "secom", known)
    monkeypatch.setenv("no_proxy", "*")
    return folder


def moved(url):
    """The registry's SECOM with another address."""
    return replace(registry.DATASETS["secom"], urls=(url,))


@pytest.fixture
def server(official, monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Archive) as running:
        running.body, running.status, running.missing = zipped(official), 200, 0
        running.wait, running.asked = 0, 0
        running.url = f"http://127.0.0.1:{running.server_port}/secom.zip"
        monkeypatch.setitem(registry.DATASETS, "secom", moved(running.url))
        threading.Thread(target=running.serve_forever, args=[0.02], daemon=True).start()
        yield running
        running.shutdown()


def left(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize("prefix", ["", "secom/"])
def test_a_download_lands_under_its_name(server, official, tmp_path, prefix):
    server.body = zipped(official, prefix)
    folder = registry.find("secom", str(tmp_path / "data"))
    assert folder == tmp_path / "data" / "secom"
    assert left(folder) == sorted(FILES)
    for name in FILES:
        assert (folder / name).read_bytes() == (official / name).read_bytes()


def test_what_is_there_is_not_downloaded_again(server, official, tmp_path):
    for _ in range(2):
        registry.find("secom", str(tmp_path))
    assert server.asked == 1
    (tmp_path / "secom" / FILES[0]).unlink()
    registry.find("secom", str(tmp_path))
    assert server.asked == 2


def test_kd_data_is_where_data_lives_unless_a_root_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("KD_DATA", str(tmp_path / "mine"))
    assert registry.folder("secom") == tmp_path / "mine" / "secom"
    assert (
        registry.folder("secom", str(tmp_path / "root")) == tmp_path / "root" / "secom"
    )
    monkeypatch.delenv("KD_DATA")
    assert registry.folder("secom").parts[-2:] == (".data", "secom")


def spoil(server, official, how):
    if how == "wrong content":
        text = (official / FILES[0]).read_text().splitlines(keepends=True)
        text[200] = text[200].replace("1", "2", 1)
        (official / FILES[0]).write_text("".join(text))
        server.body = zipped(official)
    elif how == "truncated":
        server.missing = 10
    elif how == "half a zip":
        server.body = server.body[: len(server.body) // 2]
    elif how == "a page":
        server.body = b"<html>moved</html>"
    elif how == "a file less":
        server.body = zipped(official, names=FILES[:1])
    elif how == "not numbers":
        (official / FILES[0]).write_text("1 2\n3 x\n")
        server.body = zipped(official)
    elif how == "404":
        server.status = 404
    elif how == "no answer":
        server.wait = 1
    elif how == "no network":
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            server.url = f"http://127.0.0.1:{unused.getsockname()[1]}/secom.zip"
            registry.DATASETS["secom"] = moved(server.url)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (
            "wrong content",
            r"content is not the official one: sha256 \w{12} where \w{12}",
        ),
        ("truncated", r"ended after \d+ of \d+ bytes"),
        ("half a zip", "not a whole zip archive"),
        ("a page", "not a whole zip archive"),
        ("a file less", "the archive has no secom_labels.data"),
        ("not numbers", "could not convert string 'x'"),
        ("404", "HTTP Error 404|Not Found"),
        ("no answer", "timed out"),
        ("no network", "refused"),
    ],
)
def test_a_failed_download_leaves_one_sentence_and_no_file(
    server, official, tmp_path, how, reason
):
    spoil(server, official, how)
    data = tmp_path / "data"
    with pytest.raises(registry.SourceError, match=reason) as refused:
        registry.find("secom", str(data), timeout=0.3)
    said = str(refused.value)
    assert "\n" not in said and said.count(server.url) == 1
    assert said.startswith(f"secom is not whole in {data / 'secom'} and secom.data")
    assert said.endswith(
        "get secom.data and secom_labels.data from "
        "https://archive.ics.uci.edu/dataset/179/secom and put them there"
    )
    assert left(data) == []


def test_a_folder_that_cannot_be_written_is_named(official, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(registry.SourceError, match=r"Not a directory.*get secom.data"):
        registry.find("secom", str(tmp_path / "file"))


def test_an_unknown_data_set_is_named():
    with pytest.raises(
        registry.SourceError, match=r"'secon' is unknown: expected .*secom"
    ):
        registry.find("secon")


def test_a_source_says_its_terms():
    known = registry.DATASETS["secom"]
    assert known.licence == "CC BY 4.0"
    assert re.fullmatch(r"[0-9a-f]{64}", known.sha256[0])
    assert known.urls == ("https://archive.ics.uci.edu/static/public/179/secom.zip",)


def test_the_miniature_has_the_official_layout(tmp_path):
    (folder,) = miniatures.write(str(tmp_path), "secom")
    data, labels = ((folder / name).read_text() for name in FILES)
    rows = [line.split(" ") for line in data.splitlines()]
    assert {len(row) for row in rows} == {60} and len(rows) == 400
    assert all(re.fullmatch(r"NaN|-?\d+\.\d{4}", cell) for row in rows for cell in row)
    lines = labels.splitlines()
    form = re.compile(r'-?1 "\d\d/\d\d/2008 \d\d:\d\d:\d\d"')
    assert all(form.fullmatch(line) for line in lines if line)
    assert sum(line.startswith("1 ") for line in lines) == 100
    X = np.loadtxt(folder / FILES[0])
    assert (np.nanmax(X, axis=0) == np.nanmin(X, axis=0)).sum() == 6
    assert (np.isnan(X).mean(axis=0) > 0.5).sum() == 5
    assert "not secom" in (folder / "GENERATED").read_text()
    assert tables.kind("secom", root=str(tmp_path)) == "generated"


def test_the_miniature_repeats_by_seed_and_so_does_its_digest(tmp_path):
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        miniatures.write(str(tmp_path / name), "secom", seed=seed)
        digests.append(tables.digest("secom", root=str(tmp_path / name)))
    assert digests[0] == digests[1] != digests[2]
    assert registry.DATASETS["secom"].sha256[0] not in digests
    miniatures.write(str(tmp_path / "a"), "secom", seed=2)
    assert tables.digest("secom", root=str(tmp_path / "a")) == digests[2]


def test_a_miniature_never_replaces_real_files(official, tmp_path):
    real = tmp_path / "real" / "secom"
    real.mkdir(parents=True)
    (real / FILES[0]).write_bytes((official / FILES[0]).read_bytes())
    with pytest.raises(registry.SourceError, match="holds real files"):
        miniatures.write(str(tmp_path / "real"), "secom")
    assert left(real) == [FILES[0]]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_majority_class_model_would_fail_the_miniature(tmp_path, seed):
    miniatures.write(str(tmp_path), "secom", seed=seed)
    for split in tables.splits("secom", root=str(tmp_path), seed=0, folds=3):
        prepare = Prepare.fit(split.train.X, split.train.y, split.features)
        model = LogisticRegression(C=0.1)
        model.fit(prepare.transform(split.train.X), split.train.y)
        score = model.decision_function(prepare.transform(split.test.X))
        assert roc_auc_score(split.test.y, score) > 0.68
