"""One official file: from the first address that has it, checked before it is named."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import socket
import threading
import time
import urllib.error

import pytest

from kdutils.data import __main__ as every
from kdutils.data import download, registry
from kdutils.data.registry import DATASETS, SourceError

BODY = b"official bytes " * 10_000
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


class Site(http.server.BaseHTTPRequestHandler):
    """Good files under /good/; the other folders each have their own way to fail."""

    def do_GET(self):
        folder = self.path.split("/")[1]
        self.server.asked.append(self.path)
        if folder == "slow":
            time.sleep(1)
        self.send_response(404 if folder == "missing" else 200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        sent = BODY.swapcase() if folder == "other" else BODY
        sent = sent[:50_000] if folder == "short" else sent
        with contextlib.suppress(OSError):
            self.wfile.write(sent)

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as running:
        running.url, running.asked = f"http://127.0.0.1:{running.server_port}", []
        threading.Thread(target=running.serve_forever, args=[0.02], daemon=True).start()
        yield running
        running.shutdown()


def left(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_a_checked_file_gets_its_name(site, tmp_path):
    path = tmp_path / "new" / "file.gz"
    download.fetch([f"{site.url}/good/file.gz"], path.parent, {"file.gz": MD5})
    assert path.read_bytes() == BODY
    assert left(tmp_path) == ["new/file.gz"]


def test_the_next_address_is_asked_only_if_the_first_fails(site, tmp_path):
    urls = [f"{site.url}/{name}/f" for name in ("other", "good", "missing")]
    download.fetch(urls, tmp_path, {"f": MD5})
    assert site.asked == ["/other/f", "/good/f"]
    assert (tmp_path / "f").read_bytes() == BODY


REASONS = {
    "other": rf"its md5 is \w{{32}} where {MD5} was expected",
    "short": "ended after 50000 of 150000 bytes",
    "missing": "Not Found",
    "slow": "timed out",
}


@pytest.mark.parametrize("how", REASONS)
def test_a_failed_download_is_one_sentence_and_leaves_nothing(site, tmp_path, how):
    url = f"{site.url}/{how}/f"
    with pytest.raises(SourceError, match=REASONS[how]) as refused:
        download.fetch([url], tmp_path, {"f": MD5}, timeout=0.3)
    said = str(refused.value)
    assert said.startswith(f"f could not be downloaded from {url} (")
    assert "\n" not in said and left(tmp_path) == []


def test_every_address_says_its_own_reason(site, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/f"
    with pytest.raises(
        SourceError, match=rf"Not Found\) nor from {closed} \(.*refused\)"
    ):
        download.fetch([f"{site.url}/missing/f", closed], tmp_path, {"f": MD5})
    assert left(tmp_path) == []


def test_a_failed_download_leaves_the_file_that_was_there(site, tmp_path):
    (tmp_path / "f").write_bytes(b"mine")
    with pytest.raises(SourceError):
        download.fetch([f"{site.url}/other/f"], tmp_path, {"f": MD5})
    assert (tmp_path / "f").read_bytes() == b"mine" and left(tmp_path) == ["f"]


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
    assert site.asked == [f"/good/{name}.gz?download=1" for name in "abb"]


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


SETS = ["secom", "mnist", "pneumoniamnist", "mixedwm38", "wm811k"]


def put(root, *names):
    """Empty files where those of the data sets belong."""
    for name in names:
        (root / name).mkdir()
        for file in [*DATASETS[name].files][: 1 if "wm" in name else None]:
            (root / name / file).touch()


@pytest.mark.parametrize("here", [[], ["secom", "wm811k"], SETS])
def test_offline_every_data_set_has_its_line(tmp_path, monkeypatch, capsys, here):
    def offline(*_, **__):
        raise urllib.error.URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setenv("KD_DATA", str(tmp_path))
    put(tmp_path, *here)
    assert every.main() == (1 if here != SETS else 0)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert not said.err and len(lines) == len(SETS)
    for name, line in zip(SETS, lines, strict=True):
        assert str(tmp_path / name) in line
        start = f"{name}: found in " if name in here else f"missing: {name} is not "
        assert line.startswith(start) and ("found" in line or "https://" in line)


def test_a_fetched_data_set_is_told_from_a_found_one(
    known, tmp_path, monkeypatch, capsys
):
    known("good")
    monkeypatch.setenv("KD_DATA", str(tmp_path))
    monkeypatch.setattr(registry, "DATASETS", {"two": DATASETS["two"]})
    assert every.main() == every.main() == 0
    place = tmp_path / "two"
    said = capsys.readouterr().out
    assert said == f"two: fetched into {place}\ntwo: found in {place}\n"
