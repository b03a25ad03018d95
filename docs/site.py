"""What MkDocs takes from outside `docs`: files of the project become pages of the site, and links between the two lead there."""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
}
DEPLOY = "deploy.md"
EXAMPLE = "example.md"
CLAIMS = "examples/insurance_claim.py"
PACKAGES = ["", "client", "functional", "integrations/langgraph", "models", "server", "testing", "web"]
TWICE = {"pointsman.web.Scope", "pointsman.web.permit"}  # names of pointsman.server
LINK = re.compile(r"(\]\()([^)#:\s]+)(?=[#)])")
LOADS = re.compile(r"<(?:script|img|iframe)[^>]+src=[\"']?(?:https?:)?//[^>]*|<link[^>]+href=[\"']?(?:https?:)?//[^>]*")


def on_config(config: Any) -> Any:
    """Put the pages that `mkdocs.yml` does not place under "More"."""
    placed = re.findall(r"[\w/-]+\.md", str(config.nav))
    more = [page for page in sorted(file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*.md")) if page not in placed]
    config.nav += [{"More": more}] if more else []
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made from files outside `docs`."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=in_the_site((ROOT / source).read_text(encoding="utf-8"), source)))
    files.append(File.generated(config, DEPLOY, content=deployment()))
    files.append(File.generated(config, EXAMPLE, content=example()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let the links that leave `docs` lead to the page that is made from their file."""
    if page.file.src_uri in {*PAGES.values(), DEPLOY, EXAMPLE}:
        return markdown
    if page.file.src_uri == "reference/index.md":
        markdown += "".join(["\n## Other names\n", *(f"\n::: {name}\n" for name in others)]) if (others := [*other_names()]) else ""
    return in_the_site(markdown, f"docs/{page.file.src_uri}")


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that loads something from another machine."""
    if loads := LOADS.search(output):
        raise PluginError(f"{page.file.src_uri} loads {loads[0]} from another machine; put it into the site.")
    return output


def in_the_site(markdown: str, source: str) -> str:
    """The text of the file `source`, with links from page to page instead of from file to file."""
    here = posixpath.dirname(page_of(source))

    def led(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        return f"{link[1]}{posixpath.relpath(page_of(target), here or '.')}"

    return LINK.sub(led, markdown)


def page_of(source: str) -> str:
    """The page of a file, both by their path: in the project, and in the site."""
    if source.startswith("examples/deploy"):
        return DEPLOY
    if source == CLAIMS:
        return EXAMPLE
    return PAGES.get(source, source.removeprefix("docs/"))


def other_names() -> Iterator[str]:
    """The public names that no page of the reference describes."""
    described = set(re.findall(r"^::: (\S+)$", "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")), re.MULTILINE))
    for package in PACKAGES:
        module = ROOT / "src" / "pointsman" / package / "__init__.py"
        [names] = re.findall(r"^__all__ = \[(.*?)\]", module.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        here = {f"{'.'.join(['pointsman', *package.split('/')]).rstrip('.')}.{name}" for name in re.findall(r'"(\w+)"', names)}
        yield from sorted(here - described - TWICE)


def deployment() -> str:
    """The page with the files of `examples/deploy`."""
    files = sorted((ROOT / "examples" / "deploy").iterdir())
    blocks = (f"## {file.name}\n\n```{file.suffix.removeprefix('.')}\n{file.read_text(encoding='utf-8')}```\n" for file in files)
    return "\n".join(
        [
            "# Files of a deployment\n\nThese files are in `examples/deploy`. [PostgreSQL](postgres.md#run-workers) describes them.\n",
            *blocks,
        ]
    )


def example() -> str:
    """The page with the example of an insurance claim."""
    return f"# An insurance claim\n\nThis is `{CLAIMS}` in the repository.\n\n```python\n{(ROOT / CLAIMS).read_text(encoding='utf-8')}```\n"
