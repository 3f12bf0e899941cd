"""Saved items and notes in Postgres: nodes share them, telemetry never waits for them, and they come back by themselves.

What both stores must do alike is in test_accounts.py. The server is a real PostgreSQL, which is stopped, killed, halted and asked beside Assay.
"""

import json
import sqlite3
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import s3
import telemetry as otlp
import trustme
from harness import Refused, Server
from postgres import PASSWORD, Door

TRACE = "0123456789abcdef0123456789abcdef"
QUICK = 'flush_interval = "300ms"\nfollow_interval = "300ms"\n'
VIEW = {"kind": "view", "name": "errors", "body": {"q": "has:error"}}
# What version 1 of the tables was, and rows in them. It stays as it is when later versions are added: they must take it up.
VERSION_1 = """
CREATE TABLE saved (id TEXT NOT NULL PRIMARY KEY, project_id TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('view', 'query')), name TEXT NOT NULL,
    body TEXT NOT NULL, is_default BOOLEAN NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);
CREATE UNIQUE INDEX saved_name ON saved (project_id, kind, name);
CREATE UNIQUE INDEX saved_default ON saved (project_id, kind) WHERE is_default;
CREATE TABLE notes (id TEXT NOT NULL PRIMARY KEY, project_id TEXT NOT NULL, trace_id TEXT NOT NULL, span_id TEXT, text TEXT NOT NULL,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL);
CREATE INDEX notes_trace ON notes (project_id, trace_id, created_at);
INSERT INTO saved VALUES ('019aa6b4-0000-7000-8000-000000000001', 'default', 'view', 'errors', '{"q":"has:error"}', TRUE, 1760000000000000, 1760000000000001);
INSERT INTO notes VALUES ('019aa6b4-0000-7000-8000-000000000002', 'default', '0123456789abcdef0123456789abcdef', NULL, 'why?', 1760000000000000, 1760000000000000);
"""


def _call(server, method, path, body=None):
    answer = server.request(method, path, None if body is None else json.dumps(body).encode(), {"content-type": "application/json"})[1]
    return json.loads(answer) if answer else None


def _outcome(server, method, path, body=None):
    """The status of the answer, and what is in it; 200 stands for any that is good."""
    try:
        return 200, _call(server, method, path, body)
    except Refused as refused:
        return refused.status, refused.problem()


def _away(server, path="/api/v1/saved"):
    """What is said while Postgres is away; None if it is not."""
    try:
        server.get(path)
    except Refused as refused:
        assert refused.status == 503 and refused.headers["retry-after"] == "1", refused
        return refused.problem()["detail"]
    return None


def _until(holds, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} was not seen within {seconds} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def _nodes(postgres, tmp_path_factory):
    """A collector and two query nodes over a bucket; what people make on the query nodes is in one database."""
    folder = tmp_path_factory.mktemp("nodes")
    database = postgres.database()
    with s3.SeaweedFS(folder / "weed") as service, ExitStack() as stack:

        def node(name, part, accounts):
            config = s3.config(service.address, "accounts", QUICK) + accounts
            return stack.enter_context(Server(folder / name, config, environment=s3.credentials(), part=part, keep_addresses=True))

        # The file that all nodes share may say what a collector has no use for.
        nowhere = '\n[accounts]\nurl = "postgres://assay@localhost:1/nowhere"\npassword_file = "/nowhere"\n'
        collector = node("collector", "collector", nowhere)
        # Both find an empty database.
        with ThreadPoolExecutor() as threads:
            readers = list(threads.map(lambda name: node(name, "query", postgres.config(database)), ("query-0", "query-1")))
        assert postgres.sql(database, "SELECT version FROM assay_schema").split() == ["1"]
        yield collector, readers


def _send(server, seed):
    """Five spans."""
    rng = otlp.seeded(seed)
    server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())


def _count(server):
    return server.sql("SELECT count(*) AS n FROM spans")[0]["n"]


