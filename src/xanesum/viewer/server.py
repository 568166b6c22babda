"""The explorer served to the browser of this computer, with what only the program and the scan can tell."""

from __future__ import annotations

import getpass
import hmac
import json
import re
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import xarray as xr

from xanesum.errors import RecipeError, XanesumError
from xanesum.io import read_stack
from xanesum.preprocess import prepare
from xanesum.result import Denoised, load_result
from xanesum.viewer.content import Curve, content_of, map_of
from xanesum.viewer.exact import DRAWS, Explored
from xanesum.viewer.page import page_of
from xanesum.viewer.plots import require_toolkit
from xanesum.xanes.maps import chemical_map

__all__ = ["Viewer", "view"]

ADDRESS = "127.0.0.1"  # never another: the page is for this computer, or for the end of a tunnel
OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")
LONGEST_BODY = 1_000_000  # bytes of a question
MOST_CORNERS = 20_000  # of a polygon
WHOLE = re.compile(r"\d{1,9}")
LIMITS = {"least_step": -np.inf, "most_error": np.inf}  # of the mask
DRIFT_NOTE = "Measured frames and residuals still hold the drift of the light that the result does without."


class Viewer:
    """A page that is served until it is closed."""

    def __init__(self, explored: Explored, page: str, port: int) -> None:
        """Serve a page at a port, 0 for a free one; see `view`."""
        self._token = secrets.token_urlsafe(24)
        handler = partial(_Handler, explored, page.encode("utf-8", "backslashreplace"), self._token)
        try:
            self._server = _Server((ADDRESS, port), handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no port"
            raise RecipeError(
                f"port {port} cannot be used ({reason}); another viewer may use it: give another port, "
                "or none for a free one",
                parameter="port",
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port at which the page is served."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address of the page.  Who knows it can read the result."""
        return f"http://{ADDRESS}:{self.port}/{self._token}/"

    @property
    def tunnel(self) -> str:
        """The command by which another computer reaches the page."""
        return f"ssh -N -L {self.port}:{ADDRESS}:{self.port} {_user()}@{socket.gethostname()}"

    def wait(self) -> None:
        """Wait until the viewer is closed, or interrupted by Ctrl-C."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Viewer:
        """Return the viewer."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self.close()

    def __repr__(self) -> str:
        """Return the address."""
        return f"<xanesum Viewer: {self.url}>"

    def _repr_html_(self) -> str:
        """Return the page within a notebook."""
        return f'<iframe src="{self.url}" width="100%" height="900" style="border: 0"></iframe>'


def view(
    result: Denoised | str | Path,
    raw: xr.DataArray | str | Path | None = None,
    *,
    mapped: Callable[[Any], xr.Dataset] = chemical_map,
    title: str = "",
    references: Mapping[str, Curve] | None = None,
    port: int = 0,
) -> Viewer:
    """Serve a page in which a result is explored, to browsers of this computer.

    Parameters
    ----------
    result : Denoised, str or Path
        A result, or the file of one.
    raw : DataArray (energy, y, x), str or Path, optional
        The scan that was denoised, for measured frames and spectra.  Frames are read when they are asked for.
        A file is read and prepared as `xanesum.denoise` gets it.
    mapped : callable
        From the result to its Dataset of maps.
    title : str
        Heading of the page.
    references : mapping, optional
        Name to a spectrum that is drawn with those of the result.
    port : int
        0 for a free one.

    Returns
    -------
    Viewer
        It has the address as ``url``, and serves until ``close()``.

    Raises
    ------
    MissingExtraError
        If the plotting toolkit is missing: ``pip install "xanesum[viewer]"``.
    ReadError
        If a file cannot be read.
    StackError
        If the scan has another size than the result.
    RecipeError
        If the port cannot be used.
    """
    require_toolkit()
    if not isinstance(result, Denoised):
        title, result = title or Path(result).name, load_result(result)
    if isinstance(raw, str | Path):
        raw = prepare(read_stack(raw))[0]
    maps, problem = map_of(result, mapped)
    explored = Explored(result, maps, raw, mapped)
    content = content_of(result, maps, title=title or "xanesum", map_problem=problem, references=references)
    notes = [f"The error of a mean state comes from {DRAWS} draws, so that it is itself known to 13 %."]
    if raw is not None and bool(result.sigma_drift.values.any()):
        notes.append(DRIFT_NOTE)
    served = {"raw": raw is not None, "notes": notes}
    return Viewer(explored, page_of(content, served=served), port)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        return "USER"


class _Server(ThreadingHTTPServer):
    """A server whose browsers may go away at any time."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    """A question that gets no answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class _Handler(BaseHTTPRequestHandler):
    """Answers to one browser."""

    protocol_version = "HTTP/1.1"
    server_version = "xanesum"
    sys_version = ""
    timeout = 60

    def __init__(self, explored: Explored, page: bytes, token: str, *of_connection: Any) -> None:
        self.explored, self.page, self.token = explored, page, token
        super().__init__(*of_connection)

    def do_GET(self) -> None:
        """Answer a question that has all in its address."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answer a question that has a polygon."""
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def _answer(self, answer: Callable[[str, str], Any]) -> None:
        try:
            name, query = self._asked()
            found = answer(name, query)
        except _Refused as refused:
            self._send_json({"error": refused.text}, refused.status)
        except XanesumError as error:
            self._send_json({"error": error.message}, 400)
        else:
            if isinstance(found, bytes):
                self._send(found, "text/html; charset=utf-8", 200)
            else:
                self._send_json(found, 200)

    def _asked(self) -> tuple[str, str]:
        """Return what is asked for and the query; refuse other sites, and who does not know the token."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if not OWN_HOST.fullmatch(host) or (origin is not None and origin != f"http://{host}"):
            self.close_connection = True
            raise _Refused(403, "this page is for browsers of this computer")
        address = urlsplit(self.path)
        token, _, name = address.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            self.close_connection = True
            raise _Refused(403, "the address is not that of this viewer; use the one that it printed")
        return name, address.query

    def _get(self, name: str, query: str) -> Any:
        if not name:
            return self.page
        given = parse_qs(query)
        if name == "frame":
            return self.explored.frame(given.get("kind", [""])[0], _whole(given, "energy"))
        if name == "spectrum":
            return self.explored.spectrum(_whole(given, "y"), _whole(given, "x"))
        if name == "measured":
            return self.explored.measured(_whole(given, "y"), _whole(given, "x"))
        raise _Refused(404, "there is no such page")

    def _post(self, name: str, _: str) -> Any:
        if name not in ("region", "state"):
            raise _Refused(404, "there is no such page")
        body = self._body()
        corners = _corners(body.get("corners"))
        if name == "region":
            return self.explored.region(corners)
        limits = [_limit(body.get(key), default) for key, default in LIMITS.items()]
        return self.explored.state(corners, *limits)

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not WHOLE.fullmatch(length) or int(length) > LONGEST_BODY:
            self.close_connection = True
            raise _Refused(400, "the question is too long, or does not say how long it is")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise _Refused(400, "the question is no JSON") from error
        if not isinstance(body, dict):
            raise _Refused(400, "the question has another form")
        return body

    def _send_json(self, content: Any, status: int) -> None:
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        self._send(text.encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: int) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _whole(given: dict[str, list[str]], name: str) -> int:
    """Return a whole number of a query."""
    value = given.get(name, [""])[0]
    if not WHOLE.fullmatch(value):
        raise _Refused(400, f"{name} must be a whole number from 0 on")
    return int(value)


def _limit(value: Any, default: float) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused(400, "limits must be numbers")
    return float(value)


def _corners(given: Any) -> list[list[float]]:
    """Return the corners [y, x] of a polygon."""
    try:
        corners = np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _Refused(400, "corners must be pairs of numbers") from error
    if corners.ndim != 2 or corners.shape[1] != 2 or not 3 <= len(corners) <= MOST_CORNERS:
        raise _Refused(400, f"a polygon has 3 to {MOST_CORNERS} corners [y, x]")
    if not np.isfinite(corners).all():
        raise _Refused(400, "corners must be finite numbers")
    found: list[list[float]] = corners.tolist()
    return found
