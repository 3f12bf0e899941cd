"""Saved views, saved queries and notes, over HTTP, on each store that can keep them: kept across a restart, per project, in the same order, with clear
answers to what cannot be kept. What only Postgres can meet is in test_postgres.py."""

import json

import pytest
from harness import Refused, Server

TRACE = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module", params=["SQLite", "Postgres"])
def _store(request):
    """The part of a configuration that says where things are kept."""
    if request.param == "SQLite":
        return ""
    postgres = request.getfixturevalue("postgres")
    return postgres.config(postgres.database())


@pytest.fixture(scope="module")
def shared_server(_store, tmp_path_factory):
    """One server for all tests of a store; each test uses a project of its own."""
    with Server(tmp_path_factory.mktemp("shared") / "data", _store) as server:
        yield server


def _call(server, method, path, body=None, project="default"):
    """The parsed answer; None if there is none."""
    headers = {"content-type": "application/json", "x-assay-project": project}
    answer = server.request(method, path, None if body is None else json.dumps(body).encode(), headers)[1]
    return json.loads(answer) if answer else None


def _refusal(server, method, path, body=None, project="default"):
    with pytest.raises(Refused) as refused:
        _call(server, method, path, body, project)
    assert refused.value.headers["content-type"] == "application/problem+json"
    return refused.value.status, refused.value.problem()


def saved_items_and_notes_outlive_a_restart(_store, tmp_path):
    with Server(tmp_path / "data", _store) as server:
        _outlive_a_restart(server)


def _outlive_a_restart(server):
    view = _call(server, "POST", "/api/v1/saved", {"kind": "view", "name": "errors", "body": {"q": "has:error"}, "is_default": True})
    assert (view["kind"], view["name"], view["body"], view["is_default"]) == ("view", "errors", {"q": "has:error"}, True)
    params = [{"name": "model", "type": "text", "default": "gpt-4o"}]
    query = {"kind": "query", "name": "by model", "body": {"query": "SELECT $1", "params": params, "chart": {"type": "bar"}}}
    query = _call(server, "POST", "/api/v1/saved", query)
    note = _call(server, "POST", "/api/v1/notes", {"trace_id": TRACE, "text": "ask the team"})
    assert note["span_id"] is None
    server.stop()
    server.start()
    assert server.get("/api/v1/saved")["items"] == [view, query]
    assert server.get("/api/v1/saved?kind=query")["items"] == [query]
    assert server.get(f"/api/v1/notes?trace_id={TRACE}")["notes"] == [note]


def a_change_names_what_changes_and_the_rest_stays(shared_server):
    new = {"kind": "view", "name": "slow", "body": {"q": "duration:>5s"}}
    made = _call(shared_server, "POST", "/api/v1/saved", new, "changes")
    path = f"/api/v1/saved/{made['id']}"
    renamed = _call(shared_server, "PUT", path, {"name": "slow ones"}, "changes")
    assert (renamed["name"], renamed["body"], renamed["created_at"]) == ("slow ones", new["body"], made["created_at"])
    # A whole item can be sent back; it says which state it was read in.
    status, problem = _refusal(shared_server, "PUT", path, {**made, "body": {"q": ""}}, "changes")
    assert status == 409 and problem["type"].endswith("/conflict") and renamed["updated_at"] in problem["detail"]
    again = _call(shared_server, "PUT", path, {**renamed, "body": {"q": ""}}, "changes")
    assert again["body"] == {"q": ""}
    assert _call(shared_server, "DELETE", path, project="changes") is None
    assert shared_server.get("/api/v1/saved", "changes")["items"] == []


def a_note_is_about_a_trace_or_one_of_its_spans(shared_server):
    new = {"trace_id": TRACE.upper(), "span_id": "00112233445566AA", "text": "why three calls?"}
    note = _call(shared_server, "POST", "/api/v1/notes", new, "notes")
    assert (note["trace_id"], note["span_id"]) == (TRACE, "00112233445566aa")
    path = f"/api/v1/notes/{note['id']}"
    changed = _call(shared_server, "PUT", path, {"text": "a retry", "updated_at": note["updated_at"]}, "notes")
    assert changed["text"] == "a retry" and changed["updated_at"] > note["updated_at"]
    assert _refusal(shared_server, "PUT", path, {"text": "x", "updated_at": note["updated_at"]}, "notes")[0] == 409
    assert _call(shared_server, "DELETE", path, project="notes") is None
    assert _refusal(shared_server, "DELETE", path, project="notes")[0] == 404


def projects_do_not_see_each_others_items(shared_server):
    view = _call(shared_server, "POST", "/api/v1/saved", {"kind": "view", "name": "mine", "body": {}}, "mine")
    note = _call(shared_server, "POST", "/api/v1/notes", {"trace_id": TRACE, "text": "mine"}, "mine")
    assert shared_server.get("/api/v1/saved", "theirs")["items"] == []
    assert shared_server.get(f"/api/v1/notes?trace_id={TRACE}", "theirs")["notes"] == []
    for method, path, body in [
        ("PUT", f"/api/v1/saved/{view['id']}", {"name": "theirs"}),
        ("DELETE", f"/api/v1/saved/{view['id']}", None),
        ("PUT", f"/api/v1/notes/{note['id']}", {"text": "theirs"}),
        ("DELETE", f"/api/v1/notes/{note['id']}", None),
    ]:
        assert _refusal(shared_server, method, path, body, "theirs")[0] == 404
    # The same name is free in another project.
    _call(shared_server, "POST", "/api/v1/saved", {"kind": "view", "name": "mine", "body": {}}, "theirs")


