"""The checks at definition. Each error names the function, the field and the fix."""

import dis
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain, pairwise
from types import FunctionType
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pointsman.definition.children import Child, ChildEnd
from pointsman.definition.effects import Compensation, Effect, Idempotent
from pointsman.definition.guards import Guard, unsafe_in
from pointsman.definition.messages import Accept, is_log, logs_of
from pointsman.definition.nodes import AnyNode, Context, Node
from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.rules import AnyStep, Compensate, Each, Finish, Parallel, Park, Quorum, Rule
from pointsman.definition.schedules import Missed
from pointsman.definition.signature import (
    LOG,
    PRIVATE,
    SEARCHED,
    accepts_none,
    collection_of,
    fits,
    has_signature,
    members,
    show,
    signature_of,
)
from pointsman.definition.state import STATES_MAX, Failure, State
from pointsman.definition.transactions import Transaction
from pointsman.errors import DefinitionError


def inputs_of(state: type[State]) -> frozenset[str]:
    """The fields that `start` gives: those without a default, or with a default other than None."""
    return _inputs_of(state)


@lru_cache(maxsize=STATES_MAX)
def _inputs_of(state: type[State]) -> frozenset[str]:
    return frozenset(
        name
        for name, field in state.model_fields.items()
        if field.is_required() or field.get_default(call_default_factory=True) is not None
    )


def check_state(process: str, state: type[State]) -> None:
    """Refuse a state that is not a State, or whose results cannot be None."""
    declared: object = state
    if not (isinstance(declared, type) and issubclass(declared, State)):
        raise DefinitionError(f"process {process!r}: {state!r} is not a State; write `class {_class_name(process)}(State): ...`.")
    if not state.__pydantic_complete__:
        try:
            state.model_rebuild()
        except NameError as error:
            raise DefinitionError(
                f"process {process!r}: a field of {state.__name__} has the type {error.name!r}, which is not defined; import it, or define it above."
            ) from None
    for name, field in state.model_fields.items():
        if is_log(field):
            _check_log(f"process {process!r}: field {name!r}", field)
        if name not in inputs_of(state) and not accepts_none(field.annotation):
            raise DefinitionError(
                f"process {process!r}: field {name!r} is None until it is written; write `{name}: {show(field.annotation)} | None = None`."
            )


def check_node(process: str, state: type[State], node: AnyNode) -> None:
    """Refuse a node whose parameters do not match fields, or whose result does not fit the fields that it writes."""
    what = f"process {process!r}, {'effect' if isinstance(node, Effect) else 'node'} {node.name!r}"
    if isinstance(node, Effect) and node.signature.item is not None:
        raise DefinitionError(f"{what}: an effect takes no Item, as each(...) runs nodes only; let it read the whole field.")
    _check_reads(what, state, node.signature.reads)
    for name, annotation in node.signature.uses.items():
        if name == "ctx" and not fits(annotation, Context):
            raise DefinitionError(f"{what}: `ctx` is the engine's own; write `ctx: Context`.")
    _check_written(what, state, node.writes)
    if isinstance(node, Effect) and not isinstance(node.timeout_seconds, int | float):
        raise DefinitionError(
            f"{what}: timeout_seconds is {node.timeout_seconds}; without a timeout the engine never knows that a call failed, so give it seconds."
        )
    if node.timeout_seconds is not None and node.timeout_seconds <= 0:
        raise DefinitionError(f"{what}: timeout_seconds is {node.timeout_seconds}; a call needs more than 0 seconds.")
    for name, returned in zip(node.writes, _returned(what, node), strict=True):
        taken = _taken(what, state, node, name)
        _check_fits(f"{what}: it returns {show(returned)}", returned, taken)
        if node.on_failure == "record":
            _check_fits(f'{what}: on_failure="record" writes a Failure', Failure, taken, "add `| Failure` to it")
    if isinstance(node, Effect):
        _check_effect(what, state, node)
    if isinstance(node, Transaction) and (node.asynchronous or "db" not in node.signature.uses):
        raise DefinitionError(f"{what}: a transaction is a plain function with `*, db: Database`; write it so, or make it a node.")
    if node.inline:
        _check_inline(what, node)
    if node.isolated:
        _check_isolated(what, node)
    if node.guard is not None:
        _check_guard(what, state, node, node.guard)


