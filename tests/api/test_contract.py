"""The published contract, through a real server, and through the Lambda function under AWS's
emulator, on PostgreSQL directly and by the Data API.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from support.backends import cleared, prepared
from support.contract_examples import CASES
from support.errors import NEITHER
from support.lambda_emulator import build, emulated
from support.log_lines import unexpected_errors
from support.postgrest import create_roles, postgrest
from support.server import Server, fresh_email, fresh_phone
from support.server import serve as serve_http

WAYS = ("http", "http api", "rest api", "data api")

Serve = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return build(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def direct(postgres):
    """A database of the module's own."""
    with postgres.fresh_database() as url:
        create_roles(url)  # before the schema, which lets them call its functions
        prepared(url)
        yield url


@pytest.fixture(scope="module", params=WAYS)
def serve(request) -> Iterator[Serve]:
    """Starts what answers, on an empty database, or on the one that it left when the folder is
    the same.
    """
    way = request.param
    if way == "http":
        yield serve_http
        return
    package, direct = map(request.getfixturevalue, ("package", "direct"))
    used: set[Path] = set()

    @contextmanager
    def function(folder: Path, **environ: str) -> Iterator[Server]:
        if folder not in used:
            cleared(direct)
            used.add(folder)
        with emulated(package, folder, direct=direct, **database | environ) as function:
            function.kind = way if way != "data api" else "function url"
            yield function

    if way == "data api":
        with postgrest(direct) as api:
            database = {"SUPABASE_URL": api.url, "SUPABASE_KEY": api.service_key}
            yield function
    else:
        database = {"DATABASE_URL": direct}
        yield function


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    """What answers, for all that may share it; it must get through that without a traceback."""
    with serve(tmp_path_factory.mktemp("server")) as server:
        yield server
        assert unexpected_errors(server.log()) == []


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_published_example(case, serve, tmp_path):
    with serve(tmp_path) as server:
        for step in case["steps"]:
            reply = server.post("/identify", step["request"])
            assert reply.status == step["expect_status"]
            expected = step.get("expect") or step["expect_body"]
            assert reply.json == with_ids(expected, server)
        if "rows_after" in case:
            assert contact_counts(server) == case["rows_after"]


def with_ids(expected, server):
    """The expected answer with the ids that the symbols stand for."""
    text = json.dumps(expected)
    for position, (id_,) in enumerate(server.query("select id from contact order by id"), 1):
        text = text.replace(f'"${position}"', str(id_))
    return json.loads(text)


def contact_counts(server):
    count = "select count(*), count(*) filter (where linkprecedence = 'primary') from contact"
    ((total, primary),) = server.query(count)
    return {"total": total, "primary": primary}


class TestOrder:
    def test_values_and_ids_come_by_age_each_once(self, server):
        phone = fresh_phone()
        emails = [fresh_email() for _ in range(12)]
        phones = [phone]
        for email in emails:
            answer = server.identify(email, phone)
        for email in reversed(emails):
            phones.append(fresh_phone())
            answer = server.identify(email, phones[-1])
        ids = [id_ for (id_,) in server.query("select id from contact order by id desc limit 24")]
        assert answer == {
            "primaryContatctId": ids[-1],
            "emails": emails,
            "phoneNumbers": phones,
            "secondaryContactIds": ids[-2::-1],
        }

    def test_primary_values_come_first_even_when_only_one(self, server):
        phone, first, second = fresh_phone(), fresh_email(), fresh_email()
        server.identify(None, phone)
        server.identify(first, phone)
        assert server.identify(second, phone)["emails"] == [first, second]

    @pytest.mark.parametrize("elder", [0, 1], ids=["email's", "phone's"])
    def test_after_a_merge_the_older_identity_comes_first(self, server, elder):
        people = [(fresh_email(), fresh_phone()), (fresh_email(), fresh_phone())]
        old, new = (server.identify(*person)["primaryContatctId"] for person in people)
        merged = server.identify(people[elder][0], people[1 - elder][1])
        assert merged == {
            "primaryContatctId": old,
            "emails": [people[0][0], people[1][0]],
            "phoneNumbers": [people[0][1], people[1][1]],
            "secondaryContactIds": [new],
        }

    def test_merged_contacts_are_interleaved_by_age(self, server):
        (e1, p1), (e2, p2) = [(fresh_email(), fresh_phone()) for _ in range(2)]
        e3, e4 = fresh_email(), fresh_email()
        first, second = server.identify(e1, p1), server.identify(e2, p2)
        third = server.identify(e3, p2)["secondaryContactIds"]
        fourth = server.identify(e4, p1)["secondaryContactIds"]
        merged = server.identify(e1, p2)
        assert merged["emails"] == [e1, e2, e3, e4]
        assert merged["primaryContatctId"] == first["primaryContatctId"]
        assert merged["secondaryContactIds"] == [second["primaryContatctId"], *third, *fourth]


