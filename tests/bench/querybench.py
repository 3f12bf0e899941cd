"""Questions an LLM team asks, put to Assay by its SQL over HTTP and to DuckDB and the ClickHouse engine over the very same rows.

Five million flat calls over seven days, eight spans a trace, go into Assay through public OTLP. What its SQL then says is exported once and
loaded into a DuckDB database and a MergeTree table, so that all three hold the same rows and the same costs. Each question is asked of each
engine in turn, round after round, and the best round counts: the figure is the ratio to the better of the two others, which depends less
on what else the machine does than a time would. Answers are compared; without the peers (`chdb-core`, of `requirements.txt` beside this
file) only Assay is asked, and its time is the figure. `ASSAY_QUERYBENCH_LAKE=DIR` keeps what was loaded. `QUESTIONS` are those the project measures itself by; `OTHERS` are there so that these are not all it is good at.
"""

import dataclasses
import json
import math
import os
import statistics
import struct
import time
from pathlib import Path

import pyarrow as pa
import telemetry as otlp
from harness import Refused, Server
from measures import Figure, measures
from opentelemetry.proto.trace.v1.trace_pb2 import Status

try:
    import duckdb
    import pyarrow.parquet as pq
    from chdb import session as chdb_session
except ImportError:
    chdb_session = None

SPANS, SPANS_PER_TRACE, DAYS = 5_000_000, 8, 7
SPANS_PER_REQUEST = 1000
ROUNDS = 7
HOUR_US, DAY_US = 3600 * 10**6, 86_400 * 10**6
MARKER = "querybench.json"

SERVICES, NAMES = ["chat", "rag", "agent", "batch"], ["chat", "tool", "retrieve", "embed"]
MODELS = {
    "gpt-4o": "openai",
    "gpt-4o-mini": "openai",
    "claude-sonnet-4-20250514": "anthropic",
    "claude-3-5-haiku-20241022": "anthropic",
    "gemini-2.5-flash": "gcp.gemini",
    "gemini-2.5-pro": "gcp.gemini",
    "o3-mini": "openai",
    "gpt-4.1": "openai",
}
ERRORS, FAILING, USERS, SESSIONS = ["timeout", "rate_limit", "500"], 0.02, 20_000, 300_000
# Of fixed width, so that they can be overwritten in place; token counts are varints of two bytes, which protobuf allows for small ones too.
TRACE, SPAN, USER, SESSION, RESPONSE = b"\xf0TRACE-OF-SPANS\xf1", b"\xf0SPANID\xf1", "u@@@@@", "s######", "chatcmpl-!!!!!!!!!!!!!!!!"
START, END, TOKENS_IN, TOKENS_OUT = 0x1122334455667788, 0x2233445566778899, 9001, 9002

# Name of the column in the questions and in the tables of the peers; in Assay; in DuckDB; in ClickHouse.
COLUMNS = [
    ("trace_id", "trace_id", "VARCHAR", "String"),
    ("span_id", "span_id", "VARCHAR", "String"),
    ("service", "service_name", "VARCHAR", "LowCardinality(String)"),
    ("name", "name", "VARCHAR", "LowCardinality(String)"),
    ("model", "request_model", "VARCHAR", "LowCardinality(String)"),
    ("start_time", "start_time", "TIMESTAMP", "DateTime64(6, 'UTC')"),
    ("duration_ns", "duration_ns", "BIGINT", "Int64"),
    ("input_tokens", "input_tokens", "BIGINT", "Int64"),
    ("output_tokens", "output_tokens", "BIGINT", "Int64"),
    ("cost", "cost_usd", "DOUBLE", "Float64"),
    ("user_id", "user_id", "VARCHAR", "String"),
    ("session_id", "session_id", "VARCHAR", "String"),
    ("status", "status_code", "VARCHAR", "LowCardinality(String)"),
    ("error", "error_type", "VARCHAR", "Nullable(String)"),
    ("response_id", "response_id", "VARCHAR", "String"),
]
# What is one row of `*`: Assay's own tables have more columns than this one, so they are named.
ALL = "{all}"

