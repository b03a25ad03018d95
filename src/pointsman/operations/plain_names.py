"""Names of steps as metrics and traces may have them: without what belongs to one case."""


def plain_step(step: str) -> str:
    """Return the name of a step without the item or the arguments of a call, which may be content of a case and differ in each."""
    return " + ".join(part.partition("[")[0].partition("(")[0].strip() for part in step.split(" + "))
