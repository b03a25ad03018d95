"""What does the customer want, and what could a wrong answer cost?"""

from random import Random

from pointsman import Attempt, Context, Violation
from pointsman.models import Model, Task
from pointsman_desk.case import Grounds, Intent, Mail, Risk
from pointsman_desk.models.base import Classification
from pointsman_desk.models.caution import cautious, combined
from pointsman_desk.models.offline import OfflineModel
from pointsman_desk.models.prompts import ClassifyAnswer, classify_messages
from pointsman_desk.models.untrusted import new_boundary


async def classify(
    mail: Mail, *, models: tuple[Model, ...], chance: Random, ctx: Context
) -> Attempt[tuple[Intent, Risk, Grounds]]:  # fmt: skip
    """Ask the model whose turn it is; what stands is closed enums and the grounds for them."""
    answer = await classified(mail, models[ctx.model], chance, ctx.violations, ctx.rejected)
    return answer.map(lambda found: (found.intent, found.risk, found.grounds))


async def classified(
    mail: Mail, model: Model, chance: Random, violations: tuple[Violation, ...] = (), rejected: str = ""
) -> Attempt[Classification]:  # fmt: skip
    """Ask `model`, and set what it says beside what the rules say: it may raise the risk, and lower nothing."""
    boundary = new_boundary(chance, (mail.subject, mail.text, mail.quoted))
    messages = classify_messages(mail, boundary, violations, rejected or None)
    answer = await model.attempt(Task("classify", {"mail": mail}), messages, ClassifyAnswer)
    rules = OfflineModel().classify(mail)
    if isinstance(model, OfflineModel):
        return answer.map(lambda _: cautious(rules, mail))
    return answer.map(lambda said: combined(rules, said.classification(answer.model), mail))
