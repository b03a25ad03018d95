"""The command that holds a model against mails whose meaning is known: eval."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from pointsman_desk.cli.figures import figures_json, print_figures
from pointsman_desk.cli.options import Config, Json
from pointsman_desk.cli.session import exit_with, or_exit
from pointsman_desk.cli.terminal import errors, safe
from pointsman_desk.config import load_config
from pointsman_desk.evaluation.asking import OFFLINE, ask, model_named, sample_facts
from pointsman_desk.evaluation.data import read_labelled, read_meanings
from pointsman_desk.evaluation.labelled import own_set, sample_of
from pointsman_desk.evaluation.measures import Figures, measure


def evaluate(
    model: Annotated[str, typer.Option(help="The model, as desk.toml names it; or offline.")] = OFFLINE,
    data: Annotated[Path | None, typer.Option(help="Labelled mails: CSV, JSON, or a JSON object a line.", show_default=False)] = None,
    text: Annotated[str | None, typer.Option(help="The column of the text; text.", show_default=False)] = None,
    label: Annotated[str | None, typer.Option(help="The column of the label; label.", show_default=False)] = None,
    subject: Annotated[str | None, typer.Option(help="The column of the subject, if there is one.", show_default=False)] = None,
    meanings: Annotated[Path | None, typer.Option("--map", help="What their labels mean: TOML, JSON or CSV.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many mails, by chance.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="What this chance begins with.")] = 7,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Mails in hand at once.")] = 4,
    drafts: Annotated[bool, typer.Option("--drafts", help="Ask for a draft of each reply, too, and check it.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Hold a model against mails whose meaning is known: the desk's own ones, or those of a file."""
    settings = or_exit(lambda: load_config(config))
    if data is None and any(option is not None for option in (text, label, subject, meanings)):
        exit_with("--text, --label, --subject and --map tell of a file with mails; name it with --data.")

    async def figures() -> Figures:
        asked_model = model_named(settings, model)
        mails = own_set() if data is None else read_labelled(
            data, text=text or "text", label=label or "label", subject=subject, meanings=read_meanings(meanings) if meanings else None
        )  # fmt: skip
        chosen = sample_of(mails, limit, seed)
        facts = await sample_facts(settings) if drafts else None
        with errors.status(f"Asking {safe(model)}") as status:
            asked = await ask(
                asked_model, chosen, concurrency=concurrency, facts=facts,
                told=lambda done: status.update(f"Asking {safe(model)}: {done} of {len(chosen)} mails"),
            )  # fmt: skip
        return measure(chosen, asked)

    found = or_exit(lambda: asyncio.run(figures()))
    if as_json:
        print(json.dumps({"model": model} | figures_json(found), ensure_ascii=False, indent=1))
    else:
        print_figures(model, found)
