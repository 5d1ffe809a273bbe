"""No password, token, query or user of any URL, in any nesting, comes out of redact."""

import logging
import string
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url
from yarl import URL

from osteon.redaction import HIDDEN, RedactingFormatter, has_password, redact, redact_url

SECRET = "S3CRET"  # noqa: S105 – made up

# Whatever a password may be made of: percent-encoded, or as people write it.
WRITTEN = st.text(st.sampled_from(string.ascii_letters + string.digits + "@:/?#%&=+,;!()[]{}'~^$*.-_ü|\\"), max_size=8)
SECRETS = st.builds(lambda before, after: f"{before}{SECRET}{after}", WRITTEN, WRITTEN)
SCHEMES = st.sampled_from(
    ("http", "HTTPS", "postgresql+psycopg2", "mysql", "s3", "git+https", "ssh", "mongodb", "Postgres")
)
HOSTS = st.sampled_from(("host", "db.hospital.example:5432", "[::1]", "[2001:db8::1]:5000", "127.0.0.1", ""))
PATHS = st.sampled_from(("", "/", "/studies", "/a/b.git", "/%40x"))


@st.composite
def urls(draw: st.DrawFn) -> str:
    """With the secret as user, password or both, in the query, or in the fragment."""
    scheme, host, path = draw(SCHEMES), draw(HOSTS), draw(PATHS)
    place = draw(st.sampled_from(("user", "password", "both", "query", "fragment")))
    secret = draw(st.one_of(SECRETS, SECRETS.map(lambda text: quote(text, safe=""))))
    login, tail = "", ""
    if place in ("user", "password", "both"):
        login = {"user": secret, "password": f"karl:{secret}", "both": f"{secret}:{secret}"}[place] + "@"
    elif place == "query":
        tail = "?" + draw(st.sampled_from(("", "password=", "a=b&X-Amz-Signature="))) + secret
    else:
        tail = f"#{secret}"
    return f"{scheme}://{login}{host}{path}{tail}"


