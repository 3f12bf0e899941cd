"""Questions that every store must answer alike: SQL over what real SDKs sent and over made-up rows, and the read models of the UI.

`test_stores.py` asks them of a lake on disk, a lake in a bucket and ClickHouse. `send` fills a server, `assert_same` compares.
"""

import json
import math
import urllib.parse

import capture_files
import telemetry as otlp


def _anywhere(text):
    """A search of free text, as filters plan it."""
    return " OR ".join(f"{column} ILIKE '%{text}%'" for column in ("name", "input_preview", "output_preview", "error_message"))


# Where rows have no order of their own, the query gives one.
QUERIES = (
    "SELECT count(*) FROM spans",
    "SELECT count(*), sum(duration_ns), sum(input_tokens), sum(output_tokens), sum(cost_usd), count(distinct trace_id) FROM spans",
    "SELECT count(*) FROM spans WHERE name LIKE '%chat%'",
    "SELECT count(*) FROM spans WHERE name ILIKE '%CHAT%' AND duration_ns > 1000000",
    "SELECT min(start_time), max(start_time), min(duration_ns), max(duration_ns), avg(duration_ns) FROM spans",
    "SELECT span_kind, status_code, count(*) AS n FROM spans GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT service_name, count(*) AS n, count(parent_span_id) AS children FROM spans GROUP BY 1 ORDER BY 1 NULLS FIRST",
    "SELECT request_model, count(*) AS n, sum(cost_usd) AS cost FROM llm_calls GROUP BY request_model ORDER BY request_model",
    "SELECT operation, provider, sum(input_tokens), avg(output_tokens) FROM llm_calls GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT count(*), sum(units), sum(cost_usd), count(cost_usd) FROM cost_lines",
    "SELECT usage_kind, source, sum(units), sum(cost_usd) FROM cost_lines WHERE counted GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT signal, sum(accepted), sum(stored), sum(quarantined), sum(resent) FROM ingest_ledger GROUP BY 1 ORDER BY 1",
    "SELECT trace_id, span_id, name, attributes, events, links, input_messages, output_messages FROM spans ORDER BY trace_id, span_id",
    "SELECT span_id, start_time, start_time_ns_part, duration_ns FROM spans ORDER BY start_time DESC, span_id LIMIT 10",
    "SELECT span_id, cost_usd FROM spans WHERE cost_usd IS NOT NULL ORDER BY cost_usd DESC, span_id LIMIT 5 OFFSET 2",
    "SELECT span_id FROM spans WHERE cost_usd > 0.001 AND counted ORDER BY span_id",
    "SELECT span_id FROM spans WHERE NOT counted ORDER BY span_id LIMIT 50",
    "SELECT count(*) FROM spans WHERE service_name IS NULL OR service_name NOT IN ('a', 'b')",
    "SELECT count(*) FROM spans WHERE session_id IN ('s', 'x') OR user_id IS NOT NULL",
    "SELECT count(*) FROM spans WHERE input_tokens BETWEEN 10 AND 1000 AND output_tokens != 7",
    "SELECT count(*) FROM spans WHERE NOT (input_tokens > 10)",
    "SELECT count(*) FROM spans WHERE name = 'it''s \\ a `quote`'",
    "SELECT count(*) FROM spans WHERE start_time >= '2026-01-01T00:00:00Z' AND start_time < '2100-01-01T00:00:00Z'",
    "SELECT date_trunc('day', start_time) AS day, count(*) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT arrow_cast(time_bucket('1 hour', start_time), 'Utf8') AS hour, count(*) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT start_time AT TIME ZONE 'Asia/Tokyo' AS tokyo FROM spans ORDER BY start_time, span_id LIMIT 5",
    "SELECT attributes ->> 'gen_ai.system' AS system, count(*) FROM spans GROUP BY 1 ORDER BY 1 NULLS FIRST",
    "SELECT approx_percentile_cont(duration_ns, 0.5) > 0, percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ns) FROM spans",
    "SELECT a.span_id, b.name FROM spans a JOIN spans b ON a.parent_span_id = b.span_id AND a.trace_id = b.trace_id ORDER BY 1, 2",
    "SELECT s.span_id, sum(c.cost_usd) FROM spans s JOIN cost_lines c USING (trace_id, span_id) GROUP BY 1 ORDER BY 1",
    "SELECT span_id, row_number() OVER (PARTITION BY trace_id ORDER BY start_time, span_id) AS nth FROM spans ORDER BY trace_id, nth",
    "SELECT trace_id, sum(duration_ns) OVER (PARTITION BY trace_id) AS whole FROM spans ORDER BY 1, 2",
    "SELECT trace_id, count(*) FROM spans GROUP BY 1 HAVING count(*) > 1 ORDER BY 2 DESC, 1",
    "SELECT count(*), count(error_type), count(distinct error_type) FROM spans",
    "SELECT trace_id, name, span_count, duration_ns, cost_usd FROM traces ORDER BY trace_id",
    "SELECT session_id, count(*) FROM llm_calls GROUP BY 1 ORDER BY 1 NULLS FIRST",
    "SELECT trace_id, event_name, observed_time_unix_nano, severity_number, severity_text, body, counted FROM logs ORDER BY 1, 2, 3, 6",
    "SELECT metric_name, count(*), sum(value) FROM metrics_sum GROUP BY 1 ORDER BY 1",
    "SELECT metric_name, sum(count), min(min), max(max) FROM metrics_histogram GROUP BY 1 ORDER BY 1",
    "SELECT date, wal_position FROM spans WHERE false",
    "SELECT 1 FROM spans LIMIT 3",
    "SELECT avg(input_tokens), count(input_tokens), count(*), sum(input_tokens), min(input_tokens), max(input_tokens) FROM spans",
    "SELECT count(*), sum(input_tokens), min(name), max(start_time), avg(input_tokens) FROM spans WHERE name = 'no such name'",
    "SELECT min(cost_usd), max(cost_usd), min(error_type), max(session_id), min(date), max(counted) FROM spans",
    "SELECT count(*) FILTER (WHERE counted), sum(cost_usd) FILTER (WHERE counted), max(name) FILTER (WHERE counted) FROM spans",
    "SELECT sum(input_tokens) FILTER (WHERE pending), count(*) FILTER (WHERE pending) FROM spans",
    "SELECT count(*) FILTER (WHERE input_tokens > 10) FROM spans",
    "SELECT count(*) FILTER (WHERE status_code = 'ERROR' OR error_type IS NOT NULL), count(*) FILTER (WHERE pending IS NOT TRUE) FROM spans",
    "SELECT count(*) FILTER (WHERE NOT (error_type = 'x' AND counted)), count(*) FILTER (WHERE NOT (error_type = status_code)) FROM spans",
    "SELECT max(name) FILTER (WHERE session_id IS NULL OR user_id = 'it''s \\ a `quote`'), sum(input_tokens) FILTER (WHERE counted IS NOT TRUE) FROM spans",
    "SELECT source, status_code, count(*), max(duration_ns), avg(input_tokens) FROM steps GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT name, count(*) FILTER (WHERE source = 'log'), count(*) FILTER (WHERE error_type IS NULL), min(start_time) FROM steps GROUP BY 1 ORDER BY 1 NULLS FIRST",
    "SELECT time_bucket('1 hour', start_time), count(*), count(distinct trace_id), median(duration_ns) FROM steps GROUP BY 1 ORDER BY 1",
    "SELECT time_bucket('1 day', start_time), count(*), sum(cost_usd), count(distinct session_id) FROM llm_calls GROUP BY 1 ORDER BY 1",
    "SELECT session_id, user_id, count(*), min(start_time) FROM spans GROUP BY 1, 2 ORDER BY 3 DESC, 1 NULLS LAST, 2 NULLS LAST",
    "SELECT counted, count(*) FROM spans WHERE trace_id > '8' GROUP BY counted ORDER BY counted",
    "SELECT name, max(duration_ns) AS longest FROM spans GROUP BY name ORDER BY longest DESC, name LIMIT 7",
    "SELECT service_name, count(*) FROM spans GROUP BY service_name HAVING sum(input_tokens) > 100 ORDER BY 2 DESC, 1",
    "SELECT count(*) FROM (SELECT DISTINCT trace_id, session_id FROM spans)",
    "SELECT DISTINCT operation FROM spans ORDER BY 1 NULLS FIRST",
    "SELECT sum(n) FROM (SELECT trace_id, count(*) AS n FROM spans GROUP BY trace_id)",
    "SELECT sum(value), count(value), avg(int_value), max(value) FROM metrics_gauge",
    "SELECT stddev(duration_ns), var_pop(duration_ns), median(duration_ns), corr(duration_ns, input_tokens) FROM spans",
    "SELECT max(session_id), span_id FROM spans GROUP BY span_id ORDER BY 1 DESC NULLS LAST, 2 LIMIT 5",
    "SELECT error_type, span_id FROM spans ORDER BY error_type NULLS FIRST, span_id DESC LIMIT 12",
    "SELECT session_id, span_id, input_messages FROM spans ORDER BY session_id DESC NULLS LAST, span_id LIMIT 6",
    "SELECT name AS called, start_time AS at, span_id FROM spans WHERE counted ORDER BY at, span_id LIMIT 9",
    "SELECT span_id FROM (SELECT span_id, duration_ns FROM spans ORDER BY duration_ns DESC, span_id LIMIT 20) ORDER BY span_id LIMIT 5",
    "SELECT log_id IS NOT NULL, severity_number, body FROM logs ORDER BY severity_number DESC, time, body LIMIT 3",
    "SELECT a.name, count(*) FROM spans a WHERE a.trace_id IN (SELECT trace_id FROM spans WHERE error_type IS NOT NULL) GROUP BY 1 ORDER BY 1",
    "SELECT name FROM spans WHERE EXISTS (SELECT 1 FROM cost_lines c WHERE c.span_id = spans.span_id) ORDER BY span_id LIMIT 10",
    "WITH t AS (SELECT trace_id, sum(cost_usd) AS c FROM spans WHERE counted GROUP BY 1) SELECT count(*), max(c), sum(c) FROM t",
    "SELECT upper(name), length(name), CASE WHEN counted THEN 1 ELSE 0 END FROM spans ORDER BY span_id LIMIT 10",
    "SELECT CAST(input_tokens AS DOUBLE) / nullif(output_tokens, 0) FROM spans WHERE output_tokens IS NOT NULL ORDER BY span_id",
    "SELECT date_trunc('hour', start_time) AS h, request_model, count(*), count(distinct session_id), sum(cost_usd) FROM spans GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT time_bucket('1 week', start_time) AS w, date_trunc('week', start_time) AS v, count(*) FROM spans GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT date_bin(INTERVAL '7 minutes', start_time) AS m, date_trunc('month', start_time) AS n, count(*) FROM spans GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT name, count(distinct user_id) FILTER (WHERE counted), median(duration_ns), avg(output_tokens) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT percentile_cont(0.25) WITHIN GROUP (ORDER BY duration_ns DESC), median(input_tokens) FILTER (WHERE pending) FROM spans",
    "SELECT span_id, avg(input_tokens), avg(reasoning_tokens) FROM llm_calls GROUP BY 1 ORDER BY 1",
    "SELECT user_id, count(distinct trace_id) AS n, max(start_time) FROM spans GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3",
    "SELECT count(distinct input_tokens), count(distinct cost_usd), count(distinct counted), count(distinct start_time) FROM spans",
    "SELECT name, count(*), count(user_id) FROM (SELECT DISTINCT name, session_id, user_id FROM spans) GROUP BY 1 ORDER BY 1",
    "SELECT span_kind, count(*), sum(input_tokens) FROM (SELECT DISTINCT span_kind, input_tokens FROM spans) GROUP BY 1 ORDER BY 1",
    "SELECT count(*) FROM spans WHERE name NOT ILIKE 'chat%' OR lower(service_name) = 'tests'",
    "SELECT name, count(*) FROM spans WHERE name ILIKE '%`QUOTE`%' OR name ILIKE 'üN%CÖDÉ ☃%' OR name ILIKE '%\t' GROUP BY 1 ORDER BY 1",
    "SELECT name, count(*) FROM spans WHERE name LIKE 'Ün_cöd_ _ _' OR name ILIKE '_ELVIN''_ STATE%' OR name ILIKE 'c__t' GROUP BY 1 ORDER BY 1",
    "SELECT name, count(*) FROM spans WHERE name LIKE '%\\_%' OR name LIKE '_t''s \\\\ %' OR name ILIKE '%\\% _\t' GROUP BY 1 ORDER BY 1",
    "SELECT count(*), count(input_preview) FROM spans WHERE input_preview ILIKE '%\\% %' OR input_preview LIKE '%`quote`%'",
    *(
        f"SELECT name, input_preview, count(*) FROM spans WHERE {_anywhere(text)} GROUP BY 1, 2 ORDER BY 1, 2 NULLS FIRST"
        for text in ("kelvin", "KELVIN''S state", "elvin''s\u017ftate", "ÜNÏCÖDÉ", "ïcöd%☃ 語", "☃ 語", "gpt-4o-mini", "%\\_ \\%", "\\\\ a `quo")
    ),
    "SELECT count(*) FROM spans WHERE lower(name) != 'chat' AND lower(name) IN ('null', 'it''s \\ a `quote`', '')",
    "(SELECT span_id FROM spans UNION SELECT span_id FROM cost_lines) EXCEPT SELECT span_id FROM logs ORDER BY 1 NULLS FIRST",
)
# Read models of the UI, over the same rows: with bounds, because those that are open move with the clock.
RANGE = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
PAGES = (
    *(f"/api/v1/traces?limit={limit}&sort={sort}&{RANGE}" for limit, sort in ((200, "start_time"), (20, "cost_usd"), (7, "duration_ns"))),
    *(f"/api/v1/lists/{name}?limit=50&{RANGE}" for name in ("calls", "sessions", "users", "models", "tools", "errors")),
    f"/api/v1/traces/totals?{RANGE}",
    *(f"/api/v1/traces?limit=50&{RANGE}&q={urllib.parse.quote(q)}" for q in ("has:error", "kelvin", '"☃ 語" OR _', "-quote", "mini cost:>0")),
)
# Estimates, which depend on how rows are put together: equal within this share. Of a percentile, where it lies among the rows.
ESTIMATES = (
    "SELECT approx_distinct(span_id), approx_distinct(trace_id) FROM spans",
    "SELECT count(*) FROM spans WHERE duration_ns <= (SELECT approx_percentile_cont(duration_ns, 0.5) FROM spans)",
    "SELECT count(*) FROM spans WHERE duration_ns <= (SELECT approx_percentile_cont(duration_ns, 0.95) FROM spans)",
    "SELECT count(*) FROM spans WHERE duration_ns >= (SELECT approx_median(duration_ns) FROM spans WHERE span_kind = 'CLIENT')",
)
ESTIMATES_DIFFER_MAX = 0.05
# Between two rows, DataFusion goes in steps of a millionth.
PERCENTILES = (
    "SELECT name, percentile_cont(0.9) WITHIN GROUP (ORDER BY input_tokens) AS p, count(*) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ns), percentile_cont(0.01) WITHIN GROUP (ORDER BY duration_ns) FROM spans",
)
PERCENTILES_DIFFER_MAX = 1e-5
# Sums of floats depend on the order in which rows come.
SUMS_DIFFER_MAX = 1e-12


