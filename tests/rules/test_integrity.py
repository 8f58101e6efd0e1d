from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.integrity import (
    ALGORITHMS,
    check_algorithm,
    mismatch,
    parse_integrity,
)

SRI = ["sha256", "sha384", "sha512"]
ONE, TWO = b"interesting", b"things"


def hex_of(name: str, data: bytes = ONE) -> str:
    return hashlib.new(name, data).hexdigest()


def base64_of(name: str, data: bytes = ONE) -> str:
    return base64.b64encode(hashlib.new(name, data).digest()).decode()


def sri(name: str, data: bytes = ONE) -> str:
    return f"{name}-{base64_of(name, data)}"


def parsed(value: object) -> dict[str, list[str]]:
    return parse_integrity(value, where="integrity")


def refused(value: object) -> str:
    with pytest.raises(BadRequestError) as caught:
        parse_integrity(value, where="requests[3].integrity")
    message = str(caught.value)
    assert message.startswith("requests[3].integrity")
    assert "For example: " in message
    return message


def test_the_algorithms_are_those_of_a_fixed_length() -> None:
    assert {
        "md5",
        "sha1",
        "sha224",
        "sha256",
        "sha384",
        "sha512",
        "sha3_224",
        "sha3_256",
        "sha3_384",
        "sha3_512",
        "blake2b",
        "blake2s",
    } == ALGORITHMS


@pytest.mark.parametrize("name", SRI)
def test_metadata_becomes_the_hex_digest(name: str) -> None:
    assert parsed(sri(name)) == {name: [hex_of(name)]}


def test_the_example_of_the_specification_is_read() -> None:
    value = "sha384-H8BRh8j48O9oYatfu5AZzq6A9RINhZO5H16dQZngK7T62em8MUt1FLm52t+eX6xO"
    digest = (
        "1fc05187c8f8f0ef6861ab5fbb9019ceae80f5120d8593b9"
        "1f5e9d4199e02bb4fad9e9bc314b7514b9b9dadf9e5fac4e"
    )
    assert parsed(value) == {"sha384": [digest]}


@pytest.mark.parametrize("name", ["SHA256", "Sha256"])
def test_metadata_names_are_read_in_any_case(name: str) -> None:
    assert parsed(f"{name}-{base64_of('sha256')}") == {"sha256": [hex_of("sha256")]}


def test_base64url_and_missing_padding_are_read() -> None:
    digest = bytes([0xFB, 0xFF, 0xBF] * 10 + [0xFF, 0xFE])
    text = base64.urlsafe_b64encode(digest).decode()
    assert "-" in text
    assert "_" in text
    for value in (text, text.rstrip("=")):
        assert parsed(f"sha256-{value}") == {"sha256": [digest.hex()]}


@pytest.mark.parametrize("options", ["?", "?ct=text/html", "?a-b?c=sha512-x"])
def test_options_are_ignored(options: str) -> None:
    assert parsed(sri("sha256") + options) == parsed(sri("sha256"))


@pytest.mark.parametrize("space", [" ", "\n", "\t  \r\n", "\f"])
def test_white_space_separates(space: str) -> None:
    value = space + sri("sha256") + space + sri("sha256", TWO) + space
    assert parsed(value) == {"sha256": [hex_of("sha256"), hex_of("sha256", TWO)]}


@pytest.mark.parametrize(
    ("names", "strongest"),
    [
        (["sha256", "sha384"], "sha384"),
        (["sha384", "sha256"], "sha384"),
        (["sha512", "sha384", "sha256"], "sha512"),
        (["sha256", "sha512", "sha256"], "sha512"),
    ],
)
def test_only_the_strongest_counts(names: list[str], strongest: str) -> None:
    value = " ".join(sri(name) for name in names)
    assert parsed(value) == {strongest: [hex_of(strongest)]}


def test_a_digest_that_is_said_twice_is_kept_once() -> None:
    assert parsed(f"{sri('sha256')} {sri('sha256')}") == parsed(sri("sha256"))
    again = {"sha256": [hex_of("sha256"), hex_of("sha256").upper()]}
    assert parsed(again) == parsed(sri("sha256"))


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_a_dict_takes_every_algorithm(name: str) -> None:
    assert parsed({name: hex_of(name)}) == {name: [hex_of(name)]}


