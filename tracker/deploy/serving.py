"""A network that `mlflow models serve` serves, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np

from tracker.deploy.describing import check_description
from tracker.study.errors import TrackerError, UsageError
from tracker.study.plain import parse_json
from tracker.study.printing import printable

SECONDS = 120
MAX_ANSWER = 256 << 20


class ServedNetwork:
    """A server's network.

    Args:
        address: `http://HOST:PORT`, with or without `/invocations`.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/").removesuffix("/invocations") + "/invocations"
        self.channels = 0
        self.image_size = 0
        self.classes: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Ask what the network is; to be called first.

        Raises:
            TrackerError: nothing answers, or something else than an exported network.
        """
        refusal: TrackerError | None = None
        for channels in (3, 1):  # the server refuses images of another shape than its signature's
            pixel = np.zeros((1, channels, 1, 1), dtype=np.uint8)
            try:
                found = self._ask({"inputs": {"images": pixel.tolist()}, "params": {"describe": True}})
                (description,) = found
                check_description(description)
            except _Refused as error:
                refusal = error
                continue
            except (ValueError, KeyError, TypeError) as error:
                raise TrackerError(
                    f"{self.address}: does not serve a network exported by this program",
                    "mlflow models serve -m DIR --env-manager local --host 127.0.0.1",
                ) from error
            self.channels = description["input"]["shape"][1]
            self.image_size = description["input"]["image_size"]
            self.classes = tuple(description["classes"])
            return dict(description)
        assert refusal is not None
        raise refusal

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return probabilities, float64, (N, K), of uint8 images, (N, C, H, W).

        Raises:
            TrackerError: the server does not answer, or with something else.
        """
        rows = self._ask({"inputs": {"images": images.tolist()}})
        try:
            found = np.array([[float(row["probabilities"][name]) for name in self.classes] for row in rows])
        except (KeyError, TypeError, ValueError) as error:
            raise TrackerError(f"{self.address}: an answer that is none ({error!r})") from error
        if len(found) != len(images):
            raise TrackerError(f"{self.address}: answered {len(found)} of {len(images)} images")
        return found

    def _ask(self, question: dict[str, Any]) -> list[Any]:
        body = json.dumps(question, separators=(",", ":")).encode()
        try:
            request = urllib.request.Request(  # noqa: S310
                self.address, data=body, headers={"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - http and https only
                text = answer.read(MAX_ANSWER)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(2_000).decode("utf-8", "replace").splitlines()
            raise _Refused(
                f"{self.address}: refused with {error.code}: {printable(said[0])[:200] if said else ''}"
            ) from error
        except urllib.error.URLError as error:
            raise TrackerError(f"{self.address}: does not answer: {error.reason}", "is the server up?") from error
        except (OSError, http.client.HTTPException) as error:
            raise TrackerError(f"{self.address}: does not answer: {error!r}", "is the server up?") from error
        except ValueError as error:
            raise UsageError(f"{self.address!a}: is no address", "accepted: http://HOST:PORT") from error
        try:
            found = parse_json(text)["predictions"]
        except (ValueError, KeyError, TypeError) as error:
            raise TrackerError(f"{self.address}: does not answer as `mlflow models serve` does") from error
        if not isinstance(found, list):
            raise TrackerError(f"{self.address}: does not answer as `mlflow models serve` does")
        return found


class _Refused(TrackerError):
    """The server answered, with an error."""