def names_are_told_apart_and_ordered_by_their_bytes(shared_server):
    names = ["b", "B", "a", "_", "Ä", "ä", "a b", "ab", "Z", "10", "9", "日本", "🦀", "a\u0308"]
    for name in names:
        _call(shared_server, "POST", "/api/v1/saved", {"kind": "view", "name": name, "body": {}}, "order")
    found = [item["name"] for item in shared_server.get("/api/v1/saved", "order")["items"]]
    assert found == sorted(names, key=str.encode)


def bodies_and_texts_come_back_as_they_went_in(shared_server):
    body = {"z": 1, "a": [1.5, 12345678901234567890, -0.0, 1e300, True, None], "": "\u0000 \u2028 \ud83e\udd80", "b": {"y": {}, "x": []}}
    made = _call(shared_server, "POST", "/api/v1/saved", {"kind": "view", "name": "as it is", "body": body}, "exact")
    text = "tab\t, line\nand 🦀 \u2028\u00a0\x7f"
    _call(shared_server, "POST", "/api/v1/notes", {"trace_id": TRACE, "text": text}, "exact")
    [item] = shared_server.get("/api/v1/saved", "exact")["items"]
    assert item == made and json.dumps(item["body"]) == json.dumps(body)
    assert [note["text"] for note in shared_server.get(f"/api/v1/notes?trace_id={TRACE}", "exact")["notes"]] == [text]


def notes_are_listed_as_they_were_written(shared_server):
    written = [_call(shared_server, "POST", "/api/v1/notes", {"trace_id": TRACE, "text": f"{n}"}, "written") for n in range(20)]
    listed = shared_server.get(f"/api/v1/notes?trace_id={TRACE}", "written")["notes"]
    assert listed == sorted(written, key=lambda note: (note["created_at"], note["id"]))
    assert [note["text"] for note in listed] == [f"{n}" for n in range(20)]


def one_view_is_the_default_and_the_others_say_that_they_changed(shared_server):
    first, second = (
        _call(shared_server, "POST", "/api/v1/saved", {"kind": "view", "name": name, "body": {}, "is_default": True}, "default-view")
        for name in ("first", "second")
    )
    found = {item["name"]: item for item in shared_server.get("/api/v1/saved", "default-view")["items"]}
    assert found["second"] == second and not found["first"]["is_default"]
    assert found["first"]["updated_at"] > first["updated_at"]
    # What was read before is not what is there now.
    path = f"/api/v1/saved/{first['id']}"
    assert _refusal(shared_server, "PUT", path, {"is_default": True, "updated_at": first["updated_at"]}, "default-view")[0] == 409
    taken = _refusal(shared_server, "PUT", path, {"name": "second"}, "default-view")
    assert taken[0] == 409 and "`second`" in taken[1]["detail"]


@pytest.mark.parametrize("id", ["nothing", "00000000-0000-7000-8000-000000000000", "%00", "%F0%9F%A6%80"])
def what_is_not_there_is_not_found(shared_server, id):
    for path, body in ((f"/api/v1/saved/{id}", {"name": "x"}), (f"/api/v1/notes/{id}", {"text": "x"})):
        assert _refusal(shared_server, "PUT", path, body, "nothing")[0] == 404
        assert _refusal(shared_server, "DELETE", path, project="nothing")[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/api/v1/saved", {"kind": "view", "name": "taken", "body": {}}, 409, "`taken`"),
        ("/api/v1/saved", {"kind": "view", "name": "", "body": {}}, 400, "`name`"),
        ("/api/v1/saved", {"kind": "view", "name": "large", "body": {"q": "x" * 70_000}}, 400, "`body`"),
        ("/api/v1/saved", {"kind": "query", "name": "no sql", "body": {}}, 400, "`query`"),
        ("/api/v1/saved", {"kind": "chart", "name": "x", "body": {}}, 422, "chart"),
        ("/api/v1/saved", {"kind": "view", "name": "x", "body": {}, "shared": True}, 422, "shared"),
        ("/api/v1/notes", {"trace_id": "12", "text": "x"}, 400, "`trace_id`"),
        ("/api/v1/notes", {"trace_id": TRACE, "span_id": "12", "text": "x"}, 400, "`span_id`"),
        ("/api/v1/notes", {"trace_id": TRACE, "text": "x" * 10_001}, 400, "`10001` characters"),
        ("/api/v1/notes", {"trace_id": TRACE, "text": "a\0b"}, 400, "U+0000"),
    ],
)
def what_cannot_be_kept_is_a_problem_that_says_why(shared_server, path, body, status, says):
    if says == "`taken`":
        _call(shared_server, "POST", path, body, "refused")
    found, problem = _refusal(shared_server, "POST", path, body, "refused")
    assert (found, problem["status"]) == (status, status) and says in problem["detail"], problem


def the_document_lists_what_the_server_answers(shared_server):
    paths = shared_server.get("/api/openapi.json")["paths"]
    for path in ("/api/v1/saved", "/api/v1/notes/{id}", "/api/v1/demo", "/api/v1/reprice", "/api/v1/export/otlp", "/api/v1/sql"):
        assert path in paths
    for path, item in paths.items():
        for method in item:
            try:
                shared_server.request(method.upper(), path.replace("{", "").replace("}", ""), headers={"x-assay-project": "!"})
            except Refused as refused:
                # Every endpoint says in problem+json what is wrong: here, the name of the project.
                assert refused.status not in (404, 405), f"{method} {path}: {refused}"
