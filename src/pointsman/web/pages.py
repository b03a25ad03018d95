"""The routes of the pages."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope as Connection

from pointsman.errors import AlreadyAnswered, NotWaiting, PointsmanError
from pointsman.server.access import Forbidden, Scope, Unauthenticated, permit, tell_audit
from pointsman.server.forms import FormInvalid, FormTooLarge, form_of
from pointsman.server.problems import of_error, on_failure, wants_page
from pointsman.web.assign import assign_task
from pointsman.web.case import show_case
from pointsman.web.cases import CasesPage
from pointsman.web.live import live
from pointsman.web.operate import OPERATIONS
from pointsman.web.operations import OPERATIONS_PAGES
from pointsman.web.overview import Overview
from pointsman.web.process_map import MapPage
from pointsman.web.render import THEME_COOKIE, THEMES, CasePage, Shell, TaskPage, WorkListPage, base_of, environment_of, local_path, page
from pointsman.web.sample import Sample
from pointsman.web.sign_in import SIGN_IN, to_sign_in
from pointsman.web.task import answer_task, not_waiting, show_task
from pointsman.web.work_list import work_list

LINKS = (("/", "Work list"), ("/cases", "Cases"), ("/overview", "Overview"), ("/map", "Map"), ("/operations", "Operations"))
log = logging.getLogger("pointsman")

YEAR_SECONDS = 365 * 86_400  # for which the choice of a theme is kept

Handler = Callable[[Request], Awaitable[Response]]


def pages(
    *,
    product: str = "Pointsman",
    templates: str | None = None,
    task_pages: Mapping[str, TaskPage] | None = None,
    case_pages: Mapping[str, CasePage] | None = None,
    list_page: WorkListPage | None = None,
    links: Sequence[tuple[str, str]] = (),
    routes: Sequence[tuple[str, str, Handler]] = (),
) -> Sequence[BaseRoute]:
    """Return the routes of all pages.

    An application that has pages of its own names the package with its `templates`, and by the name of the process its `task_pages` and
    `case_pages`; `list_page` is its work list. `routes` are further pages, or pages in place of these: method, path and handler; `links` are
    for the navigation, each with its path and its label.
    """
    packages = ("pointsman.web",) if templates is None else (templates, "pointsman.web")
    shell = Shell(product, environment_of(*packages), (*LINKS, *links), task_pages or {}, case_pages or {}, list_page)

    sample = Sample()

    def route(path: str, handler: Handler, method: str = "GET") -> Route:
        return Route(path, _guarded(shell, handler), methods=[method])

    return [
        *(route(path, handler, method) for method, path, handler in routes),
        route("/", work_list),
        route("/cases", CasesPage(sample).show),
        route("/overview", Overview().show),
        route("/map", MapPage(sample).show),
        *(route(path, handler, method) for method, path, handler in OPERATIONS_PAGES),
        route("/cases/{case:int}", show_case),
        route("/cases/{case:int}/task", show_task),
        route("/cases/{case:int}/task", answer_task, "POST"),
        route("/cases/{case:int}/assign", assign_task, "POST"),
        *(route(path, handler, "POST") for path, handler in OPERATIONS),
        route("/theme", choose_theme, "POST"),
        *(route(path, handler, method) for path, handler, method in SIGN_IN),
        Route("/live", live),
        Mount("/static", StaticFiles(packages=[("pointsman.web", "static")]), name="static"),
        _Unknown("/{path:path}", _guarded(shell, unknown)),
    ]


async def choose_theme(request: Request) -> Response:
    """Keep which theme a person wants, and go back to the page."""
    who = await permit(request, Scope.READ)
    form = await form_of(request, who)
    tell_audit(request, None)  # only this browser knows which theme it shows
    theme = form.get("theme", "")
    back = form.get("back", "/")
    answer = RedirectResponse(f"{base_of(request)}{local_path(back) or '/'}", 303)
    if theme in THEMES:
        answer.set_cookie(THEME_COOKIE, theme, max_age=YEAR_SECONDS, httponly=True, samesite="lax", path=f"{base_of(request)}/")
    return answer


async def unknown(request: Request) -> Response:
    """Say that there is no such page."""
    return page(request, "problem.html", 404, title="There is no such page", detail="The address is wrong, or the page has moved.")


class _Unknown(Route):
    """A page for each unknown address that a browser opens. Others get the API's answer."""

    def matches(self, scope: Connection) -> tuple[Match, Connection]:
        if scope["type"] != "http" or not wants_page(scope):
            return Match.NONE, {}
        return super().matches(scope)


def _guarded(shell: Shell, handler: Handler) -> Handler:
    """Return a handler that shows its errors as pages."""

    async def guarded(request: Request) -> Response:
        request.state.shell = shell
        request.state.changed = request.app.state.engine.changed  # before the page reads anything
        try:
            return await handler(request)
        except PointsmanError as error:
            if isinstance(error, NotWaiting | AlreadyAnswered) and "case" in request.path_params:
                return await not_waiting(request, await permit(request, Scope.READ), error)
            return _problem_page(request, of_error(error))
        except Unauthenticated:
            return to_sign_in(request)
        except Forbidden as error:
            return page(request, "problem.html", 403, title="You may not do this", detail=str(error))
        except FormTooLarge as error:
            return page(request, "problem.html", 413, title="The form is too large", detail=str(error))
        except FormInvalid as error:
            return page(request, "problem.html", 400, title="The form cannot be read", detail=str(error))
        except Exception as error:  # a page that an application has added may raise anything
            handlers = request.app.exception_handlers
            answering = next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), on_failure)
            if answering is on_failure:
                private = any(process.private for process in request.app.state.engine.processes)
                log.exception("the page %s failed: %s", request.scope["path"], type(error).__name__, exc_info=not private)
            return _problem_page(request, await answering(request, error))

    return guarded


def _problem_page(request: Request, problem: Response) -> Response:
    said = json.loads(bytes(problem.body))
    return page(request, "problem.html", problem.status_code, title=said["title"], detail=said["detail"])
