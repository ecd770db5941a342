"""The application that MLflow serves for us: its own, less the assistant, with a log that stays bounded.

MLflow finds both by the entry points `tracker` and `tracker-team` of `mlflow.app`, its way to let a
package wrap its application. This module is imported by MLflow's processes only.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from tracker.tracking.server.front_page import QuietFrontPage
from tracker.tracking.server.logs import LOG_VARIABLE, keep_bounded

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

ASSISTANT = "/mlflow/assistant"
"""MLflow's chat assistant: it runs shell commands for whoever comes from this machine, without a password."""


def create() -> Application:
    """Return MLflow's application."""
    from mlflow.server.fastapi_app import app

    return _ours(app)


def create_team() -> Application:
    """Return MLflow's application with its basic auth."""
    from mlflow.server.auth import create_app

    return _ours(create_app())


def _ours(app: Any) -> Application:
    if log := os.environ.get(LOG_VARIABLE):
        keep_bounded(Path(log))
    app.add_middleware(QuietFrontPage)
    app.add_middleware(WithoutAssistant)  # the last one added is the first one asked
    application: Application = app
    return application


class WithoutAssistant:
    """Refuse every request for the assistant, as MLflow itself refuses those of other machines."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if ASSISTANT not in scope.get("path", ""):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"detail": "The assistant is switched off."}'})
