"""The server that the tests start keeps what it was told, whatever is killed."""

from restate_server import Server, Service

CALLS = 10


def test_an_object_keeps_its_state_when_its_service_and_its_server_are_killed(restate: Server) -> None:
    with Service("counting_service:app") as service:
        restate.register(service.url)
        assert restate.call("/counter/lasting/add", 1) == 1

        for _ in range(CALLS):
            restate.send("/counter/lasting/add", 1)
        service.kill()
        restate.kill()

        assert restate.call("/counter/lasting/add", 1) == CALLS + 2