def test_all_algorithms_of_a_dict_are_kept() -> None:
    value = {"md5": hex_of("md5"), "sha512": hex_of("sha512")}
    assert parsed(value) == {name: [digest] for name, digest in value.items()}


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_dict_takes_several_digests_of_an_algorithm(kind: Any) -> None:
    digests = [hex_of("sha1"), hex_of("sha1", TWO)]
    assert parsed({"sha1": kind(digests)}) == {"sha1": digests}


def test_hex_is_read_in_any_case() -> None:
    assert parsed({"sha1": hex_of("sha1").upper()}) == {"sha1": [hex_of("sha1")]}


NAMES = [
    ("sha-256", "sha256"),
    ("SHA-256", "sha256"),
    ("SHA256", "sha256"),
    ("sha_1", "sha1"),
    ("MD5", "md5"),
    ("SHA3-256", "sha3_256"),
    ("sha3_512", "sha3_512"),
    ("BLAKE2b", "blake2b"),
]
NO_NAMES = [
    "",
    "sha",
    "sha0",
    "sha257",
    "shake_128",
    "sha512-256",
    "sha-3-256",
    "crc32",
]


@pytest.mark.parametrize(("spelt", "name"), NAMES)
def test_names_are_read_as_they_are_spelt_elsewhere(spelt: str, name: str) -> None:
    assert check_algorithm(spelt) == name
    assert parsed({spelt: hex_of(name)}) == {name: [hex_of(name)]}


@pytest.mark.parametrize("name", NO_NAMES)
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"blake2b, .*, sha512\.$") as caught:
        check_algorithm(name)
    assert repr(name) in str(caught.value)
    assert f"has the key {name!r}: use one of blake2b, " in refused({name: "00"})


def test_a_name_that_is_no_str_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^5 is no hash algorithm"):
        check_algorithm(5)  # type: ignore[arg-type]
    assert "has the key 5: use one of" in refused({5: "00"})


@pytest.mark.parametrize(
    "value", [None, True, 5, b"sha256-", [sri("sha256")], object()]
)
def test_another_type_is_refused(value: object) -> None:
    assert f"must be a str or a dict, not {type(value).__name__}" in refused(value)


@pytest.mark.parametrize("value", ["", " \n", {}])
def test_nothing_is_refused(value: object) -> None:
    assert "is an empty" in refused(value)


@pytest.mark.parametrize(
    "value",
    [
        "md5-1B2M2Y8AsgTpgAmY7PhCfg==",
        "sha-256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        hex_of("sha256"),
        "sha256=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "?ct=a",
    ],
)
def test_metadata_of_another_algorithm_is_refused(value: str) -> None:
    assert "begins with none of sha256-, sha384- and sha512-" in refused(value)


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "=",
        "a",
        "*" * 43 + "=",
        base64_of("sha256") + "==",
        "=" + base64_of("sha256"),
        base64_of("sha256")[:-2] + "/=",  # bits that no byte holds
        "\u0661" * 43,
    ],
)
def test_bad_base64_is_refused(digest: str) -> None:
    assert "whose digest is not base64" in refused(f"sha256-{digest}")


def test_a_bad_digest_beside_a_stronger_one_is_refused() -> None:
    assert "not base64" in refused(f"sha256-* {sri('sha512')}")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (f"sha256-{base64_of('sha512')}", r"64 bytes long when it is decoded"),
        (f"sha512-{base64_of('sha256')}", r"one of sha512 is 64"),
        (f"sha256-{hex_of('sha256')}", r"48 bytes long when it is decoded"),
        ({"sha256": hex_of("sha1")}, r"40 hex digits long: one of sha256 is 64"),
        ({"md5": "0" * 31}, r"31 hex digits long: one of md5 is 32"),
        ({"md5": ["0" * 32, "0" * 34]}, r"34 hex digits long"),
    ],
)
def test_a_digest_of_another_length_is_refused(value: object, says: str) -> None:
    assert says in refused(value)


@pytest.mark.parametrize(
    "digest", ["", "xyz", " " + "0" * 32, "٣" * 32, "0x" + "0" * 30]
)
def test_bad_hex_is_refused(digest: str) -> None:
    message = refused({"md5": digest})
    assert message.startswith('requests[3].integrity["md5"] has ')
    assert "which is not hex" in message


@pytest.mark.parametrize("digest", [None, 5, b"0" * 32, {"0" * 32}, {"a": 1}])
def test_a_digest_of_another_type_is_refused(digest: object) -> None:
    assert f"not {type(digest).__name__}" in refused({"md5": digest})


