"""imagesources: where the images come from: files, addresses, licences, checksums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kdutils import paths
from kdutils.data import download, imagefiles, sources
from kdutils.data.sources import SourceError


@dataclass(frozen=True)
class Source:
    """A data set of images: how to read it, what it is, where its files come from.

    sha256: of its content, see `imagefiles.content`; files: name -> official md5;
    urls: addresses with {} for the file's name, tried in this order.
    """

    read: Callable[[Path], tuple]
    classes: int
    sha256: str
    page: str
    licence: str
    files: dict[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()


SOURCES = {
    "mnist": Source(
        read=imagefiles.mnist,
        classes=10,
        sha256="86385038f14a57175c02de6054a50e64a492ef9e66bdcb6b69dd58d7a56627c2",
        page="http://yann.lecun.com/exdb/mnist/",
        licence="CC BY-SA 3.0",
        files={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb92873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        urls=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/{}",
            "http://yann.lecun.com/exdb/mnist/{}",
        ),
    ),
    "pneumoniamnist": Source(
        read=imagefiles.pneumoniamnist,
        classes=2,
        sha256="b42c9be7450d64974c39058dbd950a921a300f995499c99e94cfdd07f13e2220",
        page="https://zenodo.org/records/10519652",
        licence="CC BY 4.0",
        files={"pneumoniamnist.npz": "28209eda62fecd6e6a2d98b1501bb15f"},
        urls=("https://zenodo.org/records/10519652/files/{}?download=1",),
    ),
    "digits": Source(
        read=imagefiles.digits,
        classes=10,
        sha256="e4c7468537a011d7d99ee5407fc9323688ad1aa77dfcdf89400f064886aef776",
        page="https://archive.ics.uci.edu/dataset/80/"
        "optical+recognition+of+handwritten+digits",
        licence="CC BY 4.0",
    ),
}


def known(source: str) -> Source:
    """The source of that name; raises SourceError, with the names there are."""
    if source not in SOURCES:
        raise SourceError(
            f"images {source!r} are unknown: expected {', '.join(sorted(SOURCES))}"
        )
    return SOURCES[source]


def folder(source: str, root: str = "") -> Path:
    """Where a source's files belong, there or not: <root, KD_DATA or .data>/source."""
    known(source)
    return paths.data(root) / source


def generated(source: str, root: str = "") -> bool:
    """Whether the folder holds a generated miniature instead of the source itself."""
    return bool(known(source).files) and sources.generated(folder(source, root))


def find(source: str, root: str = "", *, timeout: float = 60) -> Path:
    """A source's folder; the files that are missing there are downloaded first.

    timeout: seconds without an answer. Raises SourceError, one sentence that says
    which files to get where, if they can be had neither way.
    """
    its, place = known(source), folder(source, root)
    missing = [file for file in its.files if not (place / file).is_file()]
    if missing and generated(source, root):
        raise SourceError(
            f"{place} is a generated miniature without {' and '.join(missing)}: "
            "remove the folder to make it again"
        )
    for file in missing:
        try:
            urls = [url.format(file) for url in its.urls]
            download.fetch(urls, place / file, its.files[file], timeout=timeout)
        except SourceError as error:
            raise SourceError(
                f"{source} is not whole in {place} and {error}: get "
                f"{' and '.join(missing)} from {its.page} and put them there"
            ) from None
    return place


def verify(source: str, place: Path, sha256: str) -> None:
    """Raise SourceError unless `sha256`, of what was read in `place`, is official.

    The sentence names the files whose md5 is not the official one.
    """
    its = known(source)
    if sha256 == its.sha256:
        return
    md5s = [(f, download.md5_of(place / f), md5) for f, md5 in its.files.items()]
    unlike = [f"{f} has md5 {a} where {b}" for f, a, b in md5s if a != b]
    raise SourceError(
        f"{place} does not hold the official content of {its.page} "
        f"({' and '.join(unlike) or f'sha256 {sha256} where {its.sha256}'} was "
        "expected): remove what is wrong to download it again"
    )
