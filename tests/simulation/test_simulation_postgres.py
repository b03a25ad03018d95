"""Nothing is lost, doubled, stuck or stale on a real PostgreSQL either: three engines, each with a store of its own, in seeded schedules.

A failing seed is replayed by `python tests/simulation/run.py --postgres --seed SEED`. POINTSMAN_SCHEDULES_POSTGRES sets how many are run.

The engines are those of `test_simulation.py`, in virtual time, with the same faults and the same count. They crash and stall, and their
requests and answers are late or lost. Besides, their connections end in the middle of a call, before or after the server has got a
statement. All of this is seeded.

Not covered here: transactions of several engines at the same moment (the simulation waits for each call, and hands in together only what one
engine commits at one moment), LISTEN (the engines are notified in virtual time, whenever their stores would notify), a server that restarts,
a connection that hangs, and the end of an engine in the middle of a call of its store. `tests/journeys/test_postgres_fleet.py` does these
with real processes in real time.
"""

from collections import Counter
from functools import cache

import pytest
from on_postgres import run_on
from schedule import Result
from test_simulation import counted

from pointsman.store.postgres import connections
from pointsman.store.postgres.connections import schema_statements
from postgres_server import Server
from tiers import figure

SCHEDULES = figure("SCHEDULES_POSTGRES", 4)
OF_ENTRYPOINTS = max(SCHEDULES // 4, 2)
FENCE = "c.revision = t.revision AND c.fence = t.fence"
WITHOUT_FENCE = range(18, 78)  # one of these seeds finds that it is missing; when this was written, the first one did
FIGURES = Counter[str]()


@cache
def schedule(server: Server, seed: int, *, entrypoints: bool) -> Result:
    return run_on(server, seed, FIGURES, entrypoints=entrypoints)


@pytest.mark.parametrize(("count", "entrypoints"), [(SCHEDULES, False), (OF_ENTRYPOINTS, True)], ids=["rules", "entrypoints"])
def test_no_schedule_on_postgres_loses_duplicates_or_strands_a_case_or_acts_on_stale_data(
    postgres: Server, capsys: pytest.CaptureFixture[str], count: int, entrypoints: bool
) -> None:
    FIGURES.clear()

    results = [schedule(postgres, seed, entrypoints=entrypoints)._asdict() for seed in range(count)]

    total, bad, told = counted(results)
    cuts = "{cuts} cuts, {unknown} unknown commits: {committed} found, {absent} absent".format_map(FIGURES)
    with capsys.disabled():
        print(f"\n{count} schedules on PostgreSQL, {total['crashes']} crashes, {total['points']} points, {cuts}: {told}")
    replay = f"python tests/simulation/run.py --postgres{' --entrypoints' * entrypoints} --seed"
    assert not bad, f"{len(bad)} violations, the first ones {bad[:3]}; replay the first with `{replay} {bad[0][0]}`"
    assert min(total["crashes"], total["pauses"], FIGURES["cuts"]) > count


def test_a_schedule_on_postgres_is_the_same_each_time_it_is_run(postgres: Server) -> None:
    first = schedule(postgres, 0, entrypoints=False)

    again = run_on(postgres, 0, Counter())

    assert again == first


def test_without_the_fence_a_schedule_on_postgres_finds_a_violation(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def unfenced(schema: str) -> dict[str, str]:
        return {name: text.replace(FENCE, "true") for name, text in schema_statements(schema).items()}

    monkeypatch.setattr(connections, "schema_statements", unfenced)

    results = (run_on(postgres, seed, Counter()).violations for seed in WITHOUT_FENCE)

    assert next(filter(None, results), []), "no schedule has found that the fence is missing"