def check_pause(process: str, state: type[State], pause: Pause) -> None:
    """Refuse a pause that shows or edits an unknown field, or whose answer does not fit the field that it writes."""
    what = f"process {process!r}, pause {pause.name!r}"
    for name in chain(pause.shows, pause.edits, pause.beside):
        _check_field(f"{what}: it shows", state, name)
    for name in pause.edits:
        if name not in pause.shows:
            raise DefinitionError(f"{what}: it edits {name!r} without showing it; add {name!r} to shows=.")
    _check_written(what, state, pause.writes)
    for name in pause.edits:
        _check_written(what, state, (name,))
    _check_fits(f"{what}: the answer is {show(pause.answer)}", pause.answer, _place(state, pause.writes[0]))


def check_schedule(process: str, state: type[State], name: str, inputs: object, missed: str) -> None:
    """Refuse a schedule whose cases could not start."""
    what = f"process {process!r}, schedule {name!r}"
    if missed not in get_args(Missed):
        raise DefinitionError(f'{what}: missed={missed!r} is unknown; write "one", "all" or "none".')
    if callable(inputs):
        return
    if not isinstance(inputs, Mapping):
        raise DefinitionError(f"{what}: inputs is a {type(inputs).__name__}; give it a mapping, or a function of the tick's time.")
    try:
        state.model_validate(dict(inputs))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DefinitionError(f"{what}: its inputs do not fit {state.__name__} ({where}: {first['msg']}); correct them.") from None


def check_former_names(process: str, steps: Mapping[str, Any], former: Mapping[str, str], step: AnyStep) -> None:
    """Refuse a former name that is the present name of a step, or the former name of another step."""
    what = f"process {process!r}"
    if step.name in former:
        raise DefinitionError(f"{what}: {step.name!r} is an earlier name of {former[step.name]!r}; give the new step another name=.")
    for name in step.former_names:
        if name == step.name or name in steps:
            raise DefinitionError(f"{what}: {step.name!r} was called {name!r}, but a step has that name now; remove it from former_names=.")
        if name in former:
            raise DefinitionError(
                f"{what}: {former[name]!r} and {step.name!r} were both called {name!r}; remove it from the former_names= of one of them."
            )


def check_sleep(process: str, state: type[State], sleep: Sleep) -> None:
    """Refuse a sleep without an end, or whose fields cannot hold a time."""
    what = f"process {process!r}, sleep {sleep.name!r}"
    if (sleep.seconds is None) == (sleep.until is None):
        raise DefinitionError(f"{what}: give it either seconds= or until=.")
    _check_written(what, state, sleep.writes)
    for name in (*sleep.writes, *sleep.shows):
        _check_field(f"{what}: it names", state, name)
        annotation = state.model_fields[name].annotation
        if not fits(float, annotation) and not fits(datetime, annotation):
            raise DefinitionError(f"{what}: field {name!r} takes {show(annotation)}; give it a float (Unix seconds) or a datetime.")


def check_child(process: str, state: type[State], child: Child) -> None:
    """Refuse a child whose inputs read an unknown field, or whose result does not fit the field that it writes."""
    what = f"process {process!r}, child {child.name!r}"
    _check_reads(what, state, child.signature.reads)
    _check_written(what, state, child.writes)
    if child.signature.uses:
        raise DefinitionError(f"{what}: its inputs are a pure function of fields and use no {_listed(child.signature.uses)}.")
    ends: Any = ChildEnd
    if child.result is not None:
        _check_field(f"{what}: its result is", child.process.state, child.result)
        ends = child.process.state.model_fields[child.result].annotation
    _check_fits(f"{what}: it ends with {show(ends)}", ends, _place(state, child.writes[0]), ignore_none=True)


