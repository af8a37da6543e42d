"""Canonical forms of emails and phone numbers."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitespeed.errors import InvalidInput
from bitespeed.model.identifiers import (
    MAX_EMAIL,
    MAX_PHONE,
    MAX_RAW,
    Observation,
    observe,
    parse_email,
    parse_phone,
)

NBSP = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("mcfly@hillvalley.edu", "mcfly@hillvalley.edu"),
        ("  McFly@HillValley.EDU\t\r\n", "mcfly@hillvalley.edu"),
        (f"{NBSP}a@b{NBSP}", "a@b"),
        ("first.last+tag@sub.domain.example", "first.last+tag@sub.domain.example"),
        ("o'brien@[10.0.0.1]", "o'brien@[10.0.0.1]"),
        ("用户@例子.广告", "用户@例子.广告"),
        ("ΟΔΟΣ@X.GR", "οδος@x.gr"),
        ("İ@x.tr", "i̇@x.tr"),
        ("STRASSE@ẞ.DE", "strasse@ß.de"),
    ],
)
def test_an_email_is_trimmed_and_lower_case(sent, canonical):
    assert parse_email(sent) == canonical


@pytest.mark.parametrize(
    "sent",
    [
        "mcfly",
        "@hillvalley.edu",
        "mcfly@",
        "@",
        "a@b@c",
        '"a@b"@c',
        "a@b..c",
        "a@.b",
        "a@b.",
        "a b@c",
        "a@b c",
        f"a{NBSP}b@c",
        "a\x00@b",
        "a\n@b",
        "a@b\x7f",
        "a\u200b@b",
        "a\u2028@b",
        "a\ud800@b",
        "\udfff@b",
    ],
    ids=ascii,
)
def test_an_email_that_is_none_is_refused(sent):
    with pytest.raises(InvalidInput, match=r"^email is not an email address$"):
        parse_email(sent)


@pytest.mark.parametrize(
    ("sent", "canonical"),
    [
        ("123456", "123456"),
        ("  123456\n", "123456"),
        ("+1 (415) 555-2671", "+14155552671"),
        ("415.555.2671", "4155552671"),
        (f"12{NBSP}34\t56", "123456"),
        ("0", "0"),
        ("00", "00"),
    ],
)
def test_phone_is_its_digits_and_an_optional_plus(sent, canonical):
    assert parse_phone(sent) == canonical


@pytest.mark.parametrize(
    "sent",
    [
        "+",
        "-",
        "()",
        "++1",
        "1+2",
        "12+",
        "12x34",
        "123456 ext 7",
        "a@b",
        "1e5",
        "1/2",
        "٣٤٥",
        "\uff11\uff12\uff13",
        "²",
        "1\x002",
        "1\u200b2",
        "1\n2",
        "1\ud800",
    ],
    ids=ascii,
)
def test_a_phone_that_is_none_is_refused(sent):
    with pytest.raises(InvalidInput, match=r"^phoneNumber is not a phone number$"):
        parse_phone(sent)


@pytest.mark.parametrize("blank", [None, "", " ", "\t\r\n", NBSP, "\u3000", "\x1f"], ids=ascii)
def test_a_blank_value_is_no_value(blank):
    assert observe(blank, "1") == Observation(None, "1")
    assert observe("a@b", blank) == Observation("a@b", None)


@pytest.mark.parametrize("email", [None, "", " "])
@pytest.mark.parametrize("phone", [None, "", " "])
def test_email_or_phone_is_required(email, phone):
    with pytest.raises(InvalidInput, match=r"^Either email or phoneNumber is required$"):
        observe(email, phone)


@pytest.mark.parametrize(
    ("email", "phone"), [("a@b", "x"), ("x", "1"), ("x", None), (None, "x"), ("x", " ")]
)
def test_bad_value_is_refused_beside_any_other_value(email, phone):
    with pytest.raises(InvalidInput, match="is not a"):
        observe(email, phone)


@pytest.mark.parametrize(
    ("number", "phone"), [(123456, "123456"), (0, "0"), (10**49, "1" + "0" * 49)]
)
def test_a_whole_number_is_its_digits(number, phone):
    assert observe(None, number) == Observation(None, phone)


def test_a_negative_number_is_refused():
    with pytest.raises(InvalidInput, match="phoneNumber is not a phone number"):
        observe(None, -1)


def test_a_number_beyond_the_longest_phone_is_refused():
    with pytest.raises(InvalidInput, match="phoneNumber is longer than 50 digits"):
        observe(None, 10**50)


def test_an_email_has_at_most_255_characters():
    longest = "a" * (MAX_EMAIL - 4) + "@b.c"
    assert parse_email(longest) == longest
    with pytest.raises(InvalidInput, match="email is longer than 255 characters"):
        parse_email("a" + longest)


def test_the_limit_counts_the_lower_case_form():
    assert len("İ".lower()) == 2
    with pytest.raises(InvalidInput, match="email is longer than 255 characters"):
        parse_email("İ" * 200 + "@b.c")


def test_a_phone_has_at_most_50_characters():
    longest = "+" + "1" * (MAX_PHONE - 1)
    assert parse_phone("-".join(longest)) == longest
    with pytest.raises(InvalidInput, match="phoneNumber is longer than 50 digits"):
        parse_phone(longest + "1")


PADDING_BEYOND_LIMIT = [" " * MAX_RAW, "\t" * MAX_RAW]


@pytest.mark.parametrize("padding", PADDING_BEYOND_LIMIT, ids=["spaces", "tabs"])
def test_an_email_padded_beyond_255_characters_is_refused(padding):
    with pytest.raises(InvalidInput, match="email is longer"):
        observe("a@b" + padding, None)


@pytest.mark.parametrize("padding", PADDING_BEYOND_LIMIT, ids=["spaces", "tabs"])
def test_a_phone_padded_beyond_255_characters_is_refused(padding):
    with pytest.raises(InvalidInput, match="phoneNumber is longer"):
        observe(None, "1" + padding + "1")
    with pytest.raises(InvalidInput, match="phoneNumber is longer"):
        observe(None, "1" + padding)


@pytest.mark.parametrize(
    ("email", "phone", "raw_email", "raw_phone"),
    [
        ("a@b", "1", None, None),
        ("A@b", "1", "A@b", None),
        ("a@b", " 1", None, " 1"),
        ("a@b ", "1-2", "a@b ", "1-2"),
        ("a@b", 12, None, None),
        ("A@b", " ", "A@b", None),
        (" ", "+ 1", None, "+ 1"),
    ],
)
def test_raw_value_is_kept_only_when_it_differs(email, phone, raw_email, raw_phone):
    observation = observe(email, phone)
    assert (observation.raw_email, observation.raw_phone) == (raw_email, raw_phone)


@pytest.mark.parametrize(
    ("sent", "region", "canonical"),
    [
        ("(415) 555-2671", "US", "+14155552671"),
        (4155552671, "US", "+14155552671"),
        ("1 415 555 2671", "US", "+14155552671"),
        ("+1 415 555 2671", "US", "+14155552671"),
        ("011 44 20 7946 0018", "US", "+442079460018"),
        ("+44 20 7946 0018", "US", "+442079460018"),
        ("020 7946 0018", "GB", "+442079460018"),
        ("98765 43210", "IN", "+919876543210"),
        ("123456", "US", "123456"),
        (123456, "US", "123456"),
        ("0000", "US", "0000"),
        ("+999 1234", "US", "+9991234"),
        ("911", "US", "911"),
        ("9" * 50, "US", "9" * 50),
        ("(415) 555-2671", None, "4155552671"),
    ],
)
def test_number_valid_in_the_region_becomes_e164(sent, region, canonical):
    assert observe(None, sent, region).phone == canonical


def test_national_and_international_spelling_are_one_phone():
    spellings = ["(415) 555-2671", "+1-415-555-2671", "1.415.555.2671", 14155552671]
    assert {observe(None, sent, "US").phone for sent in spellings} == {"+14155552671"}


def test_raw_phone_is_kept_beside_its_e164_form():
    assert observe(None, 4155552671, "US").raw_phone == "4155552671"
    assert observe(None, "+14155552671", "US").raw_phone is None


@pytest.mark.parametrize("region", ["US", "XX", ""])
def test_a_bad_phone_is_refused_with_any_region(region):
    with pytest.raises(InvalidInput, match="phoneNumber is not a phone number"):
        observe(None, "call me", region)


PADDING = st.text(" \t\r\n\u3000" + NBSP, max_size=3)
WORD = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="@"), min_size=1)
EMAILS = st.builds("{0}{1}@{2}.{3}{4}".format, PADDING, WORD, WORD, WORD, PADDING)
PHONES = st.builds(
    "{0}{1}{2}".format,
    PADDING,
    st.sampled_from(["", "+", "00", "011", "0", "1", "+1", "44", "+44", "+549", "+39", "+55"]),
    st.text("0123456789 -().", min_size=1, max_size=25),
)
REGIONS = st.sampled_from([None, "US", "GB", "IN", "DE", "IT", "AR", "BR", "MX", "KZ", "CI", "SM"])


def canonical_or_reject(parse, *sent):
    try:
        return parse(*sent)
    except InvalidInput:
        return None


@given(st.one_of(EMAILS, st.text()))
def test_canonicalising_an_email_twice_changes_nothing(sent):
    email = canonical_or_reject(parse_email, sent)
    assert email is None or parse_email(email) == email


@given(st.one_of(PHONES, st.text()), REGIONS)
def test_canonicalising_a_phone_twice_changes_nothing(sent, region):
    phone = canonical_or_reject(parse_phone, sent, region)
    assert phone is None or parse_phone(phone, region) == phone


@given(st.one_of(EMAILS, st.text()), st.one_of(PHONES, st.text()), REGIONS)
def test_canonical_form_is_its_own_canonical_form(email, phone, region):
    observation = canonical_or_reject(observe, email, phone, region)
    if observation is not None:
        again = observe(observation.email, observation.phone, region)
        assert again == Observation(observation.email, observation.phone)


@given(st.text())
def test_any_text_is_canonical_blank_or_refused_in_words(sent):
    for parse in (parse_email, parse_phone):
        canonical = canonical_or_reject(parse, sent)
        assert canonical is None or (0 < len(canonical) <= MAX_EMAIL and canonical.isprintable())


def test_every_character_stays_the_same_when_made_canonical_twice():
    changed = []
    for character in map(chr, range(sys.maxunicode + 1)):
        email = canonical_or_reject(parse_email, f"{character}a{character}@b{character}")
        if email is not None and parse_email(email) != email:
            changed.append(character)
    assert changed == []