@pytest.mark.parametrize("digest", [None, 5, b"0" * 32, ["0" * 32]])
def test_a_listed_digest_of_another_type_is_refused(digest: object) -> None:
    message = refused({"md5": [digest]})
    assert f"must hold digests as str in hex, not {type(digest).__name__}" in message


def test_an_empty_list_is_refused() -> None:
    assert "is an empty list" in refused({"md5": []})


def test_an_algorithm_that_is_named_twice_is_refused() -> None:
    value = {"sha256": hex_of("sha256"), "SHA-256": hex_of("sha256", TWO)}
    assert "names sha256 twice: put its digests in a list" in refused(value)


@pytest.mark.parametrize("value", ["x" * 10_000, {"md5": "0" * 10_000}])
def test_messages_stay_short(value: object) -> None:
    assert len(refused(value)) < 800


def test_the_example_in_messages_is_right() -> None:
    message = refused("")
    metadata, named = (
        part.removesuffix(" (base64)").removesuffix(" (hex).")
        for part in message.partition("For example: ")[2].split(", or ")
    )
    assert parsed(json.loads(metadata)) == {"sha256": [hex_of("sha256", b"")]}
    assert parsed(json.loads(named)) == {"md5": [hex_of("md5", b"")]}


def test_equal_digests_match() -> None:
    wanted = parsed({"md5": hex_of("md5"), "sha1": hex_of("sha1")})
    found = {name: hex_of(name) for name in ("md5", "sha1", "sha256")}
    assert mismatch(wanted, found) == ""


def test_any_accepted_digest_matches() -> None:
    wanted = parsed(f"{sri('sha256')} {sri('sha256', TWO)}")
    for data in (ONE, TWO):
        assert mismatch(wanted, {"sha256": hex_of("sha256", data)}) == ""


def test_a_mismatch_says_both_digests() -> None:
    wanted = parsed(sri("sha256"))
    assert mismatch(wanted, {"sha256": hex_of("sha256", TWO)}) == (
        f"the sha256 is {hex_of('sha256', TWO)}, expected was {hex_of('sha256')}"
    )


def test_a_mismatch_says_all_accepted_digests() -> None:
    wanted = parsed({"md5": [hex_of("md5"), hex_of("md5", TWO)]})
    message = mismatch(wanted, {"md5": "0" * 32})
    assert message.endswith(f"{hex_of('md5')} or {hex_of('md5', TWO)}")


def test_every_named_algorithm_must_match() -> None:
    wanted = parsed({"md5": hex_of("md5"), "sha1": hex_of("sha1")})
    found = {"md5": hex_of("md5"), "sha1": hex_of("sha1", TWO)}
    assert mismatch(wanted, found).startswith("the sha1 is ")
    both = mismatch(wanted, {name: hex_of(name, TWO) for name in wanted})
    assert both.count("expected was") == 2


def test_a_digest_that_was_not_computed_does_not_match() -> None:
    message = mismatch(parsed(sri("sha256")), {"md5": hex_of("md5")})
    assert message.startswith("the sha256 is not known, expected was ")


DIGESTS = st.binary(max_size=3)
LISTS = st.lists(DIGESTS, min_size=1, max_size=3)


@given(st.dictionaries(st.sampled_from(sorted(ALGORITHMS)), LISTS, min_size=1))
def test_what_was_parsed_and_went_through_json_parses_to_itself(
    named: dict[str, list[bytes]],
) -> None:
    first = parsed({n: [hex_of(n, d) for d in data] for n, data in named.items()})
    assert parsed(json.loads(json.dumps(first))) == first


@given(st.lists(st.tuples(st.sampled_from(SRI), DIGESTS), min_size=1), DIGESTS)
def test_metadata_accepts_just_the_digests_of_its_strongest_algorithm(
    items: list[tuple[str, bytes]], body: bytes
) -> None:
    wanted = parsed(" ".join(sri(name, data) for name, data in items))
    strongest = max(name for name, _ in items)
    accepted = body in [data for name, data in items if name == strongest]
    found = {name: hex_of(name, body) for name in SRI}
    assert (mismatch(wanted, found) == "") is accepted


@given(
    st.one_of(st.text(), st.dictionaries(st.text(), st.text() | st.lists(st.text())))
)
def test_whatever_is_given_is_parsed_or_refused(value: object) -> None:
    with suppress(BadRequestError):
        assert parsed(value)