def requests():
    """What is sent, as functions of a server: captures, and spans made to differ where stores might."""
    # Two of them use one trace identifier: which of two names such a trace has is not decided.
    folders = [folder for folder in capture_files.FOLDERS if folder != "plain-otel-grpc-python"]
    scenarios = [files for folder in folders for files in capture_files.scenarios(folder).values()]
    assert len(scenarios) > 20
    captured = [_captured(meta, body) for files in scenarios for meta, body in files]
    return captured + [_made(seed) for seed in range(70, 76)]


def _captured(meta, body):
    return lambda server: capture_files.send(server, meta, body)


def _made(seed):
    """A request of traces with what SQL engines disagree on: absent values, quotes and backslashes, far-off and equal numbers, days and hours
    that begin at other times elsewhere, attributes of one key and several types."""
    rng = otlp.seeded(seed)
    names = ("it's \\ a `quote`", "", "chat gpt-4o-mini", "Ünïcödé ☃ 語", "%_ % \n\t", "CHAT", "null", "\u212aelvin's \u017ftate")
    values = (True, -(2**62), 1.5, "1.5", "", "null", json.dumps({"a": [1, {"b": None}]}), "O'Brien \\ \"x\"")
    # Around midnight UTC, and the hour that summer time leaves out in Berlin.
    starts = (1_763_682_599_999_999_999, 1_763_683_200_000_000_000, 1_774_745_999_999_999_000, 1_774_746_000_000_000_001)
    spans = []
    for _ in range(8):
        trace_id, parent = rng.randbytes(16), b""
        for _ in range(rng.randrange(1, 6)):
            more = {"key": rng.choice(values)} if rng.random() < 0.7 else {}
            more |= {"session__id": f"session {rng.randrange(3)}"} if rng.random() < 0.5 else {}
            more |= {"user__id": rng.choice(("ä", "z", "Z", ""))} if rng.random() < 0.5 else {}
            # No two begin in the same microsecond: which of them names a session is not decided.
            start, duration_ns = rng.choice(starts) + (100 * seed + len(spans)) * 1000, rng.choice((0, 1, 999, 10**9, 86_400 * 10**9))
            if rng.random() < 0.5:
                tokens = {"input_tokens": rng.choice((0, 10, 11, 2**31)), "output_tokens": rng.choice((0, 7, 100))}
                model = rng.choice(("gpt-4o-mini", "no-such-model", "claude-sonnet-4-5"))
                made = otlp.chat(rng, model, text=rng.choice(names), trace_id=trace_id, parent=parent, start=start, duration_ns=duration_ns, **tokens, **more)
            else:
                made = otlp.span(rng, rng.choice(names), trace_id, parent, start, duration_ns, **more)
            if rng.random() < 0.2:
                made.status.code, made.status.message = made.status.STATUS_CODE_ERROR, rng.choice(names)
            spans.append(made)
            parent = made.span_id
    # One is refused, and kept as such.
    body = otlp.traces([*spans, otlp.span(rng, trace_id=bytes(16))], rng.choice(("tests", "it's", ""))).SerializeToString()
    return lambda server: server.send("traces", body)


