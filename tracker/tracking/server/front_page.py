"""MLflow's first page without its assistant: no panel that opens by itself, no button for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

QUIET = (
    b"<style>[data-assistant-ui]{display:none!important}</style>"
    b"<script>try{localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1','true')}catch(e){}</script>"
)
"""Put into the head of the page. MLflow 3.17's page notes under that key that it has opened the panel once."""
END_OF_HEAD = b"</head>"


class QuietFrontPage:
    """Tell MLflow's page that the assistant's panel, which takes a quarter of it, was opened before.

    MLflow opens it at the first visit of each browser to a server on 127.0.0.1, whether the assistant
    can be used or not. Where the page is not as expected it is passed on as it is.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("method") != "GET" or scope.get("path") != "/":
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = bytearray()

        async def rewritten(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            page = bytes(body).replace(END_OF_HEAD, QUIET + END_OF_HEAD, 1)
            headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            if page:
                headers.append((b"content-length", str(len(page)).encode()))
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": page})

        await self._app(scope, receive, rewritten)