class TestMerge:
    def test_everything_points_straight_at_the_oldest(self, server):
        people = [(fresh_email(), fresh_phone()) for _ in range(4)]
        for email, phone in people:
            server.identify(email, phone)
            server.identify(fresh_email(), phone)
        for (_, phone), (email, _) in pairwise(people):
            answer = server.identify(email, phone)
        ids = ", ".join(map(str, answer["secondaryContactIds"]))
        linked = server.query(
            f"select distinct linkedid, linkprecedence from contact where id in ({ids})"
        )
        assert len(answer["secondaryContactIds"]) == 7
        assert linked == [(answer["primaryContatctId"], "secondary")]

    def test_no_contact_is_added(self, server):
        people = [(fresh_email(), fresh_phone()) for _ in range(2)]
        for person in people:
            server.identify(*person)
        before = contact_counts(server)
        server.identify(people[1][0], people[0][1])
        after = contact_counts(server)
        assert after == {"total": before["total"], "primary": before["primary"] - 1}

    def test_a_later_repeat_of_the_joining_request_writes_nothing(self, server):
        people = [(fresh_email(), fresh_phone()) for _ in range(2)]
        for person in people:
            server.identify(*person)
        merged = server.identify(people[1][0], people[0][1])
        before = server.tables()
        assert server.identify(people[1][0], people[0][1]) == merged
        assert server.tables() == before


class TestNothingNew:
    def test_email_and_phone_of_different_contacts_add_no_contact(self, server):
        e1, e2, p1, p2 = fresh_email(), fresh_email(), fresh_phone(), fresh_phone()
        server.identify(e1, p1)
        server.identify(e2, p1)
        answer = server.identify(e1, p2)
        before = server.tables()
        assert server.identify(e2, p2) == answer
        after = server.tables()
        changed = {name for name in after if after[name] != before[name]}
        assert changed - {"sqlite_sequence"} == {"event_record", "identity"}
        assert len(after["event_record"]) == len(before["event_record"]) + 1
        assert server.identify(e2, p2) == answer
        assert server.tables() == after

    @pytest.mark.parametrize("absent", [..., None, "", " \t\n"])
    @pytest.mark.parametrize("missing", ["email", "phoneNumber"])
    def test_a_half_filled_request_writes_nothing(self, server, missing, absent):
        whole = {"email": fresh_email(), "phoneNumber": fresh_phone()}
        answer = server.post("/identify", whole).contact
        half = whole | {missing: absent}
        if absent is ...:
            del half[missing]
        before = server.tables()
        assert server.post("/identify", half).contact == answer
        assert server.tables() == before


class TestAbsent:
    @pytest.mark.parametrize("email", [None, "", " ", "\t\r\n", "\N{NO-BREAK SPACE}"])
    @pytest.mark.parametrize("phone", [None, "", " ", "\t\r\n", "\N{NO-BREAK SPACE}"])
    def test_null_empty_and_blank_are_no_values(self, server, email, phone):
        reply = server.post("/identify", {"email": email, "phoneNumber": phone})
        assert (reply.status, reply.json) == (400, {"error": NEITHER})

    def test_an_absent_value_is_stored_as_null(self, server):
        email = fresh_email()
        server.post("/identify", {"email": email, "phoneNumber": " "})
        assert stored(server, email) == [(email, None, None, None)]


class TestUnderstanding:
    def test_an_integer_phone_number_is_its_digits(self, server):
        email, phone = fresh_email(), fresh_phone()
        answer = server.identify(email, int(phone))
        assert answer["phoneNumbers"] == [phone]
        assert server.identify(None, phone) == answer
        assert stored(server, email) == [(email, phone, None, None)]

    def test_zero_is_a_phone_number(self, server):
        assert server.identify(None, 0)["phoneNumbers"] == ["0"]
        assert server.identify(None, "0") == server.identify(None, 0)

    def test_integer_of_fifty_digits_is_kept_exactly(self, server):
        digits = "1234567890" * 5
        assert server.identify(None, int(digits))["phoneNumbers"] == [digits]

    @pytest.mark.parametrize(
        "others", [{"orderId": 7}, {"contact": {"email": "a@b.c"}}, {"Email": "a@b.c"}, {"": []}]
    )
    def test_other_members_are_ignored(self, server, others):
        email = fresh_email()
        reply = server.post("/identify", {"email": email} | others)
        assert reply.contact["emails"] == [email]
        assert reply.contact["phoneNumbers"] == []

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Content-Type": ""},
            {"Content-Type": "application/json"},
            {"Content-Type": "application/json; charset=utf-8"},
            {"Content-Type": "Application/JSON"},
            {"content-type": "application/vnd.shop+json"},
        ],
    )
    def test_a_missing_content_type_is_taken_as_json(self, server, headers):
        email = fresh_email()
        reply = server.ask("POST", "/identify", json.dumps({"email": email}).encode(), headers)
        assert reply.contact["emails"] == [email]

    def test_blanks_around_the_body_do_no_harm(self, server):
        assert server.ask("POST", "/identify", b' \r\n\t{"phoneNumber": 5}\n ').status == 200

    def test_escapes_in_json_are_what_they_stand_for(self, server):
        email = fresh_email()
        escaped = "".join(f"\\u{ord(c):04x}" for c in email)
        reply = server.ask("POST", "/identify", b'{"email": "%s"}' % escaped.encode())
        assert reply.contact["emails"] == [email]