# Name, question (`{…}` stands where dialects differ), and how far one answer may be from another.
EXACT, ROUGH = 1e-9, 0.15
QUESTIONS = [
    ("cost_per_model_hour", "select model, {hour} h, sum(cost) c, count(*) n from spans group by 1, 2 order by 2, 1", EXACT),
    ("p95_per_model_hour", "select model, {hour} h, {p95} p from spans group by 1, 2 order by 2, 1", ROUGH),
    ("trace", f"select {ALL} from spans where trace_id = '{{trace}}' order by start_time", EXACT),
    ("latest_errors", f"select {ALL} from spans where status = 'ERROR' and model = 'gpt-4o' order by start_time desc limit 50", EXACT),
    ("top_users", "select user_id, sum(cost) c from spans group by 1 order by 2 desc limit 20", EXACT),
    ("sessions_per_day", "select {day} d, count(distinct session_id) n from spans group by 1 order by 1", EXACT),
    (
        "latest_traces",
        "select trace_id, min(start_time) s, sum(cost) c, sum(input_tokens) i, count(*) n from spans where start_time >= {since} "
        "group by 1 order by c desc limit 50",
        EXACT,
    ),
    ("tokens_per_service", "select service, sum(input_tokens) i, sum(output_tokens) o, avg(duration_ns) a from spans group by 1 order by 1", EXACT),
    ("error_rate_hour", "select {hour} h, sum(case when status = 'ERROR' then 1 else 0 end) * 1.0 / count(*) r from spans group by 1 order by 1", EXACT),
    ("substring", "select count(*) n from spans where response_id like '%abcd%'", EXACT),
]
OTHERS = [
    ("errors_by_kind", "select service, error, count(*) n, max(duration_ns) m from spans where error is not null group by 1, 2 order by 1, 2", EXACT),
    ("calls_of_user", f"select {ALL} from spans where user_id = '{{user}}' order by start_time desc limit 100", EXACT),
    ("users_per_model", "select model, count(distinct user_id) n from spans group by 1 order by 1", EXACT),
    ("slowest", "select trace_id, span_id, duration_ns from spans order by duration_ns desc limit 20", EXACT),
    ("cost_per_day", "select {day} d, service, name, sum(cost) c, avg(input_tokens) i from spans group by 1, 2, 3 order by 1, 2, 3", EXACT),
    (
        "busy_sessions",
        "select session_id, count(*) n, sum(output_tokens) o from spans where model <> 'gpt-4o' group by 1 having count(*) > 8 order by 3 desc, 1 limit 20",
        EXACT,
    ),
]


def _figure(name, target=None, aim=None):
    return Figure(name, "SQL over 5 million spans: its time against the better of DuckDB and ClickHouse on the same rows", "x", target, aim)


MEAN, MEAN_OF_OTHERS = _figure("querybench_mean", 1.5, 0.8), _figure("querybench_others_mean")
FIGURES = [_figure(f"querybench_{name}") for name, _, _ in QUESTIONS + OTHERS]


@measures(*FIGURES, MEAN, MEAN_OF_OTHERS)
def querybench(bench):
    """The ratio for each question, and the geometric means of those of `QUESTIONS` and of `OTHERS`. All are asked, whatever is wanted."""
    folder = Path(os.environ.get("ASSAY_QUERYBENCH_LAKE") or bench.folder)
    server = Server(folder / "data", bench.config).start()
    facts = _filled(server, folder, bench.scale)
    engines = [_Assay(server)] + _peers(server, folder, facts)
    rounds = 2 if bench.quick else ROUNDS
    for mean, questions in ((MEAN, QUESTIONS), (MEAN_OF_OTHERS, OTHERS)):
        values = []
        for name, text, tolerance in questions:
            times = _asked(engines, name, text, tolerance, facts, rounds)
            others = [ms for engine, ms in times.items() if engine != "assay"]
            values.append(times["assay"] / min(others) if others else times["assay"])
            found = {f"{engine}_ms": ms for engine, ms in times.items()}
            yield _of(engines, _figure(f"querybench_{name}")).found(values[-1], f"{facts['spans']} spans, best of {rounds}", **found)
        yield _of(engines, mean).found(statistics.geometric_mean(values), f"{len(values)} questions")
    server.stop()