def check_accept(process: str, state: type[State], accept: Accept) -> None:
    """Refuse a message that does not fit the field that it writes."""
    what = f"process {process!r}, message {accept.name!r}"
    [name] = accept.writes
    _check_field(f"{what}: it writes", state, name)
    annotation: Any = state.model_fields[name].annotation
    if accept.while_open not in {"supersede", "append", "hold", "new_case"}:
        raise DefinitionError(f'{what}: while_open={accept.while_open!r}; it is one of "supersede", "append", "hold" and "new_case".')
    if has_signature(accept.message):
        raise DefinitionError(
            f"{what}: it has a Signed field, and nobody checks who signs a message; take an answer at a pause, or leave out Signed."
        )
    appends = accept.while_open == "append"
    where = f"field {name!r}"
    if appends and is_log(state.model_fields[name]):
        annotation, where = _place(state, name)
    if (appends and not is_log(state.model_fields[name])) or not fits(accept.message, annotation):
        mend = f"; make it `{name}: Log[{show(accept.message)}]`" if appends else "; change one of them"
        raise DefinitionError(f"{what}: it takes {show(accept.message)}, but {where} takes {show(annotation)}{mend}.")
    required = {field for field in inputs_of(state) if state.model_fields[field].is_required()}
    if accept.starts is True and required - {name}:
        raise DefinitionError(
            f"{what}: a case that it starts needs {_listed(required - {name})} as well; give starts= a function of the message, or starts=False."
        )


def check_rules(
    process: str, state: type[State], steps: Mapping[str, AnyStep], accepts: Mapping[str, Accept], rules: Sequence[Rule[Any]]
) -> dict[str, str]:
    """Refuse rules that do not end in `otherwise`, that cannot be reached, or that leave a field without a writer.

    Returns the `over=` field of each node of an `each(...)`, by the name of the node.
    """
    what = f"process {process!r}"
    if not rules or rules[-1].condition is not None:
        raise DefinitionError(f"{what}: the rules do not end in otherwise(...); add the step to take when no condition holds.")
    _check_reachable(what, rules)
    for rule in rules:
        _check_step(f"{what}, rule {rule.name!r}", steps, rule)
    overs = _overs(what, state, rules)
    used = {step.name for rule in rules for step in _steps_in(rule)}
    used |= {step.undo.name for step in steps.values() if isinstance(step, Effect) and step.undo is not None}
    for name in steps:
        if name not in used:
            raise DefinitionError(f"{what}: {name!r} is declared, but no rule names it; add a rule or remove it.")
    written = set(chain.from_iterable((*step.writes, *(step.edits if isinstance(step, Pause) else ())) for step in steps.values()))
    written.update(chain.from_iterable(accept.writes for accept in accepts.values()))
    for name in state.model_fields:
        if name not in written and name not in inputs_of(state):
            raise DefinitionError(
                f"{what}: nothing writes field {name!r}; add a node with writes={name!r}, or remove the default None to make it an input."
            )
    _check_cycles(what, steps, overs)
    return overs


def _check_field(prefix: str, state: type[State], name: str) -> None:
    """Refuse an unknown field; `prefix` is the text before its name."""
    if name not in state.model_fields:
        raise DefinitionError(f"{prefix} {name!r}, which is not a field of {state.__name__}; its fields are {_listed(state.model_fields)}.")


def _check_fits(
    prefix: str, offered: Any, place: tuple[Any, str], mend: str = "change one of them", *, ignore_none: bool = False
) -> None:  # fmt: skip
    """Refuse a value that does not fit its place, a type and its name; `prefix` is the text that names the value."""
    annotation, where = place
    if not fits(offered, annotation, ignore_none=ignore_none):
        raise DefinitionError(f"{prefix}, but {where} takes {show(annotation)}; {mend}.")


def _check_reads(what: str, state: type[State], reads: Mapping[str, Any]) -> None:
    for name, annotation in reads.items():
        if name not in state.model_fields:
            raise DefinitionError(
                f"{what}: parameter {name!r} is not a field of {state.__name__}, whose fields are {_listed(state.model_fields)}; "
                "rename it, or put it after a `*` if it is a resource."
            )
        field = state.model_fields[name].annotation
        if not fits(field, annotation, ignore_none=True):
            raise DefinitionError(
                f"{what}: parameter {name!r} takes {show(annotation)}, but the field holds {show(field)}; widen the parameter's type."
            )


