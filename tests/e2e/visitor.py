"""A visitor of the dashboard without a browser: speaks Streamlit's protocol over a WebSocket of its own.

Fifty of these fit beside the server on two cores; fifty browsers don't. It sends what the page's components would send and
keeps what they would show: the filmstrips' head and point, and which image the map marks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urljoin

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.BidiComponent_pb2 import BidiComponent
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

TYPES = {"float32": np.float32, "int32": np.int32, "uint8": np.uint8, "uint16": np.uint16}
ENDS = ("FINISHED_SUCCESSFULLY", "FINISHED_FRAGMENT_RUN_SUCCESSFULLY")
PATIENCE = 120.0
"""Seconds after which an answer counts as lost."""


def read_frame(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The head and the body of what ``dashboard.components.frames`` packed."""
    length = int.from_bytes(content[:4], "little")
    return json.loads(content[4 : 4 + length]), content[4 + length :]


@dataclass
class Sliders:
    """The filmstrips that a visitor holds."""

    generation: int
    answers: int | None
    row: int | None
    subject: str
    dimensions: list[int]
    z: np.ndarray
    low: np.ndarray
    high: np.ndarray
    frames: bytes
    """All pictures, end to end."""


def read_sliders(content: bytes) -> Sliders:
    """The filmstrips in the bytes that the sliders were sent."""
    head, body = read_frame(content)
    arrays = {
        name: np.frombuffer(body, TYPES[kind], count, start)
        for name, (kind, start, count) in head["arrays"].items()
        if name in ("z", "low", "high", "frames")
    }
    told = {name: head[name] for name in ("generation", "answers", "row", "subject", "dimensions")}
    return Sliders(**told, **{name: arrays[name].copy() for name in ("z", "low", "high")}, frames=arrays["frames"].tobytes())