def assert_same(stores, pages=()):
    """Each of `stores` (name: server) answers every query, and the `pages`, as the first does."""
    first, *others = stores
    trace_id = stores[first].sql("SELECT trace_id, count(*) AS n FROM spans GROUP BY 1 ORDER BY n DESC, 1 LIMIT 1")[0]["trace_id"]
    questions = {query: lambda server, query=query: server.sql(query, row_limit=100_000) for query in QUERIES + ESTIMATES + PERCENTILES}
    questions |= {path: lambda server, path=path: {**server.get(path), "elapsed_ms": None} for path in pages}
    questions["the longest trace"] = lambda server: server.get(f"/api/v1/traces/{trace_id}")["spans"]
    allowed = dict.fromkeys(ESTIMATES, ESTIMATES_DIFFER_MAX) | dict.fromkeys(PERCENTILES, PERCENTILES_DIFFER_MAX)
    differing = []
    for text, ask in questions.items():
        expected = ask(stores[first])
        for name in others:
            found = difference(expected, ask(stores[name]), allowed.get(text, SUMS_DIFFER_MAX))
            differing += [f"{text}: {first} and {name} differ{found}"] if found else []
    assert not differing, "\n".join(differing)


def difference(one, other, differ_max=SUMS_DIFFER_MAX):
    """Where two answers differ first, as text; empty if they are the same. Floats, and numbers that are estimates, are within `differ_max`."""
    numbers = (int, float) if differ_max == ESTIMATES_DIFFER_MAX else float
    if isinstance(one, numbers) and isinstance(other, numbers) and math.isclose(one, other, rel_tol=differ_max):
        return ""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        inside = ((key, difference(one[key], other[key], differ_max)) for key in one)
        return next((f"[{key!r}]{found}" for key, found in inside if found), "")
    return "" if one == other else f": {one!r}, {other!r}"
