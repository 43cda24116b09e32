import sys
from pathlib import Path

import pytest

from kdutils import paths

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A folder of its own for a module's runs and report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "ROOT", tmp_path_factory.mktemp("study"))
        patch.setenv("KD_REPORT", "tiny")
        patch.delenv("KD_FRESH", raising=False)
        yield paths.ROOT