class TestCanonical:
    def test_an_email_is_trimmed_and_in_lower_case(self, server):
        email = fresh_email()
        sent = f"  {email.upper()}\n"
        answer = server.identify(sent)
        assert answer["emails"] == [email]
        assert server.identify(email) == answer
        assert stored(server, email) == [(email, None, sent, None)]

    @pytest.mark.parametrize(
        ("form", "canonical"),
        [
            ("{} ", "{}"),
            ("({}) 1-2.3", "{}123"),
            ("+{}", "+{}"),
            (" + {} - 4", "+{}4"),
            ("00{}", "00{}"),
            ("{}\N{NO-BREAK SPACE}7", "{}7"),
        ],
    )
    def test_phone_is_its_digits_and_a_leading_plus(self, server, form, canonical):
        number, email = fresh_phone(), fresh_email()
        sent, expected = form.format(number), canonical.format(number)
        answer = server.identify(email, sent)
        assert answer["phoneNumbers"] == [expected]
        assert server.identify(None, expected) == answer
        kept = sent if sent != expected else None
        assert stored(server, email) == [(email, expected, None, kept)]

    def test_raw_value_is_stored_only_when_it_differs(self, server):
        email, phone = fresh_email(), fresh_phone()
        server.identify(email, phone)
        assert stored(server, email) == [(email, phone, None, None)]

    def test_the_same_values_in_other_spellings_write_nothing(self, server):
        email, phone = fresh_email(), fresh_phone()
        answer = server.identify(email, phone)
        before = server.tables()
        assert server.identify(email.title(), f"({phone[:3]}) {phone[3:]}") == answer
        assert server.tables() == before

    def test_the_longest_values_are_taken(self, server):
        email = fresh_email()
        longest = "l" * (255 - len(email)) + email
        phone = "+" + fresh_phone().rjust(49, "1")
        answer = server.identify(longest, phone)
        assert (answer["emails"], answer["phoneNumbers"]) == ([longest], [phone])

    @pytest.mark.parametrize("bad", [{"email": "nobody"}, {"phoneNumber": "nothing"}])
    def test_bad_value_is_refused_beside_any_other_value(self, server, bad):
        good = {"email": fresh_email(), "phoneNumber": fresh_phone()}
        server.post("/identify", good)
        before = server.tables()
        assert server.post("/identify", good | bad).status == 400
        assert server.tables() == before


def stored(server: Server, email: str) -> list[tuple[str | None, ...]]:
    columns = "email, phone, raw_email, raw_phone"
    return server.query(f"select {columns} from contact_record where email = ?", email)


def test_region_makes_e164_of_valid_numbers(serve, tmp_path):
    with serve(tmp_path, BITESPEED_REGION="US") as server:
        answer = server.identify("doc@hillvalley.edu", "(650) 253-0000")
        assert answer["phoneNumbers"] == ["+16502530000"]
        assert server.identify(None, 6502530000) == answer
        assert server.identify(None, "+1 650 253 0000") == answer
        assert server.identify(None, "123456")["phoneNumbers"] == ["123456"]


def test_answered_contacts_survive_a_restart(serve, tmp_path):
    with serve(tmp_path) as server:
        server.identify("lorraine@hillvalley.edu", "123456")
        answer = server.identify("mcfly@hillvalley.edu", "123456")
    with serve(tmp_path) as server:
        assert server.identify(None, "123456") == answer


def test_the_view_has_the_published_columns(server):
    server.identify(fresh_email(), fresh_phone())
    published = "id phonenumber email linkedid linkprecedence createdat updatedat deletedat"
    assert server.columns("contact") == published.split()
