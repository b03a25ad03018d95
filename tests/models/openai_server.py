"""An OpenAI-compatible server on loopback, a program of its own: it answers as a schema asks, and does wrong what it is told to.

    python tests/models/openai_server.py --port 0       prints the port that it listens on

`POST /v1/chat/completions` answers what the schema of `response_format`, or of the one tool, asks for, by keywords of what
the users' messages say: a small desk model. `GET /control` tells what was counted, and `POST /control {"faults": [...]}`
what becomes of the next completions, in order; null behaves. A fault is an object with any of these:

    for                     only for an answer to the schema of this name; other answers leave the fault in line
    change, without         fields of the answer that are changed, and those that are left out
    content, message        the raw content of the answer; keys of the message
    finish_reason, usage    of the answer; `usage` null leaves it out
    body, status, headers   what is answered instead
    cut                     so many bytes are sent of all, below 0 so many are kept back, and the server hangs up
    act                     "silence": it never answers; "hold": it has worked out its answer, and never sends it;
                            "reset": it resets the connection; "drip": it sends a byte after the other
"""

import argparse
import asyncio
import json
import re
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

WORDS = {  # the first that the mail holds one word of
    "legal": ("lawyer", "sue you", "court", "anwalt", "avocat", "abogado"),
    "refund": ("refund", "money back", "erstatt", "geld zurück", "rembours", "reembols", "devoluci"),
    "complaint": ("complain", "unacceptable", "terrible", "beschwer", "unverschämt", "réclamation", "inacceptable", "queja", "inaceptable"),
    "cancel_order": ("cancel", "stornier", "annuler", "cancelar"),
    "change_address": ("new address", "neue adresse", "nouvelle adresse", "nueva dirección"),
    "invoice": ("invoice", "rechnung", "facture", "factura"),
    "opening_hours": ("opening hours", "are you open", "öffnungszeiten", "geöffnet", "horaires", "ouvert", "horario", "abierto"),
    "order_status": ("my order", "my parcel", "bestellung", "paket", "commande", "colis", "pedido", "paquete"),
}
RISKS = {"legal": "high", "refund": "medium", "complaint": "medium", "unclear": "medium"}
TONGUES = {
    "de": (" ich ", " und ", " der ", " nicht ", " meine "),
    "fr": (" je ", " vous ", " ma ", " mon ", " pas ", " et "),
    "es": (" el ", " mi ", " por ", " hola", " está ", " y "),
}
BODIES = {
    "en": "Hello,\n\nwe are sorry for the trouble. Thank you for your message; a colleague will look into it.{hours}\n\n{{signature}}",
    "de": "Guten Tag,\n\nes tut uns leid. Danke für Ihre Nachricht; jemand von uns kümmert sich darum.{hours}\n\n{{signature}}",
    "fr": "Bonjour,\n\nnous sommes désolés. Merci de votre message ; un collègue s'en occupe.{hours}\n\n{{signature}}",
    "es": "Hola:\n\nlo sentimos. Gracias por su mensaje; un compañero se ocupa de ello.{hours}\n\n{{signature}}",
}
TOLD_LANGUAGE = re.compile(r'language: "(en|de|fr|es)"')  # how a desk says which language a reply is to be in
ORDER_NUMBER = re.compile(r"\ba-\d{4,6}\b")


class Question(NamedTuple):
    """What the first user's message is about, which is the mail; the later ones speak of answers."""

    text: str
    intent: str
    language: str


def question_of(messages: list[dict[str, str]]) -> Question:
    text = next((f" {one['content']} ".lower() for one in messages if one["role"] == "user"), "")
    told = TOLD_LANGUAGE.search(" ".join(one["content"] for one in messages if one["role"] == "system"))
    intent = next((intent for intent, words in WORDS.items() if any(word in text for word in words)), "unclear")
    return Question(text, intent, told[1] if told else language_of(text))


def language_of(text: str) -> str:
    found = {language: sum(text.count(word) for word in words) for language, words in TONGUES.items()}
    best = max(found, key=lambda language: found[language])
    return best if found[best] else "en"


def one_of(options: list[Any], question: Question) -> Any:
    """The one that the mail speaks for, where the options are the desk's; or the first."""
    fitting = (question.intent, RISKS.get(question.intent, "low"), question.language, "warm")
    return next((choice for choice in fitting if choice in options), options[0])


def written(name: str, question: Question) -> str:
    if name not in {"body", "text"}:
        return f"about {question.intent.replace('_', ' ')}"
    return BODIES[question.language].replace("{hours}", "\n\n{{opening_hours}}" if question.intent == "opening_hours" else "")


def filled(node: Mapping[str, Any], root: Mapping[str, Any], question: Question, name: str = "") -> Any:
    """A value that fits a schema: for enums and texts what the mail speaks for, null and empty wherever that is allowed."""
    while "$ref" in node:
        node = root["$defs"][node["$ref"].rpartition("/")[2]]
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return one_of(node["enum"], question)
    if name == "order_number" and (number := ORDER_NUMBER.search(question.text)):
        return number[0].upper()
    if members := node.get("anyOf"):
        return None if {"type": "null"} in members else filled(members[0], root, question, name)
    match node.get("type"):
        case "object":
            return {key: filled(inside, root, question, key) for key, inside in node.get("properties", {}).items()}
        case "string":
            return written(name, question)
        case kind:
            return {"array": [], "integer": 1, "number": 1, "boolean": False}.get(str(kind))


