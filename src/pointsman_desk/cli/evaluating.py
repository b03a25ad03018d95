"""The command that measures a model on labelled mails: eval."""

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
    model: Annotated[str, typer.Option(help="The name of a model in desk.toml, or offline.")] = OFFLINE,
    data: Annotated[Path | None, typer.Option(help="Labelled mails: CSV, JSON or JSON Lines.", show_default=False)] = None,
    text: Annotated[str | None, typer.Option(help="The column with the text (default: text).", show_default=False)] = None,
    label: Annotated[str | None, typer.Option(help="The column with the label (default: label).", show_default=False)] = None,
    subject: Annotated[str | None, typer.Option(help="The column with the subject.", show_default=False)] = None,
    meanings: Annotated[Path | None, typer.Option("--map", help="Map of labels to intents: TOML, JSON, CSV.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use a random sample of this size.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="The seed of the random sample.")] = 7,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="The number of mails to read at the same time.")] = 4,
    drafts: Annotated[bool, typer.Option("--drafts", help="Also draft and check each reply.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Measure a model on labelled mails: the desk's own set, or a file."""
    settings = or_exit(lambda: load_config(config))
    if data is None and any(option is not None for option in (text, label, subject, meanings)):
        exit_with("--text, --label, --subject and --map need a file with mails; name it with --data.")

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
                progress=lambda done: status.update(f"Asking {safe(model)}: {done} of {len(chosen)} mails"),
            )  # fmt: skip
        return measure(chosen, asked)

    found = or_exit(lambda: asyncio.run(figures()))
    if as_json:
        print(json.dumps({"model": model} | figures_json(found), ensure_ascii=False, indent=1))
    else:
        print_figures(model, found)