def _check_written(what: str, state: type[State], writes: tuple[str, ...]) -> None:
    for name in writes:
        if writes.count(name) > 1:
            raise DefinitionError(f"{what}: it writes {name!r} twice; name each field once.")
        _check_field(f"{what}: it writes", state, name)
        if name in inputs_of(state) and not is_log(state.model_fields[name]):
            raise DefinitionError(f"{what}: it writes {name!r}, which is an input; give the field `| None = None` to make it a result.")


def _taken(what: str, state: type[State], node: AnyNode, field: str) -> tuple[Any, str]:
    """The type that a node's result must have, and its place: a field, an item of a log, or one entry of a collection."""
    annotation = state.model_fields[field].annotation
    if node.signature.item is None:
        return _place(state, field)
    if is_log(state.model_fields[field]):
        raise DefinitionError(
            f"{what}: it takes one Item at a time, so it writes a whole list, but field {field!r} is a Log, which takes one item a step; "
            f"write `{field}: list[{show(node.signature.returns)}] | None = None`."
        )
    collection = collection_of(annotation)
    if collection is None:
        raise DefinitionError(
            f"{what}: it takes one Item at a time, so field {field!r} takes a list or a dict of what it returns, not {show(annotation)}; "
            f"write `{field}: list[{show(node.signature.returns)}] | None = None`."
        )
    return collection.element, f"an entry of field {field!r}"


def _place(state: type[State], field: str) -> tuple[Any, str]:
    """The type that a step's value must fit, and where it goes: the field, or an item that is added to a log."""
    logs = logs_of(state)
    if field in logs:
        return logs[field], f"an item of the log {field!r}"
    return state.model_fields[field].annotation, f"field {field!r}"


def _check_log(what: str, field: FieldInfo) -> None:
    """Refuse a log that is something else as well, or whose list has rules of its own: items are checked one by one."""
    if any(member is not type(None) and get_origin(member) is not list for member in members(field.annotation)):
        raise DefinitionError(f"{what}: it is a Log or something else ({show(field.annotation)}); write `Log[...]` or `Log[...] | None`.")
    if any(not any(one is mark for mark in (LOG, SEARCHED, PRIVATE)) for one in field.metadata):
        raise DefinitionError(f"{what}: a Log has no bounds of its own; put them on its items, as in `Log[Annotated[str, ...]]`.")


def _returned(what: str, node: AnyNode) -> tuple[Any, ...]:
    returns = node.signature.returns
    if not node.writes:
        return ()
    if len(node.writes) == 1:
        return (returns,)
    if get_origin(returns) is not tuple or len(get_args(returns)) != len(node.writes):
        raise DefinitionError(
            f"{what}: it writes {len(node.writes)} fields, so it must return tuple[...] of {len(node.writes)} types, not {show(returns)}."
        )
    return get_args(returns)


def _check_guard(what: str, state: type[State], node: AnyNode, guard: Guard) -> None:
    """Refuse a check that does not read the result or reads an unknown field, and an escalation without a field for it."""
    if node.isolated:
        raise DefinitionError(f"{what}: it is isolated and has a guard; leave out isolated=True, as a node that asks a model only waits.")
    for name, signature in guard.signatures.items():
        if signature.item is not None or not set(signature.reads) & set(node.writes):
            problem = f"{what}, check {name!r}: it does not read what the node writes"
            raise DefinitionError(f"{problem}; name one of {_listed(node.writes)} as a parameter, which takes the result.")
        others = {read: taken for read, taken in signature.reads.items() if read not in node.writes}
        _check_reads(f"{what}, check {name!r}", state, others)
        for read, returned in zip(node.writes, _returned(what, node), strict=True):
            if read in signature.reads and not fits(returned, signature.reads[read]):
                problem = f"parameter {read!r} takes {show(signature.reads[read])}, but the node returns {show(returned)}"
                raise DefinitionError(f"{what}, check {name!r}: {problem}; change one of them.")
    if guard.escalate == "unsafe":
        if len(node.writes) != 1:
            raise DefinitionError(f'{what}: escalate="unsafe" needs one field, but the node writes {_listed(node.writes)}; split the node.')
        annotation, where = _taken(what, state, node, node.writes[0])
        if unsafe_in(annotation) is None:
            returned = show(node.signature.returns)
            raise DefinitionError(
                f'{what}: escalate="unsafe" writes an Unsafe, but {where} takes {show(annotation)}; add `| Unsafe[{returned}]` to it.'
            )


