"""The site of the documentation: its navigation, its links and its reference are complete. `make docs` makes it."""

import ast
import inspect
import re
from pathlib import Path

import pytest
import yaml
from fastapi.routing import APIRoute

from pointsman.server.api import router
from pointsman.server.problems import MEANINGS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DOCUMENTS = [*ROOT.glob("*.md"), *PAGES]
PACKAGES = [
    "",
    "client",
    "functional",
    "integrations/langgraph",
    "integrations/opentelemetry",
    "models",
    "server",
    "testing",
    "web",
    "restate",
]


def in_the_navigation(entry: object) -> list[str]:
    match entry:
        case str():
            return [entry]
        case dict():
            return [page for below in entry.values() for page in in_the_navigation(below)]
        case list():
            return [page for below in entry for page in in_the_navigation(below)]
    raise TypeError(entry)


def anchors_of(document: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def test_each_page_of_the_navigation_is_there_once() -> None:
    navigation = in_the_navigation(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    made = re.findall(r'"([a-z]+\.md)"', (DOCS / "site.py").read_text(encoding="utf-8"))

    assert len(made) == 6
    assert sorted(navigation) == sorted(set(navigation))
    assert not set(navigation) - {*made, *(page.relative_to(DOCS).as_posix() for page in PAGES)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.relative_to(ROOT).as_posix())
def test_a_link_in_a_document_leads_to_a_file_and_a_heading(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", document.read_text(encoding="utf-8"))

    targets = [((document.parent / file).resolve() if file else document, anchor) for file, anchor in links]

    assert not [file for file, _ in targets if not file.exists()]
    assert not [f"{file.name}#{anchor}" for file, anchor in targets if anchor and anchor not in anchors_of(file)]


def exported(package: Path) -> list[str]:
    dotted = ".".join(package.relative_to(ROOT / "src").parts)
    [names] = re.findall(r"^__all__ = (\[.*?\])", (package / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [f"{dotted}.{name}" for name in ast.literal_eval(names)]


def test_the_reference_describes_public_names_once() -> None:
    described = re.findall(r"^::: (\S+)$", "".join(page.read_text(encoding="utf-8") for page in PAGES), re.MULTILINE)
    public = {name for package in PACKAGES for name in exported(ROOT / "src" / "pointsman" / package)}

    assert len(described) > 100
    assert sorted(described) == sorted(set(described))
    assert not {name for name in described if not name.startswith("pointsman.integrations.")} - public


def test_the_tables_of_the_http_api_are_the_codes() -> None:
    text = (DOCS / "reference" / "http.md").read_text(encoding="utf-8")
    routes = [route for route in router.routes if isinstance(route, APIRoute)]

    assert re.findall(r"^\| `(\w+) (/api\S+)` \| `(\w+)` \| (.*) \|$", text, re.MULTILINE) == [
        (*route.methods, route.path, scope_of(route), (inspect.getdoc(route.endpoint) or "").partition("\n\n")[0]) for route in routes
    ]
    assert {int(status): meaning for status, meaning in re.findall(r"^\| (\d+) \| (.*)\. \|$", text, re.MULTILINE)} == MEANINGS


def scope_of(route: APIRoute) -> str:
    """The scope that a dependency of the route asks for."""
    calls = [of.call for of in route.dependant.dependencies if of.call]
    scopes = {inspect.getclosurevars(call).nonlocals.get("scope") for call in calls} - {None}
    [scope] = scopes
    return str(scope.value)
