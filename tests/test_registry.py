"""Data sets are found, fetched, checked, or asked for in one sentence."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import re
import socket
import threading
import time
import urllib.error
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from kdutils.data import __main__ as every
from kdutils.data import images, readers, registry, wafers
from kdutils.data.registry import DATASETS, SourceError
from kdutils.data.simulate import miniatures

BODY = b"official bytes " * 10_000
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


class Site(http.server.BaseHTTPRequestHandler):
    """The body under /good/; the other folders each have their own way to fail."""

    def do_GET(self):
        folder = self.path.split("/")[1]
        self.server.paths.append(self.path)
        if folder == "slow":
            time.sleep(1)
        body = self.server.body
        self.send_response(404 if folder == "missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body.swapcase() if folder == "other" else body
        sent = sent[:50_000] if folder == "short" else sent
        with contextlib.suppress(OSError):
            self.wfile.write(sent)

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as running:
        running.url, running.paths = f"http://127.0.0.1:{running.server_port}", []
        running.body = BODY
        threading.Thread(target=running.serve_forever, args=[0.02], daemon=True).start()
        yield running
        running.shutdown()


def left(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


# --- one file -----------------------------------------------------------------------


def test_the_next_address_is_asked_only_if_the_first_fails(site, tmp_path):
    urls = [f"{site.url}/{name}/f" for name in ("other", "good", "missing")]
    registry.fetch(urls, tmp_path, {"f": MD5})
    assert site.paths == ["/other/f", "/good/f"]
    assert (tmp_path / "f").read_bytes() == BODY


REASONS = {"other": rf"its md5 is \w{{32}} where {MD5} was expected"}
REASONS |= {"short": "ended after 50000 of 150000 bytes", "missing": "Not Found"}
REASONS |= {"slow": "timed out"}


@pytest.mark.parametrize("how", REASONS)
def test_a_failed_download_is_one_sentence_and_leaves_nothing(site, tmp_path, how):
    url = f"{site.url}/{how}/f"
    with pytest.raises(SourceError, match=REASONS[how]) as refused:
        registry.fetch(
            [url], tmp_path, {"f": MD5}, timeout=0.3 if how == "slow" else 30
        )
    said = str(refused.value)
    assert said.startswith(f"f could not be downloaded from {url} (")
    assert "\n" not in said and left(tmp_path) == []
    (tmp_path / "f").write_bytes(b"mine")
    with pytest.raises(SourceError):
        registry.fetch([url], tmp_path, {"f": MD5}, timeout=0.05)
    assert (tmp_path / "f").read_bytes() == b"mine" and left(tmp_path) == ["f"]


def test_every_address_says_its_own_reason(site, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/f"
    with pytest.raises(
        SourceError, match=rf"Not Found\) nor from {closed} \(.*refused\)"
    ):
        registry.fetch([f"{site.url}/missing/f", closed], tmp_path, {"f": MD5})
    assert left(tmp_path) == []


@pytest.fixture
def known(site, monkeypatch):
    """A source of two files whose only address is the site."""

    def at(folder):
        source = registry.DataSet(
            "image",
            page="https://example.org/page",
            licence="CC BY 4.0",
            files={"a.gz": MD5, "b.gz": MD5},
            urls=(f"{site.url}/{folder}/{{}}?download=1",),
        )
        monkeypatch.setitem(DATASETS, "two", source)

    return at


def test_find_fetches_what_is_missing_and_nothing_else(site, known, tmp_path):
    known("good")
    assert registry.find("two", str(tmp_path)) == tmp_path / "two"
    assert left(tmp_path) == ["two/a.gz", "two/b.gz"]
    (tmp_path / "two" / "b.gz").unlink()
    registry.find("two", str(tmp_path))
    assert site.paths == [f"/good/{name}.gz?download=1" for name in "abb"]


def test_find_says_which_files_to_get_and_where_to_put_them(known, tmp_path):
    known("missing")
    with pytest.raises(SourceError, match="could not be downloaded") as refused:
        registry.find("two", str(tmp_path))
    said = str(refused.value)
    assert said.startswith(f"two is not whole in {tmp_path / 'two'} and a.gz")
    assert said.endswith(
        "get a.gz and b.gz from https://example.org/page and put them there"
    )
    assert "\n" not in said and left(tmp_path) == []


# --- an archive -------------------------------------------------------------------


def zipped(folder, prefix="", names=readers.SECOM):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, prefix + name)
    return held.getvalue()


@pytest.fixture
def official(site, tmp_path, monkeypatch):
    """A miniature that stands for SECOM's files: known by its content, zipped."""
    (folder,) = miniatures.write(str(tmp_path / "official"), "secom", seed=3)
    (folder / "GENERATED").unlink()
    known = DATASETS["secom"]
    sha256, urls = known.read(folder).sha256, (f"{site.url}/good/secom.zip",)
    known = replace(known, sha256=(sha256,), urls=urls)
    monkeypatch.setitem(DATASETS, "secom", known)
    site.body = zipped(folder)
    return folder


@pytest.mark.parametrize("prefix", ["", "secom/"])
def test_an_archives_files_land_under_their_names(site, official, tmp_path, prefix):
    site.body = zipped(official, prefix)
    for downloads, missing in ((1, None), (1, readers.SECOM[0]), (2, None)):
        folder = registry.find("secom", str(tmp_path / "data"))
        assert folder == tmp_path / "data" / "secom"
        assert left(folder) == sorted(readers.SECOM) and len(site.paths) == downloads
        for name in readers.SECOM:
            assert (folder / name).read_bytes() == (official / name).read_bytes()
        if missing:
            (folder / missing).unlink()