def _check_isolated(what: str, node: AnyNode) -> None:
    """Refuse a function that a subprocess could not import or call."""
    function = node.function
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if node.asynchronous:
        raise DefinitionError(f"{what}: isolated=True is for plain functions; write `def`, or leave it out.")
    for resource in node.signature.uses.keys() - {"ctx"}:
        raise DefinitionError(
            f"{what}: isolated=True, but a subprocess does not have {resource!r}; create it in the function, or leave it out."
        )
    if not isinstance(function, FunctionType) or not name.isidentifier() or module in {None, "__main__"}:
        raise DefinitionError(f"{what}: isolated=True, but a subprocess cannot import it; define it at the top level of a module.")


def _check_inline(what: str, node: AnyNode) -> None:
    """Refuse what the event loop calls anyway, and what could not be kept."""
    if node.asynchronous:
        raise DefinitionError(f"{what}: inline=True is for plain functions, and an async one runs in the event loop anyway; leave it out.")
    if node.isolated:
        raise DefinitionError(f"{what}: it is isolated and inline; leave out one of them.")
    if node.timeout_seconds is not None:
        raise DefinitionError(f"{what}: it is inline, and nothing can stop it in the event loop; leave out timeout_seconds or inline=True.")


def _check_effect(what: str, state: type[State], effect: Effect[Any, Any]) -> None:
    if isinstance(effect.safety, Idempotent) and effect.key is None and "ctx" not in effect.signature.uses:
        raise DefinitionError(
            f"{what}: Idempotent() says that the receiver knows a call by its key, but the function never sees the key; "
            "add `ctx: Context` after the `*` and send `ctx.key` along, or choose another safety policy."
        )
    if effect.key is not None:
        _check_reads(f"{what}, its key", state, dict.fromkeys(_parameters(effect.key), Any))
    undo: object = effect.undo
    if undo is not None and not isinstance(undo, Compensation):
        raise DefinitionError(f"{what}: undo={undo!r} is not a compensation; declare it with `compensation(...)` above it.")
    look_up = getattr(effect.safety, "look_up", None)
    if look_up is not None:
        asked = signature_of(look_up, f"{what}, its look-up")
        if asked.item is not None:
            raise DefinitionError(f"{what}, its look-up: it takes an Item, which an effect has none of; use the effect's own parameters.")
        unknown = (asked.reads.keys() - effect.signature.reads.keys()) | (asked.uses.keys() - effect.signature.uses.keys() - {"ctx"})
        if unknown:
            raise DefinitionError(
                f"{what}: its look-up asks for {_listed(unknown)}, which the effect itself does not name; use the effect's own parameters."
            )


def _check_reachable(what: str, rules: Sequence[Rule[Any]]) -> None:
    seen: dict[object, str] = {}
    names: set[str] = set()
    for position, rule in enumerate(rules):
        if rule.name in names:
            raise DefinitionError(f"{what}: two rules are called {rule.name!r}; a decision must name one rule.")
        names.add(rule.name)
        if rule.condition is None:
            if position < len(rules) - 1:
                raise DefinitionError(
                    f"{what}: rule {rules[position + 1].name!r} follows otherwise(...) and can never be reached; move it up."
                )
            continue
        _check_pure(what, rule)
        if _always_holds(rule.condition):
            raise DefinitionError(
                f"{what}: the condition of rule {rule.name!r} always holds, so no later rule can be reached; use otherwise(...)."
            )
        same = _fingerprint(rule.condition)
        if same in seen:
            raise DefinitionError(
                f"{what}: rule {rule.name!r} has the condition of rule {seen[same]!r} above it and can never be reached; remove one."
            )
        seen[same] = rule.name


