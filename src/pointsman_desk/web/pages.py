"""The routes of the desk's pages: what a person reads of a mail, and what the person decides."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from pointsman import Blob, CaseRow, Pending, PointsmanError, Status
from pointsman.server import tell_audit
from pointsman.web import (
    CasePage,
    Form,
    Principal,
    Scope,
    TaskPage,
    case_of,
    filters_of,
    form_of,
    next_path,
    page,
    pages,
    permit,
    show_again,
    shown_under,
)
from pointsman_desk import desk as at_desk
from pointsman_desk import sorting
from pointsman_desk.case import Case, proposed
from pointsman_desk.commands import COMMANDS, Accept, Close, CloseAll
from pointsman_desk.errors import DeskError, DraftChanged
from pointsman_desk.mail.compose import is_address
from pointsman_desk.mail.originals import attachment_of, html_of
from pointsman_desk.nodes.validate import violations_of
from pointsman_desk.steps import APPROVE
from pointsman_desk.web.case_page import case_values
from pointsman_desk.web.figures import Figures
from pointsman_desk.web.mail_page import body_in, difference_of, mails_of, text_of, values_of
from pointsman_desk.web.search import find
from pointsman_desk.web.work_list import work_list_of
from pointsman_desk.wiring import Desk

# What the browser may do with a mail's HTML: nothing (https://www.w3.org/TR/CSP3/#directive-sandbox).
INERT = "default-src 'none'; sandbox"
SEARCH_MAX = 200  # characters: a subject and a name
BODY_MAX = 200_000  # characters of a reply, far more than a person writes


def desk_pages(desk: Desk) -> Sequence[BaseRoute]:
    """Return the routes of all pages of an open desk."""
    routes = Mails(desk)
    return pages(
        product="Mail desk",
        templates="pointsman_desk.web",
        task_pages={desk.process.name: TaskPage("mail.html", lambda _, task: routes.values(task.case))},
        case_pages={desk.process.name: CasePage("mail_case.html", lambda _, row: case_values(desk, row))},
        list_page=work_list_of(desk),
        links=(("/replies", "Replies"),),
        routes=(
            ("GET", "/search", routes.search),
            ("GET", "/replies", routes.replies),
            ("POST", "/automatic", routes.close_automatic),
            ("POST", "/cases/{case:int}/approve", routes.approve),
            ("POST", "/cases/{case:int}/edit", routes.edit),
            ("POST", "/cases/{case:int}/redraft", routes.redraft),
            ("POST", "/cases/{case:int}/reject", routes.reject),
            ("POST", "/cases/{case:int}/sort", routes.sort),
            ("POST", "/cases/{case:int}/close", routes.close),
            ("POST", "/cases/{case:int}/resolve", routes.resolve),
            ("POST", "/cases/{case:int}/redrive", routes.redrive),
            ("POST", "/cases/{case:int}/cancel", routes.cancel),
            ("POST", "/cases/{case:int}/reopen", routes.reopen),
            ("POST", "/cases/{case:int}/checks", routes.checks),
            ("GET", "/cases/{case:int}/original", routes.original),
            ("GET", "/cases/{case:int}/attachments/{sha256}", routes.attachment),
        ),
    )


class MustConfirm(DeskError):
    """The draft breaks a rule, so the person must say once more that it is to be sent."""


class Mails:
    """The handlers, on one open desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._figures = Figures(desk)

    async def values(self, case: int) -> dict[str, Any]:
        """Return what the page of a waiting mail shows."""
        engine = self._desk.engine
        pending, row, state = await engine.pending(case), await engine.case(case), await engine.state(case, Case)
        values = await values_of(engine.reader, pending, state, row.rule or "")
        return {**values, "reasons": self._desk.config.approval.reasons, "has_models": bool(self._desk.config.models)}

    # What a person decides.

    async def approve(self, request: Request) -> Response:
        """Send the reply; if the text or the recipient was edited, the new text to the new recipient."""

        async def act(who: Principal, form: Form, case: int) -> CaseRow:
            if await self._is_edited(case, form):
                return await self._edit(who, form, case, send=True)
            despite, seen = form.get("despite") == "yes", form.get("digest", "")
            before = await self._desk.engine.pending(case)
            if text_of(before) == "":
                raise DeskError("There is no draft yet; write the reply, or close the mail without one.")
            if before.shown["addressing"] is not None and before.shown["addressing"].problem and not form.get("to", "").strip():
                raise DeskError(f"{before.shown['addressing'].problem}; write the recipient's address, or close the mail without a reply.")
            verdict = before.beside.get("verdict")
            if verdict is not None and verdict.violations and not despite:
                raise MustConfirm("This reply breaks a rule. Change it, or say once more that it is to be sent.")
            if _is_readdressed(before, form):
                await self._edit(who, form, case, send=False)
                now = await self._desk.engine.pending(case)
                if now.shown["reply"] != before.shown["reply"]:
                    raise DeskError("The draft has changed while its recipient was changed; look at it again.")
                seen = now.digest
            return await at_desk.approve(self._desk, case, by=who.name, seen=seen, despite_violations=despite)

        return await self._decided(request, act)

    async def edit(self, request: Request) -> Response:
        """Keep a new text or another recipient; the reply is checked and waits for approval again."""
        return await self._decided(request, lambda who, form, case: self._edit(who, form, case, send=False), stays=True)

    async def redraft(self, request: Request) -> Response:
        """Ask for a new draft. The page shows it if it is written soon; otherwise the next mail is shown meanwhile."""

        async def act(who: Principal, form: Form, case: int) -> CaseRow:
            instruction, seen = form.get("instruction", ""), form.get("digest", "")
            body = form["body"][:BODY_MAX] if await self._is_edited(case, form) and form["body"].strip() else None
            to, copies = await self._recipients(case, form)
            return await at_desk.redraft(
                self._desk, case, by=who.name, instruction=instruction, seen=seen, body=body, to=to, copies=copies
            )  # fmt: skip

        return await self._decided(request, act, how="redrafted")

    async def reject(self, request: Request) -> Response:
        """Close the mail without a reply."""

        async def act(who: Principal, form: Form, case: int) -> CaseRow:
            why = form.get("own_reason", "").strip() or form.get("reason", "")
            if not why:
                raise DeskError("Say why the mail is not answered: choose a reason, or write one.")
            return await at_desk.reject(self._desk, case, by=who.name, why=why, seen=form.get("digest", ""))

        return await self._decided(request, act)

    async def sort(self, request: Request) -> Response:
        """Take a probably automatic mail as automatic, or as a customer's."""

        async def act(who: Principal, form: Form, case: int) -> CaseRow:
            if form.get("found") == "automatic":
                return await at_desk.close(self._desk, case, by=who.name)
            return await sorting.accept(self._desk, case, by=who.name)

        return await self._decided(request, act)

    async def close_automatic(self, request: Request) -> Response:
        """Close the listed mails as automatic; one that has changed since it was listed stays open."""
        who = await permit(request, Scope.ANSWER)
        form = await form_of(request, who)
        listed = (chosen.partition(" ") for chosen in form.all_of("case"))
        seen = {int(case): digest for case, _, digest in listed if case.isascii() and case.isdecimal()}
        tell_audit(request, {"operation": CloseAll.name, "said": CloseAll.said, "cases": list(seen)})
        await sorting.close_all(self._desk, seen, by=who.name, seen=seen)
        return RedirectResponse(f"{request.scope.get('root_path', '')}/", 303)

    async def close(self, request: Request) -> Response:
        """Close a case that waits for the customer's answer."""
        return await self._decided(request, lambda who, _, case: at_desk.close(self._desk, case, by=who.name))

    async def _edit(self, who: Principal, form: Form, case: int, *, send: bool) -> CaseRow:
        to, copies = await self._recipients(case, form)
        body = form.get("body", "")[:BODY_MAX]
        if not await self._is_edited(case, form):
            return await at_desk.readdress(self._desk, case, by=who.name, seen=form.get("digest", ""), to=to, copies=copies)
        seen = form.get("digest", "")
        return await at_desk.edit(self._desk, case, by=who.name, body=body, seen=seen, send=send, to=to, copies=copies)

    async def _recipients(self, case: int, form: Form) -> tuple[str | None, bool | None]:
        """Return the address and whether Cc gets a copy, as a form has them; None is what stays. Raises DeskError."""
        pending = await self._desk.engine.pending(case)
        to = form.get("to", "").strip() or None
        now = pending.shown["addressing"]
        to = None if now is not None and to == now.to else to
        if to is not None and not is_address(to):
            raise DeskError(f"{to!r} is not a single plain address such as jane@customer.example; correct it.")
        return to, "cc" in form if "cc_shown" in form else None

    async def _is_edited(self, case: int, form: Form) -> bool:
        pending = await self._desk.engine.pending(case)
        return "body" in form and form["body"].rstrip() != text_of(pending).rstrip()

    async def _decided(
        self, request: Request, act: Callable[[Principal, Form, int], Awaitable[CaseRow]], *, stays: bool = False, how: str = "answered"
    ) -> Response:  # fmt: skip
        """Act, and go to the next mail; a decision that is refused shows the mail again, with what was entered."""
        who = await permit(request, Scope.ANSWER)
        case, form = case_of(request), await form_of(request, who)
        _tell_audit(request, form)
        path = await next_path(request, who, case, how)
        try:
            row = await act(who, form, case)
        except (DeskError, PointsmanError) as error:
            return await self._again(request, who, form, error)
        if stays or (row.status is Status.WAITING and row.step == APPROVE):
            path = f"{request.scope.get('root_path', '')}/cases/{case}/task{filters_of(request).query(**{'kept' if how == 'answered' else how: 1})}"
        return RedirectResponse(path, 303)

    async def _again(self, request: Request, who: Principal, form: Form, error: Exception) -> Response:
        """Show the mail again with what was entered, and if it has changed meanwhile, with what has changed in it."""
        case = case_of(request)
        pending = await self._desk.engine.pending(case)
        now = text_of(pending)
        kept: dict[str, Any] = {
            "body": form.get("body", now),
            "own_reason": form.get("own_reason", ""),
            "instruction": form.get("instruction", ""),
            "refused": _said_on_page(error),
            "confirms": False,
        }
        kept |= {"to": form["to"]} if form.get("to") else {}
        if isinstance(error, MustConfirm):
            kept["confirms"] = True
        if not isinstance(error, DraftChanged):
            return await show_again(request, who, pending, 422, kept)
        seen = await shown_under(self._desk.engine, pending, form.get("digest", ""))
        if kept["body"].rstrip() == body_in(seen).rstrip():
            kept["body"] = now
        kept["refused"] = "This has changed since you opened it, and nothing was sent. What you entered is kept; look at the changes."
        return await show_again(request, who, pending, 409, {**kept, "changes": difference_of(seen, pending)})

    # What an operator does with a case that stands still.

    async def resolve(self, request: Request) -> Response:
        """Say of a reply in doubt whether it arrived; otherwise it is sent again."""

        async def act(by: str, form: Form, case: int) -> int:
            if form.get("arrived") not in {"yes", "no"}:
                raise DeskError("Say whether the reply arrived.")
            return (await at_desk.resolve(self._desk, case, by=by, arrived=form["arrived"] == "yes")).id

        return await self._operated(request, Scope.OPERATE, act)

    async def redrive(self, request: Request) -> Response:
        """Try again what failed."""

        async def act(by: str, form: Form, case: int) -> int:
            return (await at_desk.redrive(self._desk, case, by=by, why=form.get("why", ""))).id

        return await self._operated(request, Scope.OPERATE, act)

    async def cancel(self, request: Request) -> Response:
        """Close a case that stands still."""

        async def act(by: str, form: Form, case: int) -> int:
            return (await at_desk.cancel(self._desk, case, by=by, why=form.get("why", ""))).id

        return await self._operated(request, Scope.OPERATE, act)

    async def reopen(self, request: Request) -> Response:
        """Put the mails of an ended case before a person again."""

        async def act(by: str, form: Form, case: int) -> int:
            return (await sorting.reopen(self._desk, case, by=by, why=form.get("why", ""))).id

        return await self._operated(request, Scope.ANSWER, act)

    async def _operated(self, request: Request, scope: Scope, act: Callable[[str, Form, int], Awaitable[int]]) -> Response:
        who = await permit(request, scope)
        form = await form_of(request, who)
        _tell_audit(request, form)
        try:
            case = await act(who.name, form, case_of(request))
        except DeskError as error:
            return page(request, "problem.html", 409, who=who, title="Nothing was changed", detail=_said_on_page(error))
        return RedirectResponse(f"{request.scope.get('root_path', '')}/cases/{case}", 303)

    # What a person looks at.

    async def checks(self, request: Request) -> Response:
        """Return what the checks object to in a text that is being written."""
        who = await permit(request, Scope.READ)
        form = await form_of(request, who)
        tell_audit(request, None)  # nothing changes, and a person who writes sends one after each pause
        case = await self._desk.engine.state(case_of(request), Case)
        reply = proposed(case.reply)
        if reply is None or case.trust is None:
            return JSONResponse([])
        written = reply.model_copy(update={"body": form.get("body", "")[:BODY_MAX], "template": None, "author": who.name})
        return JSONResponse([violation.message for violation in violations_of({**dict(case), "reply": written})])

    async def search(self, request: Request) -> Response:
        """Find cases by customer, order, subject or text: every word must occur."""
        who = await permit(request, Scope.READ)
        text = " ".join(request.query_params.get("q", "").split())[:SEARCH_MAX]
        found = await find(self._desk, text, request.query_params.get("after", "")) if text else None
        return page(request, "mail_search.html", who=who, text=text, found=found)

    async def replies(self, request: Request) -> Response:
        """Show how the desk does."""
        who = await permit(request, Scope.READ)
        return page(request, "figures.html", who=who, **await self._figures.values())

    async def original(self, request: Request) -> Response:
        """Return the HTML of the newest mail, inert."""
        await permit(request, Scope.READ)
        raw = await self._raw(case_of(request))
        html = None if raw is None else html_of(raw)
        text = html if html is not None else "<p>This mail has no HTML.</p>"
        return HTMLResponse(
            f'<!doctype html><meta charset="utf-8"><title>Original</title><meta name="color-scheme" content="light">{text}',
            headers={"Content-Security-Policy": INERT, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
        )

    async def attachment(self, request: Request) -> Response:
        """Return an attachment as a download. The browser never shows it, whatever it is."""
        await permit(request, Scope.READ)
        case, sha256 = case_of(request), request.path_params["sha256"]
        state = await self._desk.engine.state(case)
        known = next((one for mail in mails_of(state) for one in mail.attachments if one.sha256 == sha256), None)
        for incoming in state.mails if known is not None else ():
            raw = await self._desk.engine.reader.blob(incoming.raw)
            content = None if raw is None else attachment_of(raw, sha256)
            if content is not None and known is not None:
                return Response(content, headers=_download(known.name))
        return page(
            request, "problem.html", 404, title="There is no such attachment", detail="The mail has none, or its content was deleted."
        )

    async def _raw(self, case: int) -> bytes | None:
        state = await self._desk.engine.state(case)
        newest: Blob = state.mails[-1].raw
        return await self._desk.engine.reader.blob(newest)


def _said_on_page(error: Exception) -> str:
    """Return an error as a sentence for a person in front of a page: it names no command."""
    said = error.on_page if isinstance(error, DeskError) else str(error)
    return f"{said[:1].upper()}{said[1:]}"


def _tell_audit(request: Request, form: Form) -> None:
    """Tell the audit log which command of the desk a form is, and why."""
    name = request.url.path.rpartition("/")[2]
    if name == "sort":
        name = Close.name if form.get("found") == "automatic" else Accept.name
    why = form.get("why", "") or form.get("own_reason", "").strip() or form.get("reason", "")
    tell_audit(request, {"operation": name, "said": COMMANDS[name].said, "why": why})


def _is_readdressed(pending: Pending, form: Form) -> bool:
    """Whether a person has changed the recipient, or who gets a copy."""
    now, to = pending.shown["addressing"], form.get("to", "").strip()
    copied = bool(now is not None and now.cc)
    return bool(to and (now is None or to != now.to)) or ("cc_shown" in form and ("cc" in form) != copied)


def _download(name: str) -> Mapping[str, str]:
    """Return the headers of a download (RFC 6266, 4; RFC 8187 for names that are not ASCII). A name is no path (RFC 6266, 4.3)."""
    plain = "".join(character for character in name if character.isprintable()).replace("\\", "/").rpartition("/")[2].lstrip(".")
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(plain or 'attachment', safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": INERT,
        "Cache-Control": "no-store",
    }
