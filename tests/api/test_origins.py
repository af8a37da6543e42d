"""Host, Origin and Sec-Fetch-Site: which requests are refused while no key is needed."""

import json
import re
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from click.testing import CliRunner

from bitespeed.api.operations import OPERATIONS, PAGES
from bitespeed.cli import main
from support import mounted_server
from support.api_keys import bearing, guarded, made
from support.cluster import cluster
from support.server import TIMEOUT, Reply, Server, fresh_email, serve

EXAMPLES = {"{id}": "1", "{name}": "swagger-ui.css"}
REQUESTS = {
    (o.method, re.sub(r"\{\w+\}", lambda part: EXAMPLES[part[0]], o.path)): o
    for o in (*OPERATIONS, *PAGES)
    if o.served_by != "lambda"
}
OPEN = {("GET", "/health"), ("GET", "/ready")}
GUARDED = sorted(REQUESTS.keys() - OPEN)
NAVIGATION = {
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}
MOUNTED_SERVER = (sys.executable, str(Path(mounted_server.__file__)))

OWN_HOSTS = (
    *("localhost", "LOCALHOST:9", "localhost.", "shop.localhost:80", "127.0.0.1", "127.8.9.1:99"),
    *("[::1]", "[::1]:8000", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]:1"),
)
FOREIGN_HOSTS = (
    *("rebind.test", "localhost.rebind.test", "127.0.0.1.rebind.test", "rebind.test:8000"),
    *("0.0.0.0", "128.0.0.1", "[::]", "[::2]", "[::ffff:10.0.0.1]", "2130706433", "127.1"),
    *("", ":8000", "localhost:x", "a@localhost", "localhost, rebind.test", "[127.0.0.1]x"),
    *("xlocalhost", "localhost/", "[::1", "::1"),
)


