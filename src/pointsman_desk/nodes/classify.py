"""Classify a mail: what the customer wants, and what a wrong answer could cost."""

from random import Random

from pointsman import Context, Log, ModelResponse, Peek, Violation
from pointsman.models import Model, Task
from pointsman_desk.case import Grounds, Incoming, Intent, Mail, Risk
from pointsman_desk.models.base import Classification
from pointsman_desk.models.caution import cautious, combined, continued
from pointsman_desk.models.offline import OfflineModel
from pointsman_desk.models.prompts import ClassifyAnswer, classify_messages, written_by_others
from pointsman_desk.models.untrusted import new_boundary


async def classify(
    mail: Mail, earlier: tuple[Mail, ...], answered: tuple[Mail, ...], mails: Peek[Log[Incoming]],
    *, models: tuple[Model, ...], chance: Random, ctx: Context,
) -> ModelResponse[tuple[tuple[Intent, ...], Risk, Grounds]]:  # fmt: skip
    """Ask the current model about all unanswered mails, and return closed enums and their grounds.

    The risk of a conversation never falls: it is at least the risk before this mail.
    """
    answer = await classified(mail, models[ctx.model], chance, ctx.violations, ctx.rejected, earlier, answered)
    rules = OfflineModel()
    waiting = [cautious(rules.classify(one), one) for one in earlier]
    before = [rules.classify(one) for one in answered]
    answer = answer.map(lambda found: continued(found, waiting, mails[-1].risk_so_far, before))
    return answer.map(lambda found: (found.intents, found.risk, found.grounds))


async def classified(
    mail: Mail, model: Model, chance: Random, violations: tuple[Violation, ...] = (), rejected: str = "",
    earlier: tuple[Mail, ...] = (), answered: tuple[Mail, ...] = (),
) -> ModelResponse[Classification]:  # fmt: skip
    """Ask `model`, and combine its answer with the rules: it may raise the risk, never lower it."""
    rules, task = OfflineModel().classify(mail), Task("classify", {"mail": mail})
    if isinstance(model, OfflineModel):  # it reads no prompt
        answer = await model.ask(task, (), ClassifyAnswer)
        return answer.map(lambda _: cautious(rules, mail))
    boundary = new_boundary(chance, written_by_others(mail, (*answered, *earlier)))
    messages = classify_messages(mail, boundary, violations, rejected or None, earlier, answered)
    answer = await model.ask(task, messages, ClassifyAnswer)
    return answer.map(lambda said: combined(rules, said.classification(answer.model), mail))