def _check_step(what: str, steps: Mapping[str, AnyStep], rule: Rule[Any]) -> None:
    named = rule.step.nodes if isinstance(rule.step, Parallel) else (rule.step,)
    for step in named:
        declared: object = step
        if not isinstance(declared, Node | Pause | Sleep | Child | Parallel | Finish | Compensate | Park) or isinstance(
            declared, Compensation
        ):
            raise DefinitionError(
                f"{what}: {getattr(step, '__name__', step)!r} is not a step; name what node(), effect() or pause() gave you, or finish(...) or park(...)."
            )
    if isinstance(rule.step, Parallel):
        _check_branches(what, rule.step)
    for step in _steps_in(rule):
        if steps.get(step.name) is not step:
            raise DefinitionError(f"{what}: {step.name!r} is not declared on this process; declare it with its node, effect or pause.")
    if isinstance(rule.step, Node) and (item := rule.step.signature.item) is not None:
        raise DefinitionError(f"{what}: {rule.step.name!r} takes one Item, {item.name!r}; write each({rule.step.name}, over=...).")


def _check_branches(what: str, step: Parallel) -> None:
    called = "each(...)" if isinstance(step, Each) else "parallel(...)"
    writers: dict[str, str] = {}
    if len(step.nodes) < 2 and not isinstance(step, Each):
        raise DefinitionError(f"{what}: parallel(...) needs at least two nodes; name the one node itself.")
    for node in step.nodes:
        if isinstance(node, Effect) or not isinstance(node, Node):
            raise DefinitionError(
                f"{what}: {node.name!r} cannot be a branch of {called}, because only nodes can; give it a rule of its own."
            )
        if isinstance(node, Transaction):
            raise DefinitionError(
                f"{what}: {node.name!r} cannot be a branch of {called}, because a transaction has a commit of its own; give it a rule of its own."
            )
        if node.signature.item is not None and not isinstance(step, Each):
            raise DefinitionError(
                f"{what}: {node.name!r} takes one Item, which parallel(...) has none of; write each({node.name}, over=...)."
            )
        for name in node.writes:
            if name in writers:
                raise DefinitionError(
                    f"{what}: {writers[name]!r} and {node.name!r} both write {name!r} in one parallel(...); give each its own field."
                )
            writers[name] = node.name
    for node in step.nodes:
        for name in sorted(node.depends & (writers.keys() - node.writes)):
            raise DefinitionError(
                f"{what}: {node.name!r} reads {name!r}, which {writers[name]!r} writes in the same parallel(...); give it a later rule of its own."
            )
    declared: object = step.failures
    if declared not in {None, "fail", "record"} and not isinstance(declared, Quorum):
        raise DefinitionError(f'{what}: failures is {declared!r}; write "fail", "record" or quorum(n), or leave it out.')
    if step.concurrency < 1:
        raise DefinitionError(f"{what}: concurrency is {step.concurrency}; at least 1 branch must run at a time.")
    most = float("inf") if isinstance(step, Each) else len(step.nodes)
    if isinstance(step.failures, Quorum) and not 1 <= step.failures.needed <= most:
        raise DefinitionError(
            f"{what}: quorum({step.failures.needed}) is impossible; name a number from 1 to {'as many as there are items' if most > len(step.nodes) else most}."
        )


def _overs(what: str, state: type[State], rules: Sequence[Rule[Any]]) -> dict[str, str]:
    """The `over=` field of each node of an `each(...)`. Refuse a field of the wrong type, and results that cannot hold a Failure."""
    overs: dict[str, str] = {}
    for rule in rules:
        if not isinstance(rule.step, Parallel):
            continue
        where = f"{what}, rule {rule.name!r}"
        if isinstance(rule.step, Each):
            node, over = rule.step.nodes[0], rule.step.over
            _check_over(where, state, node, over)
            if overs.setdefault(node.name, over) != over:
                raise DefinitionError(
                    f"{where}: {node.name!r} goes over {over!r} here and over {overs[node.name]!r} above; declare it twice, with two names."
                )
        if rule.step.failures not in {None, "fail"}:
            _check_room(where, state, rule.step)
    return overs