def what_is_made_on_one_query_node_is_there_on_the_other(_nodes):
    _, (one, other) = _nodes
    view = _call(one, "POST", "/api/v1/saved", {**VIEW, "name": "shared", "is_default": True})
    note = _call(other, "POST", "/api/v1/notes", {"trace_id": TRACE, "text": "seen by both"})
    for server in (one, other):
        assert view in server.get("/api/v1/saved")["items"]
        assert note in server.get(f"/api/v1/notes?trace_id={TRACE}")["notes"]
    changed = _call(other, "PUT", f"/api/v1/saved/{view['id']}", {"name": "renamed", "updated_at": view["updated_at"]})
    assert changed in one.get("/api/v1/saved")["items"]
    status, problem = _outcome(one, "PUT", f"/api/v1/saved/{view['id']}", {"name": "late", "updated_at": view["updated_at"]})
    assert status == 409 and changed["updated_at"] in problem["detail"]
    _call(one, "DELETE", f"/api/v1/saved/{view['id']}")
    assert other.get("/api/v1/saved")["items"] == []


def of_those_who_race_on_two_nodes_one_wins(_nodes):
    _, readers = _nodes
    view = _call(readers[0], "POST", "/api/v1/saved", {**VIEW, "name": "race"})
    with ThreadPoolExecutor(8) as threads:

        def race(method, path, body):
            return list(threads.map(lambda n: _outcome(readers[n % 2], method, path, body(n)), range(8)))

        for turn in range(5):
            path = f"/api/v1/saved/{view['id']}"
            changes = race("PUT", path, lambda n: {"body": {"q": f"{turn}-{n}"}, "updated_at": view["updated_at"]})
            assert sorted(status for status, _ in changes) == [200] + 7 * [409]
            [view] = [item for status, item in changes if status == 200]
            assert view in readers[turn % 2].get("/api/v1/saved?kind=view")["items"]
            made = race("POST", "/api/v1/saved", lambda n: {**VIEW, "name": f"made {turn}", "body": {"q": f"{n}"}})
            assert sorted(status for status, _ in made) == [200] + 7 * [409]
            # Each asks to be the default, and says which one it is: all are kept, and one is it.
            race("POST", "/api/v1/saved", lambda n: {**VIEW, "name": f"default {turn} {n}", "is_default": True})
            items = readers[0].get("/api/v1/saved?kind=view")["items"]
            assert len([item for item in items if item["name"].startswith(f"default {turn} ")]) == 8
            assert len([item for item in items if item["is_default"]]) == 1
        assert len({status for status, _ in race("DELETE", path, lambda n: None)}) == 2
        assert readers[0].get("/api/v1/saved") == readers[1].get("/api/v1/saved")


def limits_hold_across_nodes(_nodes):
    _, readers = _nodes
    trace = "f" * 32
    with ThreadPoolExecutor(8) as threads:
        add = lambda n: _outcome(readers[n % 2], "POST", "/api/v1/notes", {"trace_id": trace, "text": f"{n}"})[0]  # noqa: E731
        statuses = list(threads.map(add, range(510)))
    assert (statuses.count(200), statuses.count(409)) == (500, 10)


@pytest.mark.parametrize("end", ["stop", "crash"])
def while_postgres_is_away_rows_come_in_and_are_asked_for(postgres, _nodes, end):
    collector, readers = _nodes
    seen = {node: _count(node) for node in readers}
    kept = _call(readers[0], "POST", "/api/v1/saved", {**VIEW, "name": f"before {end}"})
    with postgres.away(end):
        for node in readers:
            reason = _away(node)
            assert "the relational store cannot be used now: " in reason and PASSWORD not in reason
            assert "could not connect to `localhost:" in _away(node, f"/api/v1/notes?trace_id={TRACE}")
            assert _outcome(node, "POST", "/api/v1/saved", VIEW)[0] == 503
            assert node.metric("assay_accounts_available") == 0 and node.metric("assay_accounts_failures_total") >= 3
            node.get("/readyz")
        _send(collector, 51 if end == "stop" else 52)
        for node in readers:
            _until(lambda: _count(node) == seen[node] + 5, "what came in meanwhile")
        # A node that starts now is ready, and answers the same.
        readers[1].kill()
        readers[1].start()
        assert _away(readers[1]) and _count(readers[1]) == seen[readers[1]] + 5
    for node in readers:
        _until(lambda: node.metric("assay_accounts_available") == 1, "Postgres, without being asked for")
        assert kept in node.get("/api/v1/saved")["items"]
    assert "assay_accounts" not in collector.get("/metrics") and "relational" not in collector.log()


