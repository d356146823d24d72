# SPDX-License-Identifier: Apache-2.0
"""Stand-in of the hub on this machine, for the hub's real client."""

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = '0123456789' * 4


class Hub(ThreadingHTTPServer):
    """Serves files; can stop in the middle of one, refuse, or redirect.

    Attributes:
        files: Bytes by repository and name; the repository of a space is
            ``'spaces/ORG/NAME'``.
        requests: Method, repository, name and range of all requests.
        tokens: Hosts and authorisations of all requests with a body.
        etags: Tags by repository, instead of the hash of the file.
        refused: Status by repository, instead of the file.
        redirected: Repositories whose files come from another address.
        stop_after: Bytes after which the answer hangs; None: never.
        cuts: Bytes after which the next answers are cut off.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[tuple[str, str], bytes]) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.files = dict(files)
        self.requests: list[tuple] = []
        self.tokens: list[tuple] = []
        self.etags: dict[str, str] = {}
        self.refused: dict[str, int] = {}
        self.redirected: set[str] = set()
        self.stop_after: int | None = None
        self.stopped = threading.Event()
        self.cuts: list[int] = []
        self.url = f'http://127.0.0.1:{self.server_port}'
        self.other_url = f'http://localhost:{self.server_port}/cdn'


@contextmanager
def serve(files: Mapping[tuple[str, str], bytes]) -> Iterator[Hub]:
    """Run a stand-in that serves some files."""
    server = Hub(files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def log_message(self, *args):
        pass

    def _answer(self, with_body):
        bounds = self.headers.get('Range')
        repo, _, rest = self.path.strip('/').partition('/resolve/')
        name = rest.partition('/')[2]
        moved = repo.startswith('cdn/')
        repo = repo.removeprefix('cdn/')
        if rest and not moved:
            self.server.requests.append((self.command, repo, name, bounds))
        host, token = self.headers['Host'], self.headers.get('Authorization')
        self.server.tokens.append((host.partition(':')[0], token))
        body = self.server.files.get((repo, name))
        if repo in self.server.refused or body is None:
            repos = {key[0] for key in self.server.files}
            code = 'EntryNotFound' if repo in repos else 'RepoNotFound'
            status = self.server.refused.get(repo, 404)
            code = {401: 'RepoNotFound', 403: 'GatedRepo'}.get(status, code)
            self._end(status, {'X-Error-Code': code})
            return
        etag = self.server.etags.get(repo, hashlib.sha256(body).hexdigest())
        if repo in self.server.redirected and not moved:
            self._end(
                302,
                {
                    'Location': f'{self.server.other_url}{self.path}',
                    'X-Linked-Etag': f'"{etag}"',
                    'X-Linked-Size': str(len(body)),
                },
            )
            return
        self._send(body, etag, bounds, with_body)

    def _send(self, body, etag, bounds, with_body):
        start, size = 0, len(body)
        if bounds:
            start = int(bounds.removeprefix('bytes=').partition('-')[0])
            self.send_response(206)
            self.send_header(
                'Content-Range', f'bytes {start}-{size - 1}/{size}'
            )
        else:
            self.send_response(200)
        self.send_header('ETag', f'"{etag}"')
        self.send_header('X-Repo-Commit', COMMIT)
        self.send_header('Accept-Ranges', 'bytes')
        self.send_header('Content-Length', str(size - start))
        self.end_headers()
        if not with_body:
            return
        stop = self.server.stop_after
        if self.server.cuts:
            self.wfile.write(body[start : start + self.server.cuts.pop(0)])
            self.close_connection = True
            return
        self.wfile.write(body[start:stop])
        self.wfile.flush()
        if stop:
            self.server.stopped.set()
            time.sleep(30)

    def _end(self, status, headers):
        """Answer without a body."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header('X-Repo-Commit', COMMIT)
        self.send_header('Content-Length', '0')
        self.end_headers()
