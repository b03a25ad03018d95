"""A virtual object that counts, for the tests of the servers themselves."""

from restate import ObjectContext, VirtualObject
from restate import app as served

counter = VirtualObject("counter")


@counter.handler()
async def add(context: ObjectContext, number: int) -> int:
    """Add a number to what the object has counted, and return the total."""
    total = (await context.get("total", type_hint=int) or 0) + number
    context.set("total", total)
    return total


app = served(services=[counter])