def a_restart_between_two_requests_is_not_noticed(postgres, tmp_path):
    with Server(tmp_path / "data", postgres.config(postgres.database())) as server:
        for end in ("stop", "crash"):
            made = _call(server, "POST", "/api/v1/saved", {**VIEW, "name": end})
            with postgres.away(end):
                pass
            # The connections it had are gone; new ones are made for the request.
            assert made in server.get("/api/v1/saved")["items"]
        assert "the relational store is away" not in server.log()


def a_server_that_does_not_answer_is_given_up_soon(postgres, _nodes):
    _, (node, _) = _nodes
    node.get("/api/v1/saved")
    with postgres.halted():
        started = time.monotonic()
        assert "did not answer within" in _away(node)
        assert time.monotonic() - started < 10
        # From now on the answer is known, and nobody waits for it.
        started = time.monotonic()
        assert all(_away(node) for _ in range(5)) and time.monotonic() - started < 2
        assert _count(node) > 0
    _until(lambda: _away(node) is None, "Postgres")


def a_lock_that_is_held_is_waited_for_briefly(postgres, tmp_path):
    database = postgres.database()
    with Server(tmp_path / "data", postgres.config(database)) as server, ExitStack() as stack:
        view = _call(server, "POST", "/api/v1/saved", VIEW)
        locked = "BEGIN; LOCK TABLE saved IN EXCLUSIVE MODE; SELECT pg_sleep(60)"
        holder = stack.enter_context(ThreadPoolExecutor(1)).submit(postgres.sql, database, locked)
        _until(lambda: "t" in postgres.sql(database, "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'saved'::regclass)"), "the lock")
        status, problem = _outcome(server, "PUT", f"/api/v1/saved/{view['id']}", {"name": "waits"})
        assert status == 503 and "lock timeout" in problem["detail"]
        # Who reads does not wait, and the store is not taken for away.
        assert server.get("/api/v1/saved")["items"] == [view] and server.metric("assay_accounts_available") == 1
        postgres.sql(database, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'saved'::regclass")
        assert "terminating connection" in str(holder.exception(timeout=30))
        assert _call(server, "PUT", f"/api/v1/saved/{view['id']}", {"name": "waited"})["name"] == "waited"


def a_node_has_so_many_connections_and_no_more(postgres, tmp_path):
    database = postgres.database()
    with Server(tmp_path / "data", postgres.config(database) + "connections_max = 2\n") as server, ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(_call, server, "POST", "/api/v1/notes", {"trace_id": TRACE, "text": f"{n}"}) for n in range(100)]
        most = 0
        while not all(one.done() for one in asked):
            most = max(most, int(postgres.sql(database, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'assay' AND datname = current_database()")))
        assert all(one.result()["id"] for one in asked) and 1 <= most <= 2


def a_server_starts_without_postgres_and_takes_rows(postgres, tmp_path):
    database = postgres.database()
    with postgres.away(), Server(tmp_path / "data", postgres.config(database)) as server:
        _send(server, 53)
        assert _count(server) == 5 and "Connection refused" in _away(server)
        postgres.start()
        _until(lambda: _away(server) is None, "Postgres")
        _call(server, "POST", "/api/v1/saved", VIEW)
        assert server.log().count("the relational store is away") == 1, "what lasts is said once"


def nodes_that_start_together_make_the_tables_once(postgres, tmp_path):
    database = postgres.database()
    with ExitStack() as stack, ThreadPoolExecutor() as threads:
        servers = [Server(tmp_path / f"data-{n}", postgres.config(database)) for n in range(4)]
        for server in threads.map(Server.start, servers):
            stack.callback(server.stop)
        assert all(_away(server) is None for server in servers)
    assert postgres.sql(database, "SELECT version FROM assay_schema").split() == ["1"]
    # Text is compared by bytes whatever the database does elsewhere.
    collations = "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_name IN ('saved', 'notes') AND data_type = 'text'"
    assert postgres.sql(database, collations).split() == ["C"]


@pytest.mark.parametrize("store", ["SQLite", "Postgres"])
def tables_of_before_are_taken_up(postgres, tmp_path, store):
    config = _with_version_1(postgres, tmp_path, store)
    with Server(tmp_path / "data", config) as server:
        [item] = server.get("/api/v1/saved")["items"]
        assert (item["name"], item["is_default"], item["updated_at"]) == ("errors", True, "2025-10-09T08:53:20.000001Z")
        assert [note["text"] for note in server.get(f"/api/v1/notes?trace_id={TRACE}")["notes"]] == ["why?"]
        assert _outcome(server, "POST", "/api/v1/saved", VIEW)[0] == 409
        changed = _call(server, "PUT", f"/api/v1/saved/{item['id']}", {"name": "failed", "updated_at": item["updated_at"]})
        assert server.get("/api/v1/saved")["items"] == [changed]


def _with_version_1(postgres, tmp_path, store):
    """The configuration of a server whose store is of version 1."""
    if store == "SQLite":
        (tmp_path / "data").mkdir()
        connection = sqlite3.connect(tmp_path / "data" / "assay.db")
        connection.executescript(VERSION_1 + "PRAGMA user_version = 1")
        connection.close()
        return ""
    database = postgres.database()
    tables = VERSION_1.replace(" TEXT", ' TEXT COLLATE "C"')
    postgres.sql(database, f"CREATE TABLE assay_schema (version BIGINT NOT NULL PRIMARY KEY); INSERT INTO assay_schema VALUES (1); {tables}")
    return postgres.config(database)


def tables_of_a_later_version_are_refused(postgres, tmp_path):
    database = postgres.database()
    server = Server(tmp_path / "data", postgres.config(database))
    with server:
        _call(server, "POST", "/api/v1/saved", VIEW)
    postgres.sql(database, "INSERT INTO assay_schema VALUES (9999)")
    with pytest.raises(AssertionError, match=rf"`localhost:\d+/{database}` is of version `9999`: expected at most `1`, a newer Assay wrote it"):
        server.start()


def what_is_wrong_with_postgres_is_said_and_mended_without_a_restart(postgres, tmp_path):
    database = postgres.database()
    password_file = tmp_path / "password"
    password_file.write_text("hunter2\n")
    config = postgres.config(database).replace(str(postgres.password_file), str(password_file))
    with Server(tmp_path / "data", config) as server:
        assert "password authentication failed for user \"assay\"" in _away(server)
        password_file.unlink()
        _until(lambda: f"could not read the password in `{password_file}`" in _away(server), "the file that is missing")
        # The next connection reads it again.
        password_file.write_text(f"{PASSWORD}\n")
        _until(lambda: _away(server) is None, "Postgres")
        assert "hunter2" not in server.log() and PASSWORD not in server.log()


def a_server_that_became_read_only_is_read_and_left_for_the_new_one(postgres, tmp_path):
    database = postgres.database()
    with Server(tmp_path / "data", postgres.config(database)) as server:
        view = _call(server, "POST", "/api/v1/saved", VIEW)
        leave = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'assay' AND datname = '{database}'"
        postgres.sql("postgres", f"ALTER DATABASE {database} SET default_transaction_read_only = on; {leave}")
        assert server.get("/api/v1/saved")["items"] == [view]
        status, problem = _outcome(server, "POST", "/api/v1/saved", {**VIEW, "name": "new"})
        assert status == 503 and "read-only transaction" in problem["detail"]
        # No connection to it is kept, so the one after a failover is another.
        postgres.sql("postgres", f"ALTER DATABASE {database} RESET default_transaction_read_only")
        assert _call(server, "POST", "/api/v1/saved", {**VIEW, "name": "new"})["name"] == "new"


def connections_are_encrypted_and_the_server_is_who_it_says(postgres, tmp_path):
    ours, others = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("localhost").configure_cert(context)
    for name, authority in (("ours", ours), ("others", others)):
        authority.cert_pem.write_to_path(tmp_path / f"{name}.pem")
    database = postgres.database()
    with Door(postgres.port, context) as door:
        for number, (more, host, refused) in enumerate([
            (f"sslrootcert={tmp_path}/ours.pem", "localhost", None),
            ("sslmode=require", "localhost", None),
            (f"sslrootcert={tmp_path}/others.pem", "localhost", "UnknownIssuer"),
            (f"sslrootcert={tmp_path}/ours.pem", "127.0.0.1", "not valid for name"),
        ]):
            config = postgres.config(database, port=door.port, more=more).replace("@localhost", f"@{host}")
            with Server(tmp_path / f"data-{number}", config) as server:
                reason = _away(server)
                assert reason is None if refused is None else refused in reason, f"{more}: {reason}"
    # Postgres itself takes no TLS here: without a word to the contrary nothing is sent to it.
    with Server(tmp_path / "plain", postgres.config(database, more="")) as server:
        assert "the connection is not encrypted as `sslmode` wants it: server does not support TLS" in _away(server)
