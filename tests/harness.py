"""Starts the real `assay` binary on free ports with a data folder of its own, talks to it, and ends it gently or by force."""

import atexit
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

import grpc

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
CAPTURES = TESTS / "captures"
CACHE = Path(os.environ.get("ASSAY_CACHE") or Path.home() / ".cache" / "assay")
START_TIMEOUT_SECONDS = 60


class Refused(Exception):
    """The server answered with an error status; `body` is what it said."""

    def __init__(self, status, headers, body):
        super().__init__(f"status {status}: {body[:2000].decode(errors='replace')}")
        self.status, self.headers, self.body = status, headers, body

    def problem(self):
        """The body as RFC 9457 problem details."""
        return json.loads(self.body)


class Server:
    """One server process over `data_dir`, all of it or the `part` `collector` or `query`. As a context manager it runs for the block; it may be
    started again afterwards, with `keep_addresses` where it was before."""

    def __init__(self, data_dir, config="", executable=None, keep_addresses=False, environment=None, part="serve"):
        self.data_dir = Path(data_dir)
        self.part = part
        self.environment = environment or {}
        self.executable = executable or binary()
        self.process = None
        self.keep_addresses = keep_addresses
        self.addresses = {}
        self._channel = None
        self.log_path = self.data_dir.with_name(self.data_dir.name + ".log")
        self._ready_path = self.data_dir.with_name(self.data_dir.name + ".ready.json")
        self.config_path = self.data_dir.with_name(self.data_dir.name + ".toml")
        self.configure(config)

    def configure(self, config):
        """Sets the configuration file (TOML) that the next start reads."""
        self.config_path.write_text(config)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Starts the process and returns when it is ready."""
        self._ready_path.unlink(missing_ok=True)
        command = [self.executable, self.part, "--config", self.config_path, "--data-dir", self.data_dir]
        for name in ("http",) if self.part == "query" else ("http", "otlp_grpc", "otlp_http"):
            known = self.addresses.get(name) if self.keep_addresses else None
            command += [f"--{name.replace('_', '-')}", known or "127.0.0.1:0"]
        command += ["--log-format", "json", "--ready-file", self._ready_path]
        ours = ("ASSAY_", "OTEL_", "AWS_", "AZURE_", "GOOGLE_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)} | self.environment
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        # Whatever a failing test forgets, no server outlives the tests.
        atexit.register(self.process.kill)
        self._wait_until_ready()
        return self

    def _wait_until_ready(self):
        """A ready file appears once listeners are bound and the WAL is replayed. Polling it is the interface, not a guess."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._ready_path.exists():
            if self.process.poll() is not None:
                raise AssertionError(f"assay ended with status {self.process.returncode}:\n{self.log()[-4000:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"assay was not ready within {START_TIMEOUT_SECONDS} s:\n{self.log()[-4000:]}")
            time.sleep(0.01)
        self.addresses = json.loads(self._ready_path.read_text())
        self.get("/readyz")

    def stop(self):
        """Asks the process to end (SIGTERM) and checks that it did so of its own will."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        assert status == 0, f"assay ended with status {status} after SIGTERM:\n{self.log()[-4000:]}"

    def kill(self):
        """kill -9: nothing of the process gets to run again."""
        self.process.kill()
        self.process.wait()

    def log(self):
        """Everything the server wrote to its log."""
        return self.log_path.read_text(errors="replace")

    @property
    def url(self):
        """Base URL of UI, API and OTLP/HTTP."""
        return f"http://{self.addresses['http']}"

    def request(self, method, path, body=None, headers=None, timeout=60):
        """One HTTP request; returns (headers, body). Raises `Refused` unless the status is 2xx."""
        request = urllib.request.Request(self.url + path, data=body, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return response.headers, response.read()
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.headers, error.read()) from None

    def get(self, path, project="default"):
        """GET; JSON is parsed, other text is returned as text."""
        headers, body = self.request("GET", path, headers={"x-assay-project": project})
        return json.loads(body) if "json" in headers["content-type"] else body.decode()

    def send(self, signal_name, body, content_type="application/x-protobuf", encoding=None, project="default", path=None):
        """One OTLP/HTTP export request, as bytes. Returns when the server acknowledged."""
        headers = {"content-type": content_type, "x-assay-project": project}
        if encoding:
            headers["content-encoding"] = encoding
        return self.request("POST", path or f"/v1/{signal_name}", body, headers)

    def send_grpc(self, signal_name, body, project="default", compression=None):
        """One OTLP/gRPC export call, as bytes, on a connection kept open. Raises `grpc.RpcError` if it is refused."""
        address = self.addresses["otlp_grpc"]
        if self._channel is None or self._channel[0] != address:
            self._channel = (address, grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]))
        service = {"traces": "Trace", "logs": "Logs", "metrics": "Metrics"}[signal_name]
        path = f"/opentelemetry.proto.collector.{'trace' if service == 'Trace' else signal_name}.v1.{service}Service/Export"
        call = self._channel[1].unary_unary(path)
        return call(body, timeout=60, metadata=[("x-assay-project", project)], compression=compression)

    def metric(self, name):
        """The value of a metric without labels."""
        [value] = [line.split()[1] for line in self.get("/metrics").splitlines() if line.startswith(f"{name} ")]
        return float(value)

    def sql(self, query, project="default", **options):
        """Rows of `query` as dictionaries, in the order of the columns."""
        body = json.dumps({"query": query, **options}).encode()
        headers = {"content-type": "application/json", "accept": "application/json", "x-assay-project": project}
        answer = json.loads(self.request("POST", "/api/v1/sql", body, headers)[1])
        names = [column["name"] for column in answer["columns"]]
        return [dict(zip(names, row)) for row in answer["rows"]]

    def cli(self, *arguments, check=True):
        """Runs `assay ARGUMENTS --url …` and returns the finished process, with its output as bytes."""
        command = [self.executable, *arguments, "--url", self.url]
        done = subprocess.run(command, capture_output=True, timeout=120)
        if check:
            assert done.returncode == 0, f"{command} ended with status {done.returncode}: {done.stderr.decode()}"
        return done


def binary():
    """The binary under test: `$ASSAY_BINARY`, else the debug build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
    path = Path(os.environ.get("ASSAY_BINARY") or target / "debug" / "assay")
    if not path.is_file():
        raise SystemExit(f"found no binary at `{path}`: expected a build (`make test` builds it, `ASSAY_BINARY` names another one)")
    return path


def environment(requirements):
    """The folder of a virtual environment that holds exactly `requirements`; made once, then taken from the cache."""
    key = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()[:16]
    folder = CACHE / "python" / f"{requirements.stem}-{key}"
    complete = folder / "complete"
    if not complete.exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "--requirement", requirements], check=True)
        complete.touch()
    return folder


def node_environment(source):
    """A folder with the application in `source` and the packages that its lock file names; made once, then taken from the cache."""
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(source.iterdir()) if path.is_file())).hexdigest()[:16]
    folder = CACHE / "node" / f"{source.name}-{key}"
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("node_modules"))
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True)
        complete.touch()
    return folder
