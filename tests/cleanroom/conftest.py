"""The node that tests of questions share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import life as making
from tests.cleanroom.asking import Failing
from tests.life import Life, opened


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One node, whose engine counts its runs."""
    with opened(tmp_path_factory.mktemp("questions")) as made:
        again = making.rebuilt(made.home, engine=Failing(made.home.node.engine, failing=False))
        object.__setattr__(made, "home", again)
        yield made
