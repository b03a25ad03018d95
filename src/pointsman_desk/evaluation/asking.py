"""Ask a model about the mails of an evaluation."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from pointsman import Usage
from pointsman.models import Model
from pointsman_desk.case import BY_HAND, Intent, Mail, Order, Policy, Reply, Risk, Trust
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.errors import ConfigInvalid
from pointsman_desk.evaluation.labelled import Labelled
from pointsman_desk.models.base import Brief
from pointsman_desk.models.offline import OfflineModel
from pointsman_desk.nodes.classify import classified
from pointsman_desk.nodes.draft import drafted
from pointsman_desk.nodes.validate import validate
from pointsman_desk.shop.policy import PolicyFile
from pointsman_desk.shop.sqlite import SqliteOrders, create_sample_shop
from pointsman_desk.wiring import models_of

OFFLINE = "offline"
CHANCE = SystemRandom()  # for the marks around a mail, which nobody may guess
CUSTOMER, NUMBER = "maria.keller@mail.example", "A-1001"  # a late order of the sample shop, which has every fact


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts for the drafts of an evaluation: every mail counts as a mail about this order."""

    order: Order
    policy: Policy


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer about one mail.

    `intent` is None if there is no valid answer; `problem` says why. `passed` says whether the draft passes all checks at the first
    attempt, None without a draft. `usage` sums up its answered `calls`.
    """

    intent: Intent | None
    risk: Risk | None = None
    passed: bool | None = None
    problem: str = ""
    usage: Usage = Usage()  # noqa: RUF009 - a frozen value
    calls: int = 1

    @property
    def before_person(self) -> bool:
        """Whether the desk shows the mail to a person whatever the policy says: if the risk is not low or there is no valid answer."""
        return self.intent is None or self.intent in BY_HAND or self.risk is not Risk.LOW


@dataclass(frozen=True, slots=True)
class Asked:
    """The answers to the mails, in order, and the total time in seconds."""

    answers: tuple[Answer, ...]
    seconds: float


def model_named(config: DeskConfig, name: str) -> Model:
    """Return the model `name` of the configuration, or the rules. Raises ConfigInvalid for an unknown name."""
    models: dict[str, Model] = {model.name: model for model in models_of(config)} | {OFFLINE: OfflineModel()}
    if name not in models:
        raise ConfigInvalid(f"there is no model {name!r}; the models are {', '.join(models)}.")
    return models[name]


async def sample_facts(config: DeskConfig) -> Facts:
    """Return an order of the sample shop and the policy in use, or the sample policy for a new desk. Raises PolicyInvalid."""
    with tempfile.TemporaryDirectory() as folder:
        shop = Path(folder) / "shop.db"
        create_sample_shop(shop)
        order = await SqliteOrders(shop).find(number=NUMBER, sender=CUSTOMER)
    assert isinstance(order, Order), "the sample shop has this order"
    written = config.policy is not None or config.policy_file.exists()
    return Facts(order, PolicyFile(config.policy_file if written else SAMPLE / "policy.toml").current())


async def ask(
    model: Model,
    mails: Sequence[Labelled],
    *,
    concurrency: int = 1,
    facts: Facts | None = None,
    progress: Callable[[int], None] | None = None,
) -> Asked:
    """Ask about each mail once, `concurrency` at a time, and with `facts` also for a draft. `progress` is called with the number done.

    A failed call counts as an invalid answer, because at the desk such a mail also goes to a person.
    """
    answers: dict[int, Answer] = {}
    places = iter(range(len(mails)))
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def work(left: Iterator[int]) -> None:
        for place in left:
            answers[place] = await _answer(model, mails[place].mail, facts)
            if progress is not None:
                progress(len(answers))

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work(places))
    return Asked(tuple(answers[place] for place in range(len(mails))), loop.time() - began)


async def _answer(model: Model, mail: Mail, facts: Facts | None) -> Answer:
    try:
        found = await classified(mail, model, CHANCE)
    except Exception as error:  # a model's client may raise anything
        return Answer(None, problem=str(error) or type(error).__name__, calls=0)
    if found.output is None:
        return Answer(None, problem="; ".join(violation.message for violation in found.violations), usage=found.usage)
    intent, risk = found.output.intent, found.output.risk
    if facts is None:
        return Answer(intent, risk, usage=found.usage)
    brief = Brief(mail=mail, order=facts.order, policy=facts.policy, trust=Trust.BOUND, **dict(found.output))
    try:
        written = await drafted(brief, model, CHANCE)
    except Exception as error:
        return Answer(intent, risk, passed=False, problem=str(error) or type(error).__name__, usage=found.usage)
    passed = written.output is not None and not _objections(written.output, brief)
    return Answer(intent, risk, passed=passed, usage=found.usage + written.usage, calls=2)


def _objections(reply: Reply, brief: Brief) -> bool:
    return bool(validate(reply, brief.mail, brief.intents, brief.grounds, brief.order, brief.policy, brief.trust).violations)
