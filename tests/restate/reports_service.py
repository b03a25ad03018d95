"""A process that starts a case each second, for the tests on a real server."""

from pointsman import Process, State, every, finish, otherwise


class Second(State):
    at: str


processes = [Process("seconds", Second)]
processes[0].schedule("each", every("1s"), inputs=lambda tick: {"at": tick.isoformat()}, missed="all")
processes[0].rules(otherwise(finish("reported")))