def ask(server, method, path, body=None, **headers):
    """A request with these headers, a Host among them."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)) as connection:
        connection.putrequest(method, path, skip_host="Host" in names, skip_accept_encoding=True)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        for name, value in names.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())


def identify(server, **headers):
    """The status of an observation; it is checked that a refused one is not written."""
    email = fresh_email()
    reply = ask(server, "POST", "/identify", json.dumps({"email": email}).encode(), **headers)
    is_known = server.ask("GET", f"/contacts?email={email}").status == 200
    assert is_known == (reply.status == 200), reply
    return reply.status


@pytest.mark.parametrize("operation", GUARDED, ids=" ".join)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebind.test"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_foreign_page_is_refused_by_every_operation(server, operation, headers):
    reply = ask(server, *operation, b"{}", **headers)
    assert (reply.status, reply.json["code"]) == (403, "forbidden")
    assert ask(server, *operation, b"{}").status != 403


@pytest.mark.parametrize("operation", sorted(OPEN), ids=" ".join)
def test_health_and_readiness_answer_by_every_name(server, operation):
    assert ask(server, *operation, Host="10.1.2.3:8000").status == 200


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_loopback_host_is_accepted(server, host):
    assert identify(server, Host=host) == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_host_of_another_name_is_refused(server, host):
    status = 400 if set(host) & set("@/ ") else 403  # of no form that a Host may have
    assert identify(server, Host=host) == status
    assert identify(server) == 200
    assert identify(server, Host=host) == status  # also after a good one


def test_host_accepted_last_admits_no_other_host(server):
    for host, status in (("localhost", 200), ("x.test", 403), ("localhost:1", 200)):
        assert identify(server, Host=host) == status
        assert identify(server, Host="rebind.test") == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_own_page_and_typed_address_are_accepted(server, site):
    assert identify(server, Sec_Fetch_Site=site) == 200


@pytest.mark.parametrize(
    "site", ["cross-site", "same-site", "Same-Origin", "", "unknown", "same-origin, cross-site"]
)
def test_every_other_fetch_site_is_refused(server, site):
    assert identify(server, Sec_Fetch_Site=site) == 403


class TestOrigin:
    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("http://localhost:8000", "localhost:8000"),
            ("http://LocalHost:8000", "localhost:8000"),
            ("http://localhost", "localhost:80"),
            ("https://localhost", "localhost"),  # TLS ends before this service
            ("http://[::1]:8000", "[::1]:8000"),
        ],
    )
    def test_origin_equal_to_the_host_is_accepted(self, server, origin, host):
        assert identify(server, Origin=origin, Host=host) == 200

    @pytest.mark.parametrize(
        "origin",
        [
            *("http://localhost:8001", "http://localhost", "http://127.0.0.1:8000", "null", ""),
            *("http://rebind.test", "ftp://localhost:8000", "localhost:8000", "http://localhost:"),
            *("chrome-extension://localhost:8000", "http://localhost:8000/", "//localhost:8000"),
        ],
    )
    def test_every_other_origin_is_refused(self, server, origin):
        assert identify(server, Origin=origin, Host="localhost:8000") == 403
        same = {"Origin": origin, "Host": "localhost:8000", "Sec_Fetch_Site": "same-origin"}
        assert identify(server, **same) == 403


class TestNavigation:
    def test_link_of_another_site_opens_the_docs(self, server):
        headers = {name.replace("-", "_"): value for name, value in NAVIGATION.items()}
        assert ask(server, "GET", "/docs", **headers).status == 200
        assert ask(server, "GET", "/docs", Host="rebind.test", **headers).status == 403

    @pytest.mark.parametrize("changed", ["Sec_Fetch_Mode", "Sec_Fetch_Dest"])
    def test_frame_or_script_of_another_site_is_refused(self, server, changed):
        headers = {name.replace("-", "_"): value for name, value in NAVIGATION.items()}
        value = {"Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "iframe"}[changed]
        assert ask(server, "GET", "/docs", **headers | {changed: value}).status == 403

    @pytest.mark.parametrize(
        "operation", [o for o in GUARDED if o != ("GET", "/docs")], ids=" ".join
    )
    def test_link_of_another_site_opens_nothing_else(self, server, operation):
        headers = {name.replace("-", "_"): value for name, value in NAVIGATION.items()}
        assert ask(server, *operation, b"{}", **headers).status == 403


class TestElsewhere:
    def test_configured_names_are_accepted_as_host(self, tmp_path):
        with serve(tmp_path, BITESPEED_HOSTNAMES=" Shop.test, 10.1.2.3 ,::2") as server:
            for host in ("shop.test", "SHOP.test:80", "10.1.2.3:8000", "[::2]", "localhost"):
                assert identify(server, Host=host) == 200
            for host in ("other.test", "x.shop.test", "shop.test.x", "10.1.2.4"):
                assert identify(server, Host=host) == 403
            assert identify(server, Host="shop.test", Origin="https://shop.test") == 200
            assert identify(server, Host="shop.test", Origin="https://shop.test:8001") == 403

    def test_public_server_checks_origin_but_not_host(self, tmp_path):
        with serve(tmp_path, BITESPEED_HOST="0.0.0.0", BITESPEED_PUBLIC="true") as server:
            assert identify(server, Host="shop.test") == 200
            assert identify(server, Host="shop.test", Origin="http://shop.test") == 200
            assert identify(server, Host="shop.test", Origin="http://other.test") == 403
            assert identify(server, Host="shop.test", Sec_Fetch_Site="cross-site") == 403

    def test_public_server_with_names_checks_host(self, tmp_path):
        settings = {"BITESPEED_PUBLIC": "true", "BITESPEED_HOSTNAMES": "shop.test"}
        with serve(tmp_path, BITESPEED_HOST="0.0.0.0", **settings) as server:
            assert identify(server, Host="shop.test") == 200
            assert identify(server, Host="rebind.test") == 403

    def test_request_with_a_key_comes_from_anywhere(self, tmp_path):
        key, text = made("default")
        foreign = {"Host": "shop.test", "Origin": "http://x.test", "Sec_Fetch_Site": "cross-site"}
        with guarded(tmp_path, f"sqlite:///{tmp_path / 'contacts.db'}", key) as server:
            body = b'{"email": "mcfly@hillvalley.edu"}'
            assert ask(server, "POST", "/identify", body, **foreign).status == 401
            assert ask(server, "POST", "/identify", body, **foreign, **bearing(text)).status == 200
            assert ask(server, "GET", "/docs", **foreign).status == 200

    def test_mounted_application_leaves_host_to_the_outer_one(self, tmp_path):
        database = tmp_path / "contacts.db"
        with cluster(tmp_path, database=f"sqlite:///{database}", command=MOUNTED_SERVER) as servers:
            server = Server(servers.members[0].port, database, tmp_path / "server-0.log", 0)
            for path in ("/people/identify", "/identify"):
                body = b'{"email": "mcfly@hillvalley.edu"}'
                assert ask(server, "POST", path, body, Host="shop.test").status == 200
                headers = {"Host": "shop.test", "Origin": "http://other.test"}
                assert ask(server, "POST", path, body, **headers).status == 403

    @pytest.mark.parametrize("names", ["http://shop.test", "shop.test:80", "a b", "*.test", "x/y"])
    def test_hostname_with_scheme_or_port_is_refused(self, names):
        environ = {"BITESPEED_HOSTNAMES": names}
        done = CliRunner(env=environ).invoke(main, ["serve", "--port", "0"])
        assert done.exit_code == 2
        assert "BITESPEED_HOSTNAMES must be names without scheme and port" in done.stderr


def test_pages_say_what_browsers_may_do_with_them(server):
    docs = ask(server, "GET", "/docs").headers
    policy = docs["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"script-src[^;]*(unsafe|\*|http)", policy)
    for path in ("/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json"):
        assert ask(server, "GET", path).headers["x-content-type-options"] == "nosniff"