@dataclass
class Visitor:
    """One visitor: `open` it, `drag` and `click`, `close` it."""

    socket: ClientConnection
    address: str
    sliders: Sliders | None = None
    marks: dict[str, Any] = field(default_factory=dict)
    """The last head of the map's marks."""
    texts: list[str] = field(default_factory=list)
    """What the page says, all of it since it was opened: Markdown, alerts."""
    received: int = 0
    """Bytes from the server."""
    _ids: dict[str, str] = field(default_factory=dict)
    _fragments: dict[str, str] = field(default_factory=dict)
    _states: dict[str, dict[str, Any]] = field(default_factory=dict)
    _cached: list[set[str]] = field(default_factory=lambda: [set()])
    _query: str = ""
    _page: str = ""
    _session: str = ""
    _uploads: dict[str, Any] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: int = 0
    _sent: int = 0
    _reader: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, address: str, query: str = "") -> Visitor:
        """A visitor who has Explore before him, with all that was sent for it."""
        socket = await connect(
            address.replace("http", "ws", 1) + "/_stcore/stream",
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=None,
            compression=None,
        )
        visitor = cls(socket, address, _query=query)
        visitor._reader = asyncio.create_task(visitor._listen())
        await visitor._run()
        await visitor._until(lambda: visitor._ended > 0)
        return visitor

    async def close(self) -> None:
        """Leave."""
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        await self.socket.close()

    # --- what a visitor does ---------------------------------------------------------------------------------------

    async def drag(self, dimension: int, value: float) -> float:
        """Let go of a slider; returns the seconds until the new filmstrips were there."""
        held, sequence = self._held(), int(time.time() * 1000)
        commit = {"generation": held.generation, "sequence": sequence, "action": "drag", "unfolded": []}
        commit["changes"] = [[dimension, value]]
        return await self._commit("sliders", commit, lambda now: now.answers == sequence)

    async def drag_somewhere(self, choice: random.Random) -> float:
        """`drag` a slider that is open to a place in its range."""
        held = self._held()
        dimension = choice.choice(held.dimensions)
        low, high = (float(ends[dimension]) for ends in (held.low, held.high))
        return await self.drag(dimension, low + (high - low) * choice.uniform(0.05, 0.95))

    async def click(self, row: int) -> float:
        """Click an image on the map; returns the seconds until its filmstrips were there."""
        self._sent += 1
        commit: dict[str, Any] = {"kind": "select", "clicked": [row], "polygon": None, "hidden": [], "primary": row}
        commit["id"] = f"{uuid.uuid4().hex[:8]}-{self._sent}"
        before = self._held().generation
        return await self._commit("marks", commit, lambda now: now.row == row and now.generation > before)

    async def go_to(self, page: str) -> None:
        """Switch to another page by its name in the address, ``reconstruct`` say."""
        before = self._ended
        self._fragments.clear()
        await self._run(page=page)
        await self._until(lambda: self._ended > before)

    async def press(self, label: str) -> None:
        """Press a button of the page."""
        before, name = self._ended, f"button {label}"
        await self._run(self._fragments[name], once={self._ids[name]: {"trigger_value": True}})
        await self._until(lambda: self._ended > before)

    async def upload(self, name: str, content: bytes) -> None:
        """Put a file into the page's first uploader."""
        self._sent += 1
        asked, before = f"ask-{self._sent}", self._ended
        message = BackMsg()
        message.file_urls_request.request_id = asked
        message.file_urls_request.session_id = self._session
        message.file_urls_request.file_names.append(name)
        await self.socket.send(message.SerializeToString())
        await self._until(lambda: asked in self._uploads)
        place = self._uploads[asked]
        await asyncio.to_thread(self._put, place.upload_url, name, content)
        told = {"name": name, "size": len(content), "file_id": place.file_id}
        told["file_urls"] = place
        self._states[self._ids["uploader"]] = {"file_uploader_state_value": told}
        await self._run(self._fragments.get("uploader", ""))
        await self._until(lambda: self._ended > before)

    # --- the protocol ----------------------------------------------------------------------------------------------

    def _held(self) -> Sliders:
        if self.sliders is None:
            raise ValueError("the page has no sliders: " + " ".join(self.texts)[-300:])
        return self.sliders

    async def _commit(self, part: str, commit: dict[str, Any], is_answer: Any) -> float:
        self._states[self._ids[part]] = {"json_value": json.dumps({"commit": commit})}
        before, started = self._ended, time.perf_counter()
        await self._run(self._fragments[part])
        await self._until(lambda: is_answer(self._held()))
        taken = time.perf_counter() - started
        await self._until(lambda: self._ended > before)
        return taken

    async def _run(self, fragment: str = "", page: str = "", once: dict[str, dict[str, Any]] | None = None) -> None:
        """Ask the server for a run of the page, or of a fragment of it; ``once``: what widgets say this time only."""
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.fragment_id, state.page_name = self._query, fragment, page
        state.page_script_hash = "" if page else self._page
        for name, values in {**self._states, **(once or {})}.items():
            widget = state.widget_states.widgets.add()
            widget.id = name
            for kind, value in values.items():
                if kind == "file_uploader_state_value":
                    info = widget.file_uploader_state_value.uploaded_file_info.add()
                    info.name, info.size, info.file_id = value["name"], value["size"], value["file_id"]
                    info.file_urls.CopyFrom(value["file_urls"])
                else:
                    setattr(widget, kind, value)
        state.cached_message_hashes.extend(set().union(*self._cached))
        await self.socket.send(message.SerializeToString())

    def _put(self, url: str, name: str, content: bytes) -> None:
        """Send a file as a browser does: with the token of a cookie that the server gave it."""
        with urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=PATIENCE) as health:
            token = SimpleCookie(health.headers["Set-Cookie"])["_streamlit_xsrf"].value
        edge = uuid.uuid4().hex
        head = f'--{edge}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode()
        body = head + content + f"\r\n--{edge}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={edge}"}
        headers |= {"Cookie": f"_streamlit_xsrf={token}", "X-Xsrftoken": token}
        request = urllib.request.Request(urljoin(self.address, url), body, headers, method="PUT")
        with urllib.request.urlopen(request, timeout=PATIENCE):
            pass

    async def _until(self, done: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():
                self._news.clear()
                if self._reader is not None and self._reader.done():
                    raise ConnectionError(f"the server hung up: {self._reader.exception()}")
                await self._news.wait()

    async def _listen(self) -> None:
        try:
            async for content in self.socket:
                assert isinstance(content, bytes)
                self.received += len(content)
                message = ForwardMsg()
                message.ParseFromString(content)
                self._take(message)
                self._news.set()
        finally:
            self._news.set()

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if message.metadata.cacheable:
            self._cached[-1].add(message.hash)
        if kind == "ref_hash":
            self._cached[-1].add(message.ref_hash)
        elif kind == "new_session":
            told = message.new_session
            self._page, self._session = told.page_script_hash, told.initialize.session_id or self._session
        elif kind == "delta":
            self._take_delta(message.delta)
        elif kind == "navigation":
            self._page = message.navigation.page_script_hash
        elif kind == "page_info_changed":
            self._query = message.page_info_changed.query_string
        elif kind == "file_urls_response":
            self._uploads[message.file_urls_response.response_id] = message.file_urls_response.file_urls[0]
        elif kind == "script_finished" and ForwardMsg.ScriptFinishedStatus.Name(message.script_finished) in ENDS:
            self._ended += 1
            self._cached = [*self._cached, set()][-3:]  # a browser forgets what two runs of the page didn't use

    def _take_delta(self, delta: Delta) -> None:
        element = delta.new_element
        kind = element.WhichOneof("type")
        if kind == "bidi_component":
            self._take_component(element.bidi_component, delta.fragment_id)
        elif kind in ("file_uploader", "button"):
            name = "uploader" if kind == "file_uploader" else f"button {element.button.label}"
            self._ids[name], self._fragments[name] = getattr(element, kind).id, delta.fragment_id
        elif kind == "markdown":
            self.texts.append(element.markdown.body)
        elif kind == "alert":
            self.texts.append(element.alert.body)

    def _take_component(self, component: BidiComponent, fragment: str) -> None:
        name = component.component_name
        if name == "latent_sliders":
            self._ids["sliders"], self._fragments["sliders"] = component.id, fragment
            self.sliders = read_sliders(component.bytes)
        elif name == "latent_map_feed":
            head, body = read_frame(component.bytes)
            if head["feed"] == "marks":
                self._ids["marks"], self._fragments["marks"] = component.id, fragment
                self.marks = read_frame(body)[0]
