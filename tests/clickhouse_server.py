"""ClickHouse for tests: the real engine behind its HTTP interface (`clickhouse/serve.py`), in an environment of its own."""

import atexit
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import s3
from harness import TESTS, binary, environment

SERVE = TESTS / "clickhouse" / "serve.py"
START_TIMEOUT_SECONDS = 60


class ClickHouse:
    """One server over `folder`, on a free port; `options` are those of `serve.py`."""

    def __init__(self, folder, *options):
        self.folder, self.options = folder, options
        self._process = None
        self.address = None

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        python = environment(TESTS / "clickhouse" / "chdb.txt") / "bin" / "python"
        (port,) = s3.free_ports(1)
        self.address = f"127.0.0.1:{port}"
        with (self.folder / "serve.log").open("ab") as log:
            command = [python, SERVE, "--port", str(port), "--path", self.folder / "data", *self.options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        atexit.register(self._process.kill)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            assert self._process.poll() is None, f"the engine ended: {(self.folder / 'serve.log').read_text()[-4000:]}"
            try:
                self._get("/ping")
                return self
            except OSError as error:
                assert time.monotonic() < deadline, f"no answer within {START_TIMEOUT_SECONDS} s: {error}"
                time.sleep(0.05)

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def _get(self, path):
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=30) as response:
            return response.read()

    def fault(self, mode, count, of=""):
        """Lets the next `count` requests meet `mode`: `503`, `hang`, `drop`, `apply_then_drop`, or `hold` for statements that begin with `of`."""
        self._get(f"/__fault?{urllib.parse.urlencode({'mode': mode, 'count': count, 'of': of})}")

    def requests(self):
        """The last statements that arrived, oldest first: `nth`, `query_id`, `query`, `settings`."""
        return json.loads(self._get("/__requests"))

    def rows(self, query):
        """Rows of `query` as dictionaries."""
        answer = self._ask("/?default_format=JSONEachRow&output_format_json_quote_64bit_integers=0", query)
        return [json.loads(line) for line in answer.splitlines()]

    def execute(self, statement):
        """Runs `statement`."""
        self._ask("/", statement)

    def _ask(self, path, statement):
        try:
            request = urllib.request.Request(f"http://{self.address}{path}", data=statement.encode())
            return urllib.request.urlopen(request, timeout=60).read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{statement}: {error.read().decode()}") from error


def config(address, database, storage="", clickhouse=""):
    """The configuration of a server whose rows are in `database`, reached at `address`."""
    return f"""
[storage]
{storage}
[storage.clickhouse]
url = "http://{address}"
database = "{database}"
allow_http = true
{clickhouse}
"""


def migrate(server):
    """Runs `assay migrate` with the configuration of `server`; returns the finished process."""
    return subprocess.run([binary(), "migrate", "--config", server.config_path], capture_output=True, text=True, timeout=120)


def migrated(server):
    """`server`, not started, after a successful `assay migrate`."""
    done = migrate(server)
    assert done.returncode == 0, done.stderr
    return server
