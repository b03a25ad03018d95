"""Render a page: the shell that all pages share, the formats that templates use, and the headers that every page has."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pointsman.operations.times import format_briefly, format_duration, format_time, short_time
from pointsman.runtime.engine import Engine
from pointsman.runtime.tasks import Task
from pointsman.server.access import Principal
from pointsman.server.forms import csrf_token
from pointsman.web.answer_parts import spoken
from pointsman.web.differences import word_difference

# No script, style, image, frame or form target from anywhere else, and nothing inline (https://www.w3.org/TR/CSP3/).
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
}
THEMES = ("auto", "light", "dark")
THEME_COOKIE = "theme"
HURRY_SECONDS, SOON_SECONDS = 3_600, 4 * 3_600  # to a deadline: an hour is little to decide in, and half a working day is not far off

# Controls, and what changes the direction of text or is not seen: a text with them can look like another one (https://www.unicode.org/reports/tr36/).
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)


class Exact(str):
    """A text that goes into a form field as it is, so that it comes back as it is."""

    __slots__ = ()


def marked(value: Any) -> Any:
    """Return a value for a page: unseen characters of a text are shown by their numbers, such as ⟦202E⟧."""
    if isinstance(value, str) and not isinstance(value, Exact | Markup):
        return _UNSEEN.sub(lambda found: f"⟦{ord(found[0]):04X}⟧", value)
    return value


def format_ago(seconds: float) -> str:
    """Format how long ago something was, rounded, such as "3 h"; "just now" within the last minute."""
    return format_briefly(seconds) if seconds >= 60 else "just now"


def clock_time(at: float, now: float, way: str = "ago") -> Markup:
    """Return a `<time>` that says how far `at` (Unix seconds) is from `now`, and has the whole time for a program and on hover."""
    moment = datetime.fromtimestamp(at).astimezone()
    apart = format_ago(abs(now - at))
    said = apart if apart == "just now" or way == "plain" else f"{apart} ago" if at <= now else f"in {apart}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment.isoformat(timespec="seconds"), format_time(at), said)


def urgency(deadline: float, now: float) -> str:
    """Return the class of a deadline (Unix seconds): "bad" when it is near, "warn" when it is not far off, else nothing."""
    return "bad" if deadline - now < HURRY_SECONDS else "warn" if deadline - now < SOON_SECONDS else ""


def environment_of(*packages: str) -> Environment:
    """Return the templates of these packages; the first one that has a template counts."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=marked,
    )  # fmt: skip
    environment.filters["time"] = format_time
    environment.filters["duration"] = format_duration
    environment.filters["short"] = short_time
    environment.filters["exact"] = Exact
    environment.filters["spoken"] = spoken
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False, indent=2)
    environment.globals["clock_time"] = clock_time
    environment.globals["urgency"] = urgency
    environment.globals["word_difference"] = word_difference
    return environment


@dataclass(frozen=True)
class TaskPage:
    """The task page of a process: a template that extends `task.html`, and what it shows more.

    `values(engine, task)` returns the further values for the template; `task` is a `TaskView`.
    """

    template: str
    values: Callable[[Engine, Any], Awaitable[Mapping[str, Any]]] | None = None


@dataclass(frozen=True)
class CasePage:
    """The case page of a process: a template that extends `case.html`, and what it shows more; `values(engine, case)` gets its row."""

    template: str
    values: Callable[[Engine, Any], Awaitable[Mapping[str, Any]]] | None = None


@dataclass(frozen=True)
class WorkListPage:
    """The work list of an application: a template that extends `work_list.html`, and what it shows more.

    `values(engine, tasks)` gets the tasks of the page. Without a filter, the list has the tasks of this `pause` ("" for all).
    """

    template: str
    values: Callable[[Engine, Sequence[Task]], Awaitable[Mapping[str, Any]]]
    pause: str = ""


@dataclass(frozen=True)
class Shell:
    """What all pages of an application share: its name, its templates, its navigation, and pages of its own by the name of the process."""

    product: str
    templates: Environment
    links: tuple[tuple[str, str], ...]
    task_pages: Mapping[str, TaskPage] = field(default_factory=dict)
    case_pages: Mapping[str, CasePage] = field(default_factory=dict)
    work_list: WorkListPage | None = None


def page(request: Request, template: str, status: int = 200, *, who: Principal | None = None, **values: Any) -> Response:
    """Return a page with its security headers. `who` is the caller; `values` are what the template shows; Jinja escapes all of them."""
    shell: Shell = request.state.shell
    engine: Engine = request.app.state.engine
    theme = request.cookies.get(THEME_COOKIE, THEMES[0])
    shared = {
        "request": request,
        "base": base_of(request),
        "shell": shell,
        "who": who,
        "csrf": "" if who is None else csrf_token(request, who),
        "now": engine.clock.now(),
        "changed": request.state.changed,
        "theme": theme if theme in THEMES else THEMES[0],
    }
    text = shell.templates.get_template(template).render(shared | values)
    return HTMLResponse(text, status, dict(HEADERS))


def local_path(path: str) -> str:
    """Return `path` if it is one of these pages, else "": nobody is sent to another site (an open redirect)."""
    local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if local else ""


def base_of(request: Request) -> str:
    """Return the path below which the application is mounted, without a slash at its end."""
    return str(request.scope.get("root_path", ""))