TEXTS = st.builds(
    lambda before, url, after: f"{before}{url}{after}",
    st.sampled_from(("", "cannot reach ", "(", "'", '"', "url=", '<a href="', "[", "see\n", "http://other/x and ")),
    urls(),
    st.sampled_from(("", " does not answer", ")", "'", '"', "'}", '">', ".", ", try again", "\nhttp://k:v@x y")),
)
NESTED: st.SearchStrategy[Any] = st.recursive(
    st.one_of(TEXTS, st.builds(ValueError, TEXTS), TEXTS.map(str.encode), st.integers(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(TEXTS, st.just("key")), inner, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=8,
)
HARMLESS = st.text(st.characters(exclude_characters="@", exclude_categories=("Cs",))).filter(
    lambda text: "://" not in text and "%3" not in text and "=" not in text and ":" not in text
)


@given(TEXTS)
def test_no_secret_of_a_url_in_a_text_comes_out(text: str) -> None:
    assert SECRET not in redact(text)


@given(NESTED)
def test_no_secret_comes_out_of_any_nesting(value: Any) -> None:
    assert SECRET not in repr(redact(value))


@given(NESTED)
def test_a_redacted_value_is_left_as_it_is(value: Any) -> None:
    shown = redact(value)
    assert redact(shown) == shown


@given(urls())
def test_an_address_alone_shows_no_secret_whatever_the_password(url: str) -> None:
    assert SECRET not in redact_url(url)
    assert SECRET not in redact_url(url.replace("@", ' "<> @', 1))


@given(urls(), st.sampled_from((str, repr, quote, lambda url: f"[{url.partition('://')[2]}]")))
def test_no_part_of_a_known_address_comes_out_in_whichever_form(url: str, form: Any) -> None:
    assert SECRET not in redact(f"cannot open {form(url)}", url)


@given(st.one_of(HARMLESS, st.text(string.ascii_letters + " .,;:-_()'\"\n/")))
def test_a_text_without_urls_is_unchanged(text: str) -> None:
    if "://" not in text:
        assert redact(text) == text


@given(st.recursive(st.one_of(HARMLESS, st.integers(), st.none(), st.booleans()), st.lists, max_leaves=8))
def test_a_value_without_urls_is_unchanged(value: Any) -> None:
    assert redact(value) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://karl:s3@c/ret@host/studies?password=s3cret", "postgresql://host/studies"),
        (
            "see (http://u:p@[::1]:5000/x?a=b#c), or HTTPS://[::1]:5000.",
            "see (http://[::1]:5000/x), or HTTPS://[::1]:5000.",
        ),
        ("a://u:p@h/x and b://v:w@g, c", "a://h/x and b://g, c"),
        (
            "{'url': 'postgresql+psycopg2://u:p@h/db?password=x', 'n': 1}",
            "{'url': 'postgresql+psycopg2://h/db', 'n': 1}",
        ),
        ('{"a":"http://u:p@h?x","b":1}', '{"a":"http://h","b":1}'),
        ("https://b.example/k?X-Amz-Credential=AK/2&X-Amz-Signature=ff: denied", "https://b.example/k: denied"),
        ("http://u?w@host/x", f"http://{HIDDEN}"),  # a password, or an @ in the query?
        ("https://oauth2:se#sa/me@git.example/osteon.git", "https://git.example/osteon.git"),
        ("postgresql://karl:pass word@host/db is gone", "postgresql://host/db is gone"),
        ("http%3A%2F%2Fu%3Ap%40h%2Fx", "http%3A%2F%2Fh/x"),
        (r"http:\/\/u:p@h", r"http:\/\/h"),
        ("karl:token@host:films.git", "host:films.git"),
        ("user:password@host:5432/db", "host:5432/db"),
        ("Authorization: Bearer abc.DEF123\nmore", f"Authorization: {HIDDEN}\nmore"),
        ("{'Authorization': 'Basic abcDEF=', 'x': 1}", f"{{'Authorization': '{HIDDEN}', 'x': 1}}"),
        ("sent Bearer eyJhbGciOi.x.y", f"sent Bearer {HIDDEN}"),
        ("Cookie: session=abc; other=def", f"Cookie: {HIDDEN}"),
        ("host=db password=hunter2 user=x", f"host=db password={HIDDEN} user=x"),
        ("AWS_SECRET_ACCESS_KEY=abc/+x", f"AWS_SECRET_ACCESS_KEY={HIDDEN}"),
        ("{'api_key': 'abc', 'n': 1}", f"{{'api_key': '{HIDDEN}', 'n': 1}}"),
    ],
)
def test_what_is_no_secret_stays(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////data@x/study.db",
        "sqlite:///mlflow/store/mlflow.db",
        "file:///data/films@2024",
        "s3://bucket/prefix",
        "not an address of the form https://HOST:PORT",
        "http://localhost:5000: connection refused",
        "http://[::1]:5000",
        "do you mean http://host/x?",
        "git@github.com:hospital/films.git",
        "models:/osteon-fracture@champion and models:/osteon-fracture/1",
        "ghcr.io/hospital/osteon:1.0@sha256:0f3c",
        "registry:5000/osteon@sha256:0f3c",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        "the token in OSTEON_KFP_TOKEN_FILE is not accepted; it may have expired",
        "write to karl@hospital.example",
        "Basic authentication, Bearer token",
    ],
)
def test_what_holds_no_secret_is_unchanged(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("make", [urlsplit, URL, make_url, lambda url: ValueError(f"no {url}"), str.encode])
def test_a_url_of_a_library_an_exception_and_bytes_are_redacted(make: Any) -> None:
    shown = str(redact({"deep": [make(f"postgresql://karl:{SECRET}@host/db")]}))
    assert SECRET not in shown
    assert "karl" not in shown
    assert "host/db" in shown


def test_a_value_under_a_secret_name_is_hidden() -> None:
    headers = {"Authorization": "Basic x", "X": "y", "password": "p", "set-cookie": "a", "token": "", "tokens": "3"}
    hidden = {"Authorization": HIDDEN, "X": "y", "password": HIDDEN, "set-cookie": HIDDEN, "token": "", "tokens": "3"}
    assert redact(headers) == hidden


def test_the_user_of_a_known_address_is_hidden_where_a_database_names_him() -> None:
    error = 'FATAL: password authentication failed for user "karl"'
    assert "karl" not in redact(error, "postgresql://karl:x@host/db")


def test_a_log_line_and_its_traceback_show_no_secret() -> None:
    try:
        raise ValueError(f"http://u:{SECRET}@host cannot be reached")
    except ValueError as error:
        record = logging.LogRecord("x", 20, "", 0, "at %s", (f"http://{SECRET}@h",), (type(error), error, None))
    line = RedactingFormatter("%(message)s").format(record)
    assert line.startswith("at http://h\n")
    assert "ValueError: http://host cannot be reached" in line


@given(st.builds(lambda login, host: f"https://{login}@{host}", SECRETS, HOSTS))
def test_an_address_that_has_a_password_is_told_and_a_redacted_one_has_none(url: str) -> None:
    assert has_password(url)
    assert not has_password(redact_url(url))