def spoil(site, official, how):
    data = official / readers.SECOM[0]
    if how == "wrong content":
        text = data.read_text().splitlines(keepends=True)
        text[200] = text[200].replace("1", "2", 1)
        data.write_text("".join(text))
    elif how == "not numbers":
        data.write_text("1 2\n3 x\n")
    site.body = zipped(official)
    if how == "half a zip":
        site.body = site.body[: len(site.body) // 2]
    elif how == "a page":
        site.body = b"<html>moved</html>"
    elif how == "a file less":
        site.body = zipped(official, names=readers.SECOM[:1])


REFUSED = {
    "wrong content": r"content is not the official one: sha256 \w{12} where \w{12}",
    "half a zip": "not a whole zip archive",
    "a page": "not a whole zip archive",
    "a file less": "the archive has no secom_labels.data",
    "not numbers": "could not convert string 'x'",
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_spoilt_archive_leaves_one_sentence_and_no_file(
    site, official, tmp_path, how
):
    spoil(site, official, how)
    data = tmp_path / "data"
    with pytest.raises(SourceError, match=REFUSED[how]) as refused:
        registry.find("secom", str(data))
    said = str(refused.value)
    assert "\n" not in said and said.count(site.url) == 1
    assert said.startswith(f"secom is not whole in {data / 'secom'} and secom.zip")
    assert said.endswith(
        "get secom.zip from https://archive.ics.uci.edu/dataset/179/secom and put it "
        "there"
    )
    assert left(data) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match=r"Not a directory.*get secom.zip"):
        registry.find("secom", str(tmp_path / "file"))


# --- every data set ---------------------------------------------------------------


def test_kd_data_is_where_data_lives_unless_a_root_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("KD_DATA", str(tmp_path / "mine"))
    assert registry.folder("secom") == tmp_path / "mine" / "secom"
    assert (
        registry.folder("secom", str(tmp_path / "root")) == tmp_path / "root" / "secom"
    )
    monkeypatch.delenv("KD_DATA")
    assert registry.folder("secom").parts[-2:] == (".data", "secom")


def test_an_unknown_data_set_is_named():
    for functions, name in (
        ([registry.find], "secom"),
        ([images.classes, images.digest, images.kind], "mnist"),
        ([wafers.kind, wafers.digest, wafers.duplicates], "mixedwm38"),
    ):
        for function in functions:
            with pytest.raises(SourceError, match=f"'x' is unknown: expected .*{name}"):
                function("x")


def test_every_data_set_states_its_terms():
    for known in DATASETS.values():
        if not known.kind:
            assert known.licence and (known.page or known.by_hand)
            assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in known.sha256)
            assert not known.files or bool(known.urls) != bool(known.by_hand)


def test_a_new_data_set_is_one_entry(site, tmp_path, monkeypatch):
    """As CONTRIBUTING.md describes it: images in a file of a new format."""

    def read(place):
        X = np.frombuffer((place / "own.bin").read_bytes(), np.uint8).reshape(-1, 5, 5)
        return readers.rows(X, X[:, 0, 0] % 2, np.repeat("train", len(X)))

    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.bin").write_bytes(BODY)
    entry = registry.DataSet(
        "image",
        read=read,
        sha256=(read(tmp_path / "own").sha256,),
        page="https://example.org/page",
        licence="CC BY 4.0",
        files={"own.bin": MD5},
        urls=(f"{site.url}/good/{{}}",),
    )
    monkeypatch.setitem(DATASETS, "own", entry)
    monkeypatch.setenv("KD_DATA", str(tmp_path / "elsewhere"))
    split = images.split("own", seed=0, val=1)
    assert (split.source, split.kind) == ("own", images.kind("own")) == ("own", "real")
    assert split.train.X.shape[1:] == (5, 5) and images.classes("own") == 2
    assert images.digest("own") == entry.sha256[0] and len(site.paths) == 1


SETS = ["secom", "higgs", "mnist", "pneumoniamnist", "cifar10", "sst2", "squad"]
SETS += ["minilm", "efficientnet-lite0", "efficientnet-lite2", "tiny-imagenet", "mhist"]
SETS += ["mixedwm38", "wm811k"]


def put(root, *names):
    """Empty files where those of the data sets belong."""
    for name in names:
        for file in [*DATASETS[name].files][: 1 if DATASETS[name].by_hand else None]:
            (root / name / file).parent.mkdir(parents=True, exist_ok=True)
            (root / name / file).touch()


@pytest.mark.parametrize("here", [[], ["secom", "wm811k"], SETS])
def test_offline_every_data_set_has_its_line(tmp_path, monkeypatch, capsys, here):
    def offline(*_, **__):
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setenv("KD_DATA", str(tmp_path))
    put(tmp_path, *here)
    assert every.main([]) == (1 if here != SETS else 0)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert not said.err and len(lines) == len(SETS)
    for name, line in zip(SETS, lines, strict=True):
        assert str(tmp_path / name) in line
        start = f"{name}: found in " if name in here else f"missing: {name} is not "
        assert line.startswith(start) and ("found" in line or "://" in line)


def test_a_fetched_data_set_is_told_from_a_found_one(
    known, tmp_path, monkeypatch, capsys
):
    known("good")
    monkeypatch.setenv("KD_DATA", str(tmp_path))
    monkeypatch.setattr(registry, "DATASETS", {"two": DATASETS["two"]})
    assert every.main([]) == every.main([]) == 0
    place = tmp_path / "two"
    said = capsys.readouterr().out
    assert said == f"two: fetched into {place}\ntwo: found in {place}\n"