def _of(engines, figure):
    """What is given where there is nothing to compare with."""
    alone = dataclasses.replace(figure, what="SQL over 5 million spans, the other engines are not installed", unit="ms", target=None)
    return figure if len(engines) > 1 else alone


def _asked(engines, name, text, tolerance, facts, rounds):
    """Best time of each engine in ms, after a look at whether they agree."""
    answers = {engine.name: _comparable(engine.ask(engine.sql(text, facts))) for engine in engines}
    # Among few spans there may be no busy session.
    assert answers["assay"] or facts["spans"] < SPANS, f"{name}: no rows"
    for engine, rows in answers.items():
        _same(f"{name}: assay and {engine}", answers["assay"], rows, tolerance)
    best = {}
    for _ in range(rounds):
        for engine in engines:
            sql = engine.sql(text, facts)
            started = time.perf_counter()
            engine.ask(sql)
            took = (time.perf_counter() - started) * 1000
            best[engine.name] = min(took, best.get(engine.name, took))
    return best


def _comparable(answer):
    """Rows of plain values: times as microseconds since 1970, numbers as floats."""
    table = answer() if callable(answer) else answer

    def plain(column):
        if pa.types.is_timestamp(column.type):
            return column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).to_pylist()
        values = column.to_pylist()
        return [v.decode() if isinstance(v, bytes) else v if v is None or isinstance(v, str) else float(v) for v in values]

    return list(zip(*(plain(column) for column in table.columns)))


def _same(what, left, right, tolerance):
    assert len(left) == len(right), f"{what}: {len(left)} and {len(right)} rows"
    for one, other in zip(left, right):
        for a, b in zip(one, other):
            if isinstance(a, (int, float)) and isinstance(b, (int, float)):
                # ClickHouse gives the start of an hour in seconds, the others give microseconds.
                same = math.isclose(a, b, rel_tol=tolerance) or math.isclose(a, b * 1e6, rel_tol=1e-12)
            else:
                same = a == b
            assert same, f"{what}: {one} and {other}"


class _Assay:
    """Asks over HTTP for Arrow, as a data frame library would."""

    name = "assay"

    def __init__(self, server):
        self.server = server

    def sql(self, text, facts):
        said = text.format(
            hour="date_trunc('hour', start_time)",
            day="date_trunc('day', start_time)",
            p95="approx_percentile_cont(duration_ns, 0.95)",
            since=f"timestamp '{facts['since']}'",
            all=", ".join(name for name, *_ in COLUMNS),
            **{k: facts[k] for k in ("trace", "user")},
        )
        # The questions' names for Assay's columns cost nothing: a projection is no copy.
        columns = ", ".join(own if own == name else f"{own} as {name}" for name, own, *_ in COLUMNS)
        return f"with spans as (select {columns} from public.spans) {said}"

    def ask(self, sql):
        headers = {"content-type": "application/json", "accept": "application/vnd.apache.arrow.stream"}
        _, body = self.server.request("POST", "/api/v1/sql", json.dumps({"query": sql}).encode(), headers)
        return lambda: pa.ipc.open_stream(body).read_all()


class _DuckDb:
    """A database file with a table of its own."""

    name = "duckdb"

    def __init__(self, folder, rows):
        self.connection = duckdb.connect(str(folder / "duckdb.db"))
        self.connection.execute(f"set timezone = 'UTC'; set threads = {os.cpu_count()}; set memory_limit = '4GB'")
        columns = ", ".join(f"{name} {kind}" for name, _, kind, _ in COLUMNS)
        self.connection.execute(f"create table if not exists spans ({columns})")
        if self.connection.execute("select count(*) from spans").fetchone()[0] != rows:
            self.connection.execute(f"delete from spans; insert into spans select * from '{folder}/export/*.parquet' order by start_time")
            self.connection.execute("checkpoint")

    def sql(self, text, facts):
        return text.format(
            hour="date_trunc('hour', start_time)",
            day="date_trunc('day', start_time)",
            p95="approx_quantile(duration_ns, 0.95)",
            since=f"timestamp '{facts['since']}'",
            all="*",
            **{k: facts[k] for k in ("trace", "user")},
        )

    def ask(self, sql):
        return self.connection.execute(sql).to_arrow_table()


