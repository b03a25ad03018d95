"""Budgets: a guarded node is refused before its call when what is recorded has reached a bound."""

from collections.abc import Sequence
from decimal import Decimal

from pointsman.definition.durations import DAY_SECONDS
from pointsman.definition.nodes import AnyNode
from pointsman.errors import BudgetSpent
from pointsman.kernel.guarding import Progress
from pointsman.kernel.rows import UsageRow
from pointsman.runtime.hold import Hold
from pointsman.runtime.ports import Ports


class Budgets:
    """Looks at what the answers of a case, a tenant and a day have used; it keeps nothing of that."""

    def __init__(self, ports: Ports) -> None:
        self._store = ports.store
        self._clock = ports.clock

    async def spent(self, hold: Hold, node: AnyNode, progress: Progress) -> BudgetSpent | None:
        """Why the node may not be called now, or None."""
        budget = hold.process.budget
        if budget is None or node.guard is None or progress.model >= node.guard.models - node.guard.free_models:
            return None
        of_case = await self._store.usage_of_case(hold.snapshot.case) if _any(budget.case_cost, budget.case_tokens) else ()
        today: Sequence[UsageRow] = ()
        of_all = _any(budget.day_cost, budget.day_tokens)
        if of_all or _any(budget.tenant_day_cost, budget.tenant_day_tokens):
            day = int(self._clock.now() // DAY_SECONDS)
            today = await self._store.usage_of_days(hold.process.name, day, day, tenant=None if of_all else hold.origin.tenant)
        of_tenant = [row for row in today if row.tenant == hold.origin.tenant]
        whose = f"tenant {hold.origin.tenant!r} today" if hold.origin.tenant else "its tenant today"
        for what, rows, cost, tokens in (
            ("the case", of_case, budget.case_cost, budget.case_tokens),
            (whose, of_tenant, budget.tenant_day_cost, budget.tenant_day_tokens),
            ("the process today", today, budget.day_cost, budget.day_tokens),
        ):
            told = _reached(rows, cost, tokens)
            if told is not None:
                return BudgetSpent(f"the budget of {what} is spent: {told}; raise it, or let a person answer")
        return None


def _any(*bounds: object) -> bool:
    return any(bound is not None for bound in bounds)


def _reached(rows: Sequence[UsageRow], cost: Decimal | None, tokens: int | None) -> str | None:
    paid = sum((row.paid for row in rows), Decimal(0))
    used = sum(row.input_tokens + row.output_tokens for row in rows)
    if cost is not None and paid >= cost:
        return f"{paid:f} of {cost:f}"
    if tokens is not None and used >= tokens:
        return f"{used} of {tokens} tokens"
    return None
