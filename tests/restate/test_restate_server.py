"""The servers that the tests start keep what they were told, whatever is killed."""

from collections.abc import Iterator

import pytest

from restate_server import Server, Service, cluster

CALLS = 10


@pytest.fixture(scope="module", name="service")
def _service() -> Iterator[Service]:
    with Service("counting_service:app") as service:
        yield service


def test_an_object_keeps_its_state_when_its_service_and_its_server_are_killed(restate: Server, service: Service) -> None:
    restate.register(service.url)
    assert restate.call("/counter/lasting/add", 1) == 1

    for _ in range(CALLS):
        restate.send("/counter/lasting/add", 1)
    service.kill()
    restate.kill()

    assert restate.call("/counter/lasting/add", 1) == CALLS + 2


def test_a_cluster_goes_on_without_one_of_its_nodes(service: Service) -> None:
    with cluster() as three:
        first, second, third = three.nodes
        three.register(service.url)
        for number in range(CALLS):
            second.send(f"/counter/{number}/add", 1)

        first.stop()

        assert [third.call(f"/counter/{number}/add", 1) for number in range(CALLS)] == [2] * CALLS
