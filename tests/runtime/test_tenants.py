"""Tenants: starts, messages, waiting messages and children of one tenant never meet the keys of another."""

from places import Place, run
from pydantic import BaseModel, Field

from pointsman import Log, Process, State, finish, otherwise, when

TENANTS = ("", "red", "blue")


class Mail(BaseModel):
    id: str
    thread: str


class Case(State):
    name: str
    mails: Log[Mail] = Field(default_factory=list)
    answer: str | None = None


def mails() -> Process[Case]:
    process = Process("mails", Case)
    ask = process.pause(writes="answer", answer=str, shows=("name",))
    process.accept(Mail, writes="mails", correlate=lambda m: m.thread, key=lambda m: m.id, while_open="append", starts=False)
    process.rules(when("no answer", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    return process


def test_the_same_start_key_of_two_tenants_is_two_cases(place: Place) -> None:
    process = mails()

    async def main() -> None:
        async with place.open(process) as engine:
            starts = {tenant: await engine.start(process, Case(name=tenant), key="invoice 7", tenant=tenant) for tenant in TENANTS}
            again = {tenant: await engine.start(process, Case(name="x"), key="invoice 7", tenant=tenant) for tenant in TENANTS}

            assert not any(started.duplicate for started in starts.values())
            assert len({started.case for started in starts.values()}) == len(TENANTS)
            assert again == {tenant: (started.case, True) for tenant, started in starts.items()}
            for tenant, started in starts.items():
                assert (await engine.state(started.case, Case)).name == tenant
                row = await engine.reader.case_by_key("mails", "invoice 7", tenant=tenant)
                assert row is not None
                assert row.id == started.case

    run(main())


def test_a_message_of_one_tenant_never_joins_anothers_case(place: Place) -> None:
    process = mails()

    async def main() -> None:
        async with place.open(process) as engine:
            early = await engine.send(process, Mail(id="early", thread="t"), tenant="blue")
            cases = {t: (await engine.start(process, Case(name=t), correlation="t", tenant=t)).case for t in TENANTS}
            sent = {t: await engine.send(process, Mail(id="m1", thread="t"), tenant=t) for t in TENANTS}
            again = {t: await engine.send(process, Mail(id="m1", thread="t"), tenant=t) for t in TENANTS}
            stranger = await engine.send(process, Mail(id="m1", thread="t"), tenant="green")
            await engine.idle()

            assert early == (None, "unmatched")
            assert sent == {tenant: (case, "delivered") for tenant, case in cases.items()}
            assert again == {tenant: (case, "duplicate") for tenant, case in cases.items()}
            assert stranger == (None, "unmatched")
            assert [(row.key, row.tenant) for row in await engine.reader.unmatched()] == [("m1", "green")]
            held = {t: [mail.id for mail in (await engine.state(case, Case)).mails] for t, case in cases.items()}
            assert held == {"": ["m1"], "red": ["m1"], "blue": ["early", "m1"]}

    run(main())


class Order(State):
    mail: Mail
    answer: str | None = None


def test_a_held_message_starts_the_next_case_of_its_own_tenant(place: Place) -> None:
    process = Process("orders", Order)
    ask = process.pause(writes="answer", answer=str, shows=("mail",))
    process.accept(Mail, writes="mail", correlate=lambda m: m.thread, key=lambda m: m.id, while_open="hold")
    process.rules(when("no answer", lambda c: c.answer is None, ask), otherwise(finish("answered")))

    async def main() -> None:
        async with place.open(process) as engine:
            first = {t: (await engine.send(process, Mail(id="m1", thread="t"), tenant=t)).case or 0 for t in ("red", "blue")}
            for tenant, case in first.items():
                assert await engine.send(process, Mail(id="m2", thread="t"), tenant=tenant) == (case, "held")
            await engine.wait_until_resting(first["red"])
            await engine.resume((await engine.pending(first["red"])).token, "yes", by="anna")
            await engine.idle()

            rows = await engine.reader.cases(after=max(first.values()))
            assert [(row.tenant, (await engine.state(row.id, Order)).mail.id) for row in rows] == [("red", "m2")]

    run(main())


class Parent(State):
    name: str
    child: str | None = None


class Child(State):
    name: str
    told: str | None = None


def test_the_children_of_two_tenants_are_two_children(place: Place) -> None:
    children = Process("children", Child)

    @children.node(writes="told")
    def tell(name: str) -> str:
        return f"told {name}"

    children.rules(when("not told", lambda c: c.told is None, tell), otherwise(finish("told")))
    parents = Process("parents", Parent)

    def inputs(name: str) -> dict[str, str]:
        return {"name": name}

    child = parents.child(children, inputs=inputs, writes="child", result="told")
    parents.rules(when("no child", lambda p: p.child is None, child), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(parents, children) as engine:
            cases = {t: (await engine.start(parents, Parent(name="same"), key="p", tenant=t)).case for t in TENANTS}
            await engine.idle()

            assert [(await engine.case(case)).outcome for case in cases.values()] == ["done"] * len(cases)
            rows = await engine.reader.cases(process="children")
            assert sorted((row.tenant, row.parent) for row in rows) == sorted(cases.items())

    run(main())
