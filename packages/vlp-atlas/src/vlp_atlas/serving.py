"""Serves one page to this machine (ours)."""

import http.server
import sys
from typing import Any

from nonet.errors import UserError

HOST = "127.0.0.1"  # nobody else reaches it
TRIED = 100  # ports after the one that was asked for


def server(page: str, port: int) -> http.server.ThreadingHTTPServer:
    """A server of the page on the first free port from `port` on; it does not run yet.

    Raises:
        UserError: no port is free, or the number is none.
    """
    if not 0 <= port < 65536:
        raise UserError(f"--port {port}: a port is a number from 0 (any free one) to 65535")
    body = page.encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        """Gives the page for / and nothing else."""

        def do_GET(self) -> None:
            """Send the page."""
            self._send(with_body=True)

        def do_HEAD(self) -> None:
            """Send the head alone."""
            self._send(with_body=False)

        def _send(self, *, with_body: bool) -> None:
            found = self.path.partition("?")[0] in ("/", "/index.html")
            answer = body if found else b"not here: the page is /\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", f"text/{'html' if found else 'plain'}; charset=utf-8")
            self.send_header("Content-Length", str(len(answer)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if with_body:
                self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    class Server(http.server.ThreadingHTTPServer):
        allow_reuse_address = sys.platform != "win32"  # there it would share a port that is in use
        daemon_threads = True

    for number in range(port, min(port + TRIED, 65536)):
        try:
            return Server((HOST, number), Handler)
        except PermissionError:
            raise UserError(f"--port {number}: not allowed; take one from 1024 on") from None
        except OSError:
            continue
    raise UserError(f"--port {port}: this and the next {TRIED - 1} are taken")


def serve(page: str, *, port: int, open_browser: bool = False) -> int:
    """Serve until Ctrl-C, which is the ordinary end."""
    with server(page, port) as serving:
        bound = serving.server_address[1]
        address = f"http://{HOST}:{bound}/"
        if port and bound != port:
            print(f"port {port} is taken", file=sys.stderr)
        print(f"{address} (Ctrl-C ends it)", flush=True)
        if open_browser:
            import webbrowser

            if not webbrowser.open(address):
                print("no browser here; open the address yourself", file=sys.stderr)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