class Server:
    """What becomes of each request, and what was counted: requests that were read whole, answers that were worked out and their tokens."""

    def __init__(self) -> None:
        self.faults: list[Any] = []
        self.forget()

    def forget(self) -> None:
        numbers = dict.fromkeys(("requests", "answers", "held", "dripped", "prompt_tokens", "completion_tokens"), 0)
        self.counted: dict[str, Any] = {**numbers, "schemas": {}, "last": None}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head, body = await read_request(reader)
            method, path, headers = head
            if path == "/control":
                writer.write(response(200, self.control(method, body)))
            elif (method, path) == ("GET", "/v1/models"):
                writer.write(response(200, {"object": "list", "data": [{"id": "desk", "object": "model", "owned_by": "loopback"}]}))
            elif (method, path) == ("POST", "/v1/chat/completions"):
                await self.complete(json.loads(body), headers, reader, writer)
            else:
                writer.write(response(404, {"error": {"message": f"there is no {path} here"}}))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()

    def control(self, method: str, body: bytes) -> dict[str, Any]:
        if method == "POST":
            told = json.loads(body)
            if told.get("forget"):
                self.forget()
            self.faults = told.get("faults", self.faults)
        return self.counted | {"faults_left": len(self.faults)}

    async def complete(
        self, asked: dict[str, Any], headers: Mapping[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        name, schema = schema_of(asked)
        self.counted["requests"] += 1
        self.counted["schemas"][name] = self.counted["schemas"].get(name, 0) + 1
        self.counted["last"] = {"headers": headers, "body": asked}
        fault = self.fault_for(name)
        act = fault.get("act")
        if act == "reset":
            linger = struct.pack("ii", 1, 0)  # closing sends a reset
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return
        sent = b"" if act == "silence" else self.answer(asked, name, schema, fault)
        if act in {"silence", "hold"}:
            self.counted["held"] += 1
            await reader.read()  # until the client goes
            return
        if act == "drip":
            for byte in sent:
                writer.write(bytes([byte]))
                await writer.drain()
                self.counted["dripped"] += 1
                await asyncio.sleep(0.01)  # slow for a reader, and far from ended when a test has gone
        writer.write(sent[: fault["cut"]] if "cut" in fault else sent)

    def fault_for(self, name: str) -> dict[str, Any]:
        for number, fault in enumerate(self.faults):
            if fault is None or fault.get("for", name) == name:
                del self.faults[number]
                return fault or {}
        return {}

    def answer(self, asked: dict[str, Any], name: str, schema: Mapping[str, Any], fault: dict[str, Any]) -> bytes:
        if "body" in fault or "status" in fault:
            return response(fault.get("status", 200), fault.get("body", ""), fault.get("headers", {}))
        told = filled(schema, schema, question_of(asked["messages"]))
        value = {key: inside for key, inside in told.items() if key not in fault.get("without", ())}
        content = fault.get("content", json.dumps(value | fault.get("change", {}), ensure_ascii=False))
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if asked.get("tools"):
            message = {"role": "assistant", "content": None, "tool_calls": [
                {"id": "call-1", "type": "function", "function": {"name": name, "arguments": content}}
            ]}  # fmt: skip
        said = sum(len(one["content"] or "") for one in asked["messages"])
        usage = {"prompt_tokens": said // 4 + 1, "completion_tokens": len(content or "") // 4 + 1}
        self.counted["answers"] += 1
        for key, tokens in usage.items():
            self.counted[key] += tokens
        completion = {
            "id": f"chatcmpl-{self.counted['answers']}", "object": "chat.completion", "created": 1, "model": asked["model"],
            "choices": [{"index": 0, "message": message | fault.get("message", {}), "finish_reason": fault.get("finish_reason", "stop")}],
            "usage": fault.get("usage", usage | {"total_tokens": sum(usage.values())}),
        }  # fmt: skip
        return response(200, {key: value for key, value in completion.items() if value is not None}, fault.get("headers", {}))


def schema_of(asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The schema that an answer is asked for, and its name; an empty object where none is."""
    if tools := asked.get("tools"):
        return tools[0]["function"]["name"], tools[0]["function"]["parameters"]
    asked_for = asked.get("response_format", {}).get("json_schema", {})
    return asked_for.get("name", ""), asked_for.get("schema", {"type": "object"})


async def read_request(reader: asyncio.StreamReader) -> tuple[tuple[str, str, dict[str, str]], bytes]:
    begin = await reader.readexactly(1)
    if begin == b"\x16":
        raise ConnectionError("a client that wants to talk TLS")
    first, *lines = (begin + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
    method, target, _ = first.split(" ")
    path = urlsplit(target).path  # a proxy is told the whole address
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return (method, path, headers), await reader.readexactly(int(headers.get("content-length", 0)))


def response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"} | dict(headers or {})
    return "\r\n".join((f"HTTP/1.1 {status} so", *(f"{name}: {value}" for name, value in named.items()), "", "")).encode() + content


async def serve(port: int) -> None:
    server = await asyncio.start_server(Server().talk, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Remote:
    """The server's program, as a test sees it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"

    def will(self, *faults: Any) -> None:
        """Let these become of the next completions, and count anew."""
        self._control({"faults": faults, "forget": True})

    def then(self, *faults: Any) -> None:
        """The same, and count on."""
        self._control({"faults": faults})

    def counted(self) -> dict[str, Any]:
        """What was counted since."""
        return self._control(None)

    def _control(self, told: Any) -> dict[str, Any]:
        data = None if told is None else json.dumps(told).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy of the environment has no way to loopback
        with opener.open(f"http://127.0.0.1:{self.port}/control", data) as answered:
            return dict(json.load(answered))


@contextmanager
def running() -> Iterator[Remote]:
    """The server as a process, until the end of the block."""
    with subprocess.Popen([sys.executable, __file__, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Remote(int(process.stdout.readline()))
        finally:
            process.kill()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, default=0)
    asyncio.run(serve(arguments.parse_args().port))
