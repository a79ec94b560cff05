"""What the tests of the manifests share."""

from __future__ import annotations

from functools import cache

import pytest

from tests.deploy.definitions import Definitions, directory
from tests.deploy.manifests import ENVIRONMENTS, Manifests


@cache
def known() -> Definitions | None:
    folder = directory()
    return None if folder is None else Definitions(folder)


@pytest.fixture
def definitions() -> Definitions:
    found = known()
    if found is None:
        pytest.skip("no definitions of Strimzi, KEDA and Prometheus: make crds, or name a folder in STRIMZI_CRDS")
    return found


@pytest.fixture(params=ENVIRONMENTS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return Manifests.of_environment(request.param)


@pytest.fixture
def production() -> Manifests:
    return Manifests.of_environment("production")
