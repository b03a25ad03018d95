"""What does the customer want, and what could a wrong answer cost?"""

from pointsman_desk.case import Grounds, Intent, Mail, Risk
from pointsman_desk.models.base import Model
from pointsman_desk.models.caution import cautious


async def classify(mail: Mail, *, model: Model) -> tuple[Intent, Risk, Grounds]:
    """Ask the model; what it answers is closed enums and the grounds for them."""
    found = cautious(await model.classify(mail), mail)
    return found.intent, found.risk, found.grounds