def _check_over(what: str, state: type[State], node: AnyNode, over: str) -> None:
    item = node.signature.item
    if item is None:
        raise DefinitionError(f"{what}: {node.name!r} takes no Item; write `async def {node.name}(one: Item[...], ...)`.")
    _check_field(f"{what}: each(...) goes over", state, over)
    annotation = state.model_fields[over].annotation
    collection = collection_of(annotation)
    if collection is None:
        raise DefinitionError(
            f"{what}: each(...) goes over {over!r}, which holds {show(annotation)}; it takes a list, a tuple or a dict with str keys."
        )
    if not fits(collection.element, item.annotation):
        raise DefinitionError(
            f"{what}: {node.name!r} takes an item of {show(item.annotation)}, but field {over!r} holds {show(collection.element)}; change one of them."
        )
    for name in node.writes:
        results = collection_of(state.model_fields[name].annotation)
        if results is not None and results.keys != collection.keys:
            wanted = "dict[str, ...]" if collection.keys else "list[...]"
            raise DefinitionError(
                f"{what}: the results of going over {over!r} are a {wanted}, but field {name!r} takes {show(state.model_fields[name].annotation)}; change it."
            )


def _check_room(what: str, state: type[State], step: Parallel) -> None:
    for node in step.nodes:
        for name in node.writes:
            _check_fits(f"{what}: a failed branch leaves a Failure", Failure, _taken(what, state, node, name), "add `| Failure` to it")


def _steps_in(rule: Rule[Any]) -> tuple[AnyStep, ...]:
    if isinstance(rule.step, Parallel):
        return rule.step.nodes
    return (rule.step,) if isinstance(rule.step, Node | Pause | Sleep | Child) else ()


def _check_cycles(what: str, steps: Mapping[str, AnyStep], overs: Mapping[str, str]) -> None:
    """Refuse a field that is computed, over any number of steps, from itself, because writing it would clear it."""
    derived: dict[str, dict[str, str]] = {}
    for step in steps.values():
        edits = step.edits if isinstance(step, Pause) else ()
        over = {overs[step.name]} if step.name in overs else frozenset()
        for read in (step.depends | over) - set(edits):
            for write in (*step.writes, *edits):
                derived.setdefault(read, {})[write] = step.name

    acyclic: set[str] = set()

    def walk(field: str, path: tuple[str, ...]) -> None:
        for written in derived.get(field, {}):
            if written in path:
                circle = (*path[path.index(written) :], written)
                steps_on_it = " -> ".join(f"{a} -({derived[a][b]})-> {b}" for a, b in pairwise(circle))
                raise DefinitionError(f"{what}: fields are computed from themselves ({steps_on_it}); let one step read with Peek[...].")
            if written not in acyclic:
                walk(written, (*path, written))
        acyclic.add(field)

    for field in derived:
        walk(field, (field,))


def _check_pure(what: str, rule: Rule[Any]) -> None:
    code = getattr(rule.condition, "__code__", None)
    for instruction in () if code is None else dis.get_instructions(code):
        if instruction.opname in {"STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL"}:
            raise DefinitionError(
                f"{what}: the condition of rule {rule.name!r} assigns to {instruction.argval!r}; a condition must only read, so let a node write the field."
            )


def _always_holds(condition: Callable[[Any], object]) -> bool:
    class Untouched:
        def __getattr__(self, name: str) -> Any:
            raise LookupError(name)

    try:
        return bool(condition(Untouched()))
    except Exception:
        return False


def _fingerprint(condition: Callable[[Any], object]) -> object:
    if not isinstance(condition, FunctionType):
        return condition
    code = condition.__code__
    closure = tuple(id(cell.cell_contents) for cell in condition.__closure__ or ())
    defaults = (condition.__defaults__, tuple(sorted((condition.__kwdefaults__ or {}).items())))
    return (code.co_code, code.co_consts, code.co_names, closure, defaults)


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _class_name(process: str) -> str:
    return "".join(part.title() for part in re.split(r"\W+", process)) or "Case"


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
