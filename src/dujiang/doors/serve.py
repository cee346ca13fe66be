"""A node as a process: its loops, its HTTP server, and an orderly end.

1. The socket is bound before anything is said, so that port 0 gives a free one and a taken one is refused.
2. SIGTERM and SIGINT end it: no new request, running ones are finished (who waits is told to come back),
   then the loops, where a running question has `stop_seconds_max`; the home is closed by the one who opened it.
3. A second signal ends it at once: what was acknowledged is durable, and a question is run at the next start.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import uvicorn

from dujiang.doors import data, http, journal, traces
from dujiang.doors.loops import Loops
from dujiang.doors.witnesses import Witnesses
from dujiang.home import Home
from dujiang.kernel.errors import Code, Exit, Refused, Unavailable

PORT_TAKEN = Code(
    "port_taken", 409, Exit.conflict,
    "This address and port cannot be listened on.", "Choose another with `--port`; 0 takes a free one.",
    "无法监听该地址和端口。", "请用 `--port` 另选端口；0 表示任选空闲端口。",
)  # fmt: skip
CODES = (PORT_TAKEN,)
_FINISH_S = 30
_IDLE_S = 75
_BACKLOG = 512
_CONNECTIONS_MAX = 4096
_HEAD_BYTES_MAX = 64 * 1024


def serve(
    home: Home,
    host: str = "127.0.0.1",
    port: int = 8000,
    ready: Callable[[str], None] | None = None,
    further: Mapping[str, Any] = MappingProxyType({}),
) -> bool:
    """Serves a home until it is told to end; `ready` is called with the address once it answers.

    Gives back whether nothing runs any more; a question that still does ends with the process.

    `further`: doors by path that stand above this one, see `http.app`.

    Raises: Refused port_taken; Unavailable otel_missing.
    """
    journal.configure()
    listening = _listen(host, port)
    url = _address(listening)
    try:
        untraced = traces.begin(home)
    except Unavailable:
        listening.close()
        raise
    data.sweep(home)
    app = http.app(home, further)
    loops, witnesses = Loops(home), Witnesses(home)
    server = Server(app, url, lambda: _begin(home, loops, witnesses, url, ready))
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
        witnesses.stop()
        quiet = loops.stop(0.0 if server.force_exit else home.node.config.stop_seconds_max)
        app.state.desk.close()
        untraced()
    return quiet


class Server(uvicorn.Server):
    """uvicorn (with uvloop and httptools where they exist) that says when it listens and ends in order."""

    def __init__(self, app: Any, url: str, begun: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_protocol(),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_IDLE_S,
                timeout_graceful_shutdown=_FINISH_S,
                backlog=_BACKLOG,
                limit_concurrency=_CONNECTIONS_MAX,
            )
        )
        self.url = url
        self._waits = app.state.desk.waits
        self._begun = begun

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, then says so."""
        await super().startup(sockets)
        self._begun()

    def end(self) -> None:
        """Begins the orderly end; may be called from any thread."""
        self.should_exit = True
        self._waits.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends in order at a signal and does not raise it again: the home is still to be closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._signalled) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _signalled(self, number: int, frame: object) -> None:
        del number, frame
        if self.should_exit:
            self.force_exit = True
        self.end()


def _protocol() -> Any:
    """The HTTP protocol of a connection, which ends one whose headers go on without end, as h11 does."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return "h11"

    class Bounded(HttpToolsProtocol):
        """What brings neither the end of headers nor a body is a header, or a trailer, and is kept in memory."""

        _got_on, _kept = False, 0

        def data_received(self, data: bytes) -> None:
            self._got_on = False
            super().data_received(data)
            self._kept = 0 if self._got_on else self._kept + len(data)
            if self._kept > _HEAD_BYTES_MAX and not self.transport.is_closing():
                self.transport.abort()

        def on_headers_complete(self) -> None:
            self._got_on = True
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._got_on = True
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._got_on = True
            super().on_message_complete()

    return Bounded


def _begin(
    home: Home, loops: Loops, witnesses: Witnesses, url: str, ready: Callable[[str], None] | None
) -> None:
    home.serving(url)
    loops.start()
    witnesses.start()
    threading.Thread(target=home.warm, name="warm", daemon=True).start()
    if ready is not None:
        ready(url)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, OverflowError):
        listening.close()
        raise Refused(PORT_TAKEN) from None
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
