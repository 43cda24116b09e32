import functools
import shutil
import sys
from pathlib import Path

import pytest

from kdutils import paths
from kdutils.store import code

sys.path.insert(0, str(Path(__file__).parent))
sys.modules["rfc3987_syntax"] = None  # compiles a grammar for a second, never used here
# No module changes while the tests run: each is parsed once, not for every recipe.
code.imports = functools.cache(code.imports)
code.substance = functools.cache(code.substance)


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A folder of its own for a module's runs and report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", tmp_path_factory.mktemp("study"))
        patch.setenv("KD_REPORT", "tiny")
        patch.delenv("KD_FRESH", raising=False)
        yield paths.ROOT


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A folder with the miniature of every data set; to be read only."""
    from kdutils.data.simulate import miniatures

    root = tmp_path_factory.mktemp("miniatures")
    names = ("secom", "mnist", "pneumoniamnist", "sst2", "squad", "minilm")
    miniatures.write(str(root), *names, "mixedwm38", "wm811k")
    return root


@pytest.fixture
def root(written, tmp_path):
    """A folder of image and wafer miniatures to spoil."""
    return shutil.copytree(written, tmp_path / "data")


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    """The bundle of a student of three readings."""
    from toy_edge import save

    return save(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def place(tmp_path, path):
    """A watcher whose scans the test calls."""
    from toy_edge import Place

    return Place(tmp_path, path)
