"""Fixtures that several test files share."""

import pytest
from harness import Server
from postgres import Postgres


@pytest.fixture
def server(tmp_path):
    """A server of its own for one test, with an empty data folder."""
    with Server(tmp_path / "data") as server:
        yield server


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """One server for all tests of a file; each test uses a project of its own."""
    with Server(tmp_path_factory.mktemp("shared") / "data") as server:
        yield server


@pytest.fixture(scope="session")
def postgres():
    """One PostgreSQL server for all tests that need one; each uses a database of its own."""
    with Postgres() as postgres:
        yield postgres
