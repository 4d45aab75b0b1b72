"""Fixtures. Everything a test starts is stopped at its end, whatever happens."""

import os

import pytest

import fake_kinesis
import harness


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that failed tells what its fake Kinesis was sent last, and what its daemons logged."""
    report = yield
    if report.failed and call.when == "call":
        fake, daemon = item.funcargs.get("fake"), item.funcargs.get("daemon")
        if fake is not None:
            report.sections.append(("the last requests", "\n".join(map(str, fake.puts()[-20:]))))
        for made in getattr(daemon, "made", ()):
            report.sections.append((f"log of a daemon in {made.dir}", made.log()[-4000:]))
    return report


@pytest.fixture
def daemon(tmp_path, request):
    """daemon(endpoint, **top-level options) -> a Daemon that is not started yet."""

    def make(endpoint, directory=tmp_path, **top):
        made = harness.Daemon(directory, endpoint, **top)
        make.made.append(made)
        request.addfinalizer(made.cleanup)
        return made

    make.made = []
    return make


@pytest.fixture
def fakes(request):
    """fakes(streams, ...) -> a started FakeKinesis; it must have had nothing to complain about."""
    made = []

    def make(streams=None, **more):
        fake = fake_kinesis.FakeKinesis(streams or {"s": 2}, **more).start()
        made.append(fake)
        request.addfinalizer(fake.stop)
        return fake

    yield make
    for fake in made:
        fake.stop()
        assert fake.violations == []


@pytest.fixture
def fake(fakes):
    return fakes()


@pytest.fixture(scope="session")
def kinesalite():
    """One local Kinesis for all tests; each makes streams of its own."""
    server = harness.Kinesalite()
    yield server
    server.stop()


@pytest.fixture
def stream(kinesalite, request):
    """A fresh stream of two shards in the local Kinesis."""
    return kinesalite.create(f"s-{os.urandom(6).hex()}")