class _ClickHouse:
    """The engine in this process, with a MergeTree table as a ClickHouse user would lay it out."""

    name = "clickhouse"

    def __init__(self, folder, rows):
        self.session = chdb_session.Session(str(folder / "clickhouse"))
        columns = ", ".join(f"{name} {kind}" for name, _, _, kind in COLUMNS)
        self.session.query(
            f"create table if not exists spans ({columns}, index traces trace_id type bloom_filter(0.001) granularity 1) "
            "engine = MergeTree order by (service, name, start_time) partition by toDate(start_time)"
        )
        if int(self.session.query("select count() from spans", "CSV").bytes()) != rows:
            self.session.query("truncate table spans")
            self.session.query(f"insert into spans select * from file('{folder}/export/*.parquet')")
            self.session.query("optimize table spans final")

    def sql(self, text, facts):
        return text.format(
            hour="toStartOfHour(start_time)",
            day="toStartOfDay(start_time)",
            p95="quantileTDigest(0.95)(duration_ns)",
            since=f"toDateTime64('{facts['since']}', 6, 'UTC')",
            all="*",
            **{k: facts[k] for k in ("trace", "user")},
        )

    def ask(self, sql):
        answer = self.session.query(sql, "ArrowStream")
        return lambda: pa.ipc.open_stream(answer.bytes()).read_all()


def _peers(server, folder, facts):
    """The other engines over what Assay says its rows are; none if they are not installed."""
    if chdb_session is None:
        return []
    export = folder / "export"
    done = export / "done"
    if not done.exists():
        export.mkdir(exist_ok=True)
        for day in range(DAYS + 1):
            _export_day(server, facts["begin_us"] + day * DAY_US, export / f"{day}.parquet")
        done.touch()
    return [_DuckDb(folder, facts["spans"]), _ClickHouse(folder, facts["spans"])]


def _export_day(server, begin_us, path):
    columns = ", ".join(f"{f'cast({own} as double)' if name == 'cost' else own} as {name}" for name, own, *_ in COLUMNS)
    sql = f"select {columns} from spans where start_time >= '{_text(begin_us)}' and start_time < '{_text(begin_us + DAY_US)}' order by start_time"
    headers = {"content-type": "application/json", "accept": "application/vnd.apache.arrow.stream"}
    _, body = server.request("POST", "/api/v1/sql", json.dumps({"query": sql}).encode(), headers)
    table = pa.ipc.open_stream(body).read_all()
    assert table.num_rows == 0 or table["cost"].null_count == 0, "every model of the bench has a price"
    pq.write_table(table, path, compression="zstd")


