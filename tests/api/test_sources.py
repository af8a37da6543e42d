"""What is kept of where a fact comes from: the key, the request, and the caller's own words."""

import json

import pytest

from support.api_keys import bearing, guarded, made

LABEL = "newsletter 2026-11"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A server, the id of a key, and a request with it."""
    folder = tmp_path_factory.mktemp("sources")
    key, text = made("default")
    with guarded(folder, f"sqlite:///{folder / 'contacts.db'}", key) as server:

        def ask(method, target, body=None, label=LABEL):
            headers = bearing(text) | {"Content-Type": "application/json"}
            if label is not None:
                headers["X-Source"] = label
            return server.ask(method, target, body and json.dumps(body).encode(), headers)

        yield server, key.id, ask


def sent(email, phone):
    return {"email": email, "phoneNumber": phone}


def events(server):
    return server.query("select kind, source, request, label from event order by seq")


def test_events_have_key_request_and_label(shop):
    server, key, ask = shop
    replies = [
        ask("POST", "/identify", sent("a@x", "1"), f"  {LABEL} "),
        ask("POST", "/identify", sent("a@x", "2")),
        ask("POST", "/identify", sent("b@x", "2"), None),
        ask("POST", "/identify/batch", [sent("b@x", "1"), sent("c@x", "3")]),
        ask("DELETE", "/contacts/1", label=" "),
    ]
    assert [reply.status for reply in replies] == [200, 200, 200, 200, 204]
    one, two, three, batch, deletion = (reply.headers["x-request-id"] for reply in replies)
    assert events(server) == [
        ("contact.created", key, one, LABEL),
        ("contact.created", key, two, LABEL),
        ("contact.created", key, three, None),
        ("pair.seen", key, batch, LABEL),
        ("contact.created", key, batch, LABEL),
        ("contact.deleted", key, deletion, None),
    ]


@pytest.mark.parametrize("label", ["x" * 65, "two\tcolumns"])
def test_label_that_is_no_short_line_is_refused(shop, label):
    server, _, ask = shop
    before = events(server)
    for target, body in (("/identify", sent("z@x", "9")), ("/identify/batch", [sent("z@x", "9")])):
        reply = ask("POST", target, body, label)
        assert reply.status == 400
        assert "X-Source" in reply.error
    assert events(server) == before
