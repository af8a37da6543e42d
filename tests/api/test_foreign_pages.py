"""Web pages of others in a real browser: while no key is needed they can neither read nor write."""

import json
import re
import time
from urllib.parse import quote

import pytest

from support.api_keys import guarded, made
from support.browser import REBINDING, browser, site
from support.server import TIMEOUT, fresh_email, serve

SEND = {
    "blob": "fetch({url}, {{method: 'POST', mode: 'no-cors', body: new Blob([{body}])}})",
    "text": "fetch({url}, {{method: 'POST', mode: 'no-cors', body: {body}}})",
    "beacon": "new Promise(done => done(navigator.sendBeacon({url}, new Blob([{body}]))))",
}
"""Ways in which a page sends a body to any other site without its consent."""

FETCH = "fetch({url}).then(r => r.text().then(text => [r.status, text]))"
FRAME = """new Promise(done => {{
    const frame = document.createElement("iframe");
    frame.onload = done;
    frame.src = {url};
    document.body.append(frame);
}}).then(() => "loaded")"""
LINK = """{{
    const link = document.createElement("a");
    link.href = {url};
    document.body.append(link);
    link.click();
}}"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def foreign_site():
    with site() as url:
        yield url


def send(server, page, way, path, value, base=None):
    """Send a value from the page; returns when the server has answered it."""
    before, base = answered(server, path), base or server.url
    script = SEND[way].format(url=json.dumps(f"{base}{path}"), body=json.dumps(json.dumps(value)))
    page.run(script)
    deadline = time.monotonic() + TIMEOUT
    while answered(server, path) == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answered(server, path):
    """How many requests to the path have been answered."""
    text = server.ask("GET", "/metrics").body.decode()
    lines = re.findall(rf'requests_total{{endpoint="{path[1:]}",[^}}]*}} (\S+)', text)
    assert lines
    return sum(map(float, lines))


def is_known(server, email):
    reply = server.ask("GET", f"/contacts?email={quote(email)}")
    assert reply.status in {200, 404}
    return reply.status == 200


@pytest.mark.parametrize("way", SEND)
def test_page_of_another_port_cannot_identify(server, chromium, foreign_site, way):
    email = fresh_email()
    send(server, chromium.open(foreign_site), way, "/identify", {"email": email})
    assert not is_known(server, email)


@pytest.mark.parametrize("way", SEND)
def test_page_of_another_port_cannot_erase(server, chromium, foreign_site, way):
    email = fresh_email()
    server.identify(email)
    send(server, chromium.open(foreign_site), way, "/erase", {"email": email})
    assert is_known(server, email)


@pytest.mark.parametrize("way", ["blob", "beacon"])
def test_page_of_the_same_port_identifies_and_erases(server, chromium, way):
    """The negative control: what is sent is right, but for where it comes from."""
    page, email = chromium.open(f"{server.url}/docs"), fresh_email()
    send(server, page, way, "/identify", {"email": email})
    assert is_known(server, email)
    send(server, page, way, "/erase", {"email": email})
    assert not is_known(server, email)


def test_page_under_a_rebinding_name_reads_and_writes_nothing(server, chromium):
    email = fresh_email()
    server.identify(email)
    base = f"http://{REBINDING}:{server.port}"
    page = chromium.open(f"{base}/health")
    for path in (f"/contacts?email={quote(email)}", "/metrics", "/docs", "/openapi.json"):
        status, text = page.run(FETCH.format(url=json.dumps(path)))
        assert status == 403
        assert email not in text
    other = fresh_email()
    send(server, page, "blob", "/identify", {"email": other}, base)
    send(server, page, "blob", "/erase", {"email": email}, base)
    assert is_known(server, email)
    assert not is_known(server, other)


def test_page_under_a_known_name_reads_and_writes(chromium, tmp_path):
    """The negative control of a rebinding name."""
    with serve(tmp_path, BITESPEED_HOSTNAMES=f"shop.test, {REBINDING}") as server:
        email, base = fresh_email(), f"http://{REBINDING}:{server.port}"
        page = chromium.open(f"{base}/health")
        send(server, page, "blob", "/identify", {"email": email}, base)
        status, text = page.run(FETCH.format(url=json.dumps(f"/contacts?email={quote(email)}")))
        assert status == 200
        assert email in text


def test_docs_page_opens_by_a_link_and_identifies(server, chromium, foreign_site):
    page = chromium.open(foreign_site)
    page.run(LINK.format(url=json.dumps(f"{server.url}/docs")))
    page.wait_until_loaded()
    shown = "document.querySelectorAll('.opblock').length"
    wait = f"new Promise(f => {{ const g = () => {shown} ? f({shown}) : setTimeout(g, 20); g(); }})"
    assert page.run(wait) > 5  # its scripts and styles run under its own policy
    email = fresh_email()
    send(server, page, "blob", "/identify", {"email": email})
    assert is_known(server, email)


def test_docs_page_shows_in_no_frame(chromium, foreign_site, tmp_path):
    key, _ = made()
    with guarded(tmp_path, f"sqlite:///{tmp_path / 'contacts.db'}", key) as server:
        for url, shown in (
            (f"{server.url}/docs", "chrome-error://chromewebdata/"),
            (f"{server.url}/health", f"{server.url}/health"),  # the negative control
        ):
            page = chromium.open(foreign_site)
            page.run(FRAME.format(url=json.dumps(url)))
            assert page.frames() == [shown]
