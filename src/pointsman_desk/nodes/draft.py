"""Draft a reply: the model writes text with slots, and code fills in the facts."""

from random import Random

from pointsman import Context, Log, ModelResponse, Violation
from pointsman.models import Message, Model, Task
from pointsman_desk.case import Grounds, Instruction, Intent, Mail, NoOrder, Order, Policy, Reply, Risk, Trust, instructions_about
from pointsman_desk.models.base import Brief
from pointsman_desk.models.offline import OfflineModel
from pointsman_desk.models.prompts import DraftAnswer, draft_messages, written_by_others
from pointsman_desk.models.replies import write_reply
from pointsman_desk.models.untrusted import new_boundary
from pointsman_desk.nodes.identity import disclosed
from pointsman_desk.slots import filled


async def draft(
    mail: Mail, earlier: tuple[Mail, ...], answered: tuple[Mail, ...], intents: tuple[Intent, ...], risk: Risk, grounds: Grounds,
    order: Order | NoOrder, trust: Trust, policy: Policy, instructions: Log[Instruction], *, models: tuple[Model, ...], chance: Random, ctx: Context,
) -> ModelResponse[Reply]:  # fmt: skip
    """Let the current model write one reply to all unanswered mails, from the facts that the sender may know, as a person has asked."""
    brief = Brief(
        mail=mail, earlier=earlier, answered=answered, intents=intents, risk=risk, grounds=grounds, order=disclosed(order, trust),
        policy=policy, trust=trust, instructions=instructions_about(mail, instructions),
    )  # fmt: skip
    return await drafted(brief, models[ctx.model], chance, ctx.violations, ctx.rejected)


async def drafted(
    brief: Brief, model: Model, chance: Random, violations: tuple[Violation, ...] = (), rejected: str = ""
) -> ModelResponse[Reply]:  # fmt: skip
    """Ask `model` for a reply to `brief`. In a repair, the question contains the `rejected` draft and its violations.

    The rules and templates do not follow instructions: with them, the draft stays as the person saw it.
    """
    messages: tuple[Message, ...] = ()
    so_far = brief.instructions[-1].draft if brief.instructions else None
    if isinstance(model, OfflineModel):  # it reads no prompt
        if so_far is not None:
            return ModelResponse(so_far, model.name, so_far.model_dump_json())
    else:
        boundary = new_boundary(chance, written_by_others(brief.mail, (*brief.answered, *brief.earlier), brief.instructions))
        messages = draft_messages(brief, boundary, violations=violations, rejected=rejected or None)
    answer = await model.ask(Task("draft", {"brief": brief, "violations": violations}), messages, DraftAnswer)
    return answer.map(lambda written: _filled(written, brief, answer.model))


def _filled(written: DraftAnswer, brief: Brief, author: str) -> Reply:
    """Return the reply with its facts and the shop's signature. It has a template only if it equals that template exactly."""
    reply = filled(written.reply(brief, author), brief.order, brief.policy)
    templates = (filled(write_reply(brief, author=author, careful=careful), brief.order, brief.policy) for careful in (False, True))
    return next((one for one in templates if (one.body, one.tone, one.language) == (reply.body, reply.tone, reply.language)), reply)
