"""A node as `dujiang up` serves it, with or without its loops: `python -m bench.node HOME loops|no-loops`."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from dujiang.doors import http
from dujiang.doors.loops import Loops
from dujiang.doors.serve import Server
from dujiang.home import opened


def main() -> None:
    """Serves until told to end; the address is the first line it prints."""
    with opened(Path(sys.argv[1])) as home:
        listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        url = "http://{}:{}".format(*listening.getsockname())
        app = http.app(home)
        loops = Loops(home)
        if sys.argv[2] == "loops":
            loops.start()
        try:
            Server(app, url, lambda: print(url, flush=True)).run(sockets=[listening])
        finally:
            listening.close()
            loops.stop()
            app.state.desk.close()


if __name__ == "__main__":
    main()