def _filled(server, folder, scale):
    """What is in the lake, which is filled unless it was."""
    marker = folder / MARKER
    if marker.exists():
        return json.loads(marker.read_text())
    n_spans = max(SPANS_PER_REQUEST, int(SPANS * scale))
    begin_us = int(time.time()) * 10**6 // HOUR_US * HOUR_US - DAYS * DAY_US
    traces = []
    for trace_id, body in requests(n_spans, begin_us):
        _send(server, body)
        traces.append(trace_id)
    _until_at_rest(server)
    facts = {
        "spans": server.sql("SELECT count(*) AS n FROM spans")[0]["n"],
        "begin_us": begin_us,
        "since": _text(begin_us + DAYS * DAY_US - HOUR_US),
        "trace": traces[len(traces) // 2],
        "user": "u00777" if scale == 1 else server.sql("SELECT min(user_id) AS u FROM spans")[0]["u"],
    }
    marker.write_text(json.dumps(facts))
    return facts


def requests(n_spans, begin_us, seed=1):
    """Bodies of trace export requests in order of time, with the identifier (hex) of a trace in each. Seeded."""
    rng = otlp.seeded(seed)
    weights = [rank**-1.5 for rank in range(1, len(MODELS) + 1)]
    templates = {(n, m, e): _Template(n, m, e) for n in NAMES for m in MODELS for e in [None, *ERRORS]}
    step_us = DAYS * DAY_US // n_spans
    models, per_request = list(MODELS), SPANS_PER_REQUEST
    for first in range(0, n_spans, per_request):
        n = min(per_request, n_spans - first)
        kinds = zip(rng.choices(NAMES, k=n), rng.choices(models, weights, k=n), rng.choices(SERVICES, k=n))
        by_service = {service: [] for service in SERVICES}
        for nth, (name, model, service) in enumerate(kinds, first):
            if nth % SPANS_PER_TRACE == 0 or nth == first:
                trace_id = rng.randbytes(16)
            error = rng.choice(ERRORS) if rng.random() < FAILING else None
            start_us = begin_us + nth * step_us + int(rng.random() * min(step_us, 1000))
            by_service[service].append(templates[name, model, error].span(rng, trace_id, start_us * 1000))
        yield trace_id.hex(), b"".join(_resource_spans(service, spans) for service, spans in by_service.items() if spans)


class _Template:
    """A span as bytes, with the places where one differs from the next."""

    def __init__(self, name, model, error):
        span = otlp.span(
            otlp.seeded(0),
            name=name,
            trace_id=TRACE,
            gen_ai__operation__name="chat",
            gen_ai__provider__name=MODELS[model],
            gen_ai__request__model=model,
            gen_ai__usage__input_tokens=TOKENS_IN,
            gen_ai__usage__output_tokens=TOKENS_OUT,
            gen_ai__response__id=RESPONSE,
            user__id=USER,
            session__id=SESSION,
            **({"error__type": error} if error else {}),
        )
        span.span_id, span.start_time_unix_nano, span.end_time_unix_nano = SPAN, START, END
        span.status.code = Status.STATUS_CODE_ERROR if error else Status.STATUS_CODE_OK
        self.body = span.SerializeToString()
        markers = [TRACE, SPAN, struct.pack("<Q", START), struct.pack("<Q", END), _two_bytes(TOKENS_IN), _two_bytes(TOKENS_OUT)]
        markers += [USER.encode(), SESSION.encode(), RESPONSE.encode()]
        assert all(self.body.count(marker) == 1 for marker in markers)
        self.places = [slice(self.body.find(m), self.body.find(m) + len(m)) for m in markers]

    def span(self, rng, trace_id, start_ns):
        values = (
            trace_id,
            rng.randbytes(8),
            struct.pack("<Q", start_ns),
            struct.pack("<Q", start_ns + int(rng.lognormvariate(20, 1))),
            _two_bytes(10 + int(rng.random() * 3990)),
            _two_bytes(1 + int(rng.random() * 999)),
            b"u%05d" % (rng.random() * USERS),
            b"s%06d" % (rng.random() * SESSIONS),
            b"chatcmpl-%016x" % rng.getrandbits(64),
        )
        body = bytearray(self.body)
        for place, value in zip(self.places, values):
            body[place] = value
        return b"\x12" + _varint(len(body)) + body


def _resource_spans(service, spans):
    """Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto`."""
    empty = otlp.traces([], service).resource_spans[0]
    scope_spans = empty.scope_spans[0].SerializeToString() + b"".join(spans)
    body = b"\x0a" + _field(empty.resource.SerializeToString()) + b"\x12" + _field(scope_spans)
    return b"\x0a" + _field(body)


def _field(body):
    return _varint(len(body)) + body


def _varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _two_bytes(number):
    return bytes((number & 127 | 128, number >> 7))


def _send(server, body):
    """Sends until accepted, as an exporter does: the server may ask to wait."""
    while True:
        try:
            return server.send("traces", body)
        except Refused as refused:
            if refused.status not in (429, 503):
                raise
            time.sleep(float(refused.headers.get("retry-after") or 1))


def _until_at_rest(server):
    """Returns when everything is in files and compaction finds nothing to do."""
    before = None
    while True:
        storage = server.get("/api/v1/status")["storage"]
        compaction = storage["jobs"].get("compaction", {})
        state = (compaction.get("done"), storage["tables"].get("spans", {}).get("files"))
        if not storage["hot_rows"] and not compaction.get("running"):
            if state == before:
                return
            before = state
        # Longer than the pause between two rounds of compaction; in a small run there is nothing to wait for.
        time.sleep(70 if storage["tables"].get("spans", {}).get("rows", 0) > 100_000 else 0.2)


def _text(micros):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(micros // 10**6))
