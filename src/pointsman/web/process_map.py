"""The process map: the ways that the newest cases really took."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from pointsman.operations.map import ProcessMap, Way, kind_of, label_of, map_of
from pointsman.operations.map_drawing import draw_svg, kinds_of
from pointsman.runtime.engine import Engine
from pointsman.server.access import Scope, permit
from pointsman.web.render import base_of, page
from pointsman.web.sample import SAMPLE_MAX, Sample


class MapPage:
    """The page of the map, on a sample that it shares with the list of cases."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self._drawn: dict[tuple[str, str], tuple[Mapping[int, Way], ProcessMap, str]] = {}

    async def show(self, request: Request) -> Response:
        """Show the map of a process."""
        who = await permit(request, Scope.READ)
        engine: Engine = request.app.state.engine
        processes = {process.name: process for process in engine.processes}
        name = request.query_params.get("process", "")
        process = processes.get(name) or next(iter(processes.values()))
        ways = await self._sample.ways(engine, process.name)

        def address(came: str, went: str) -> str:
            pairs = {"process": process.name, "came": came, "went": went}
            return f"{base_of(request)}/cases?{urlencode({name: value for name, value in pairs.items() if value})}"

        known = self._drawn.get((base_of(request), process.name))
        if known is None or known[0] is not ways:
            drawn = map_of(process.name, ways.values())
            known = self._drawn[base_of(request), process.name] = (ways, drawn, draw_svg(drawn, kinds_of(process, drawn), address))
        _, drawn, svg = known
        kinds = kinds_of(process, drawn)
        values: dict[str, Any] = {
            "process": process.name,
            "processes": sorted(processes),
            "drawn": drawn,
            # Every text in it was escaped by the XML library that wrote it.
            "svg": Markup(svg),  # noqa: S704
            "most": SAMPLE_MAX,
            "address": address,
            "label_of": label_of,
            "kinds": {place.name: kind_of(place.name, kinds) for place in drawn.places},
        }
        return page(request, "map.html", who=who, **values)
