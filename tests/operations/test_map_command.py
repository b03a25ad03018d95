"""`pointsman map`: the ways that cases took, as a table, a drawing and a flowchart."""

import asyncio
from pathlib import Path

import interpreter
from pointsman import Engine
from server.serving import claims


def test_the_map_of_a_database_is_printed_drawn_and_written(tmp_path: Path) -> None:
    async def fill() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            case = (await engine.start(claims, {"text": "fire"})).case
            await engine.wait_until_resting(case)

    asyncio.run(fill())
    command = ("-m", "pointsman.cli.main", "map", "--db", tmp_path / "cases.db", "--app", "server.serving:claims")
    here = Path(__file__).parents[1]

    table = interpreter.run(*command, cwd=here, check=True).stdout
    chart = interpreter.run(*command, "--mermaid", cwd=here, check=True).stdout
    interpreter.run(*command, "--svg", tmp_path / "map.svg", cwd=here, check=True)

    assert [line.split()[:3] for line in table.splitlines()[1:]] == [["start", "draft", "1"], ["draft", "assess", "1"]]
    assert chart.startswith("flowchart TD\n")
    assert '<title id="map-title">The ways of 1 case of claims' in (tmp_path / "map.svg").read_text(encoding="utf-8")
