"""wafersources: where wafer maps come from: files, licences, checksums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kdutils import paths
from kdutils.data import sources, waferfiles
from kdutils.data.sources import SourceError
from kdutils.data.waferfiles import Maps


@dataclass(frozen=True)
class Source:
    """A file of wafer maps: how to read it, its names, how to get it, on which terms.

    sha256: of contents known to be real, see `wafers.digest`; any other is 'yours'.
    """

    read: Callable[[Path], Maps]
    files: tuple[str, ...]
    get: str
    licence: str
    sha256: tuple[str, ...]


SOURCES = {
    "mixedwm38": Source(
        read=waferfiles.mixedwm38,
        files=("MixedWM38.npz", "Wafer_Map_Datasets.npz"),
        get="get Wafer_Map_Datasets.npz from "
        "https://www.kaggle.com/datasets/co1d7era/mixedtype-wafer-defect-datasets "
        "(see https://github.com/Junliangwangdhu/WaferMap) and put it there",
        licence="not stated",
        sha256=("5521d26e3133cb1ddefcfb8e2f2bb023981c4b009bc717627d4f15b5ca909fc3",),
    ),
    "wm811k": Source(
        read=waferfiles.wm811k,
        files=("wm811k_subset.npz",),
        get="save the labelled maps of LSWMD.pkl, a pickle and so never loaded here, "
        "from https://www.kaggle.com/datasets/qingyi/wm811k-wafer-map as "
        "wm811k_subset.npz there, with flat, shape and failure_type",
        licence="not stated",
        sha256=("4267d5b3c8a976e5d9884507e8371530efc54304d0a35e7bef0f9e077cecdee2",),
    ),
}


def folder(source: str, root: str = "") -> Path:
    """Where a source's file belongs, there or not: <root, KD_DATA or .data>/source."""
    if source not in SOURCES:
        raise SourceError(
            f"wafer maps {source!r} are unknown: expected {', '.join(SOURCES)} or "
            "simulated"
        )
    return paths.data(root) / source


def find(source: str, root: str = "") -> Path:
    """A source's file; raises SourceError, one sentence that says how to get it."""
    place, its = folder(source, root), SOURCES[source]
    there = [file for file in its.files if (place / file).is_file()]
    if len(there) > 1:
        raise SourceError(f"{place} holds {' and '.join(there)}: keep the one you mean")
    if not there:
        raise SourceError(f"{source} is not in {place}: {its.get}")
    return place / there[0]


def generated(source: str, root: str = "") -> bool:
    """Whether the folder holds a generated miniature instead of the source itself."""
    return sources.generated(folder(source, root))
