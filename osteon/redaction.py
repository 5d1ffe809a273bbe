"""What may be shown, logged and stored of texts that hold addresses and credentials: never the secret part.

Of a URL scheme, host, port and path stay; user, password, query and fragment go. Every way out of Osteon (log lines,
MLflow's parameters and tags, errors of the command line, pages) passes what it writes through `redact`.

A URL in a text ends at whitespace, at a double quote, at <, > or a backtick. Where it is unclear what is password
and what is path, more goes than needs to. git@host:path stays: it is no URL, and the key is elsewhere.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import ParseResult, SplitResult, parse_qsl, quote, quote_plus, unquote, unquote_plus

T = TypeVar("T")

HIDDEN = "…"
SHORTEST_VALUE = 3
_END = r'\s"<>`'
_MARK = r"(?:://|:\\?/\\?/|%3[aA]%2[fF]%2[fF])"  # as it is, escaped in JSON, and percent-encoded
_URL = re.compile(rf"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z0-9+.-]+){_MARK}(?P<rest>[^{_END}]*)")
_HAS_MARK = re.compile(_MARK)
_LOCAL = re.compile(r"(?:file|sqlite(?:\+\w+)?):///", re.IGNORECASE)  # a path follows, which no user comes before
_CLOSING = re.compile(r"[.,;:!?)\]}']*$")
_PORT = re.compile(r"\d*(?=[/?#]|$)")
# user:password@host without a scheme. No models:/NAME@ALIAS, no image@sha256:….
_LOGIN = re.compile(rf"(?<![^{_END}:/@'(\[{{=,])[^{_END}:/@'(\[{{=,]+:(?![/\\])[^{_END}]*@(?!sha256:)")

_NAMES_OF_SECRETS = (
    r"(?:[\w-]*(?:passwords?|passwd|passphrase|pwd|secrets?|api[_-]?key|access[_-]?key(?:[_-]?id)?|secret[_-]?key"
    r"|private[_-]?key|signature|credentials?|(?<![a-z])auth|token))"
)
_VALUE = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s"',;&)\]}<>`]+)"""
_IS_SECRET = re.compile(_NAMES_OF_SECRETS + r"|(?:proxy-)?authorization|(?:set-)?cookie", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"""(?<![\w-])(?P<name>{_NAMES_OF_SECRETS})(?P<mark>=|["']\s*[:=]\s*)(?P<value>{_VALUE})""", re.IGNORECASE
)
_HEADER = re.compile(
    r"""(?P<name>(?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*(?:token|key|secret|signature)[\w-]*)"""
    r"""(?P<mark>\\?["']?\s*[:=]\s*)(?P<value>b?"[^"\n]*"|b?'[^'\n]*'|[^"'\n]+)""",
    re.IGNORECASE,
)
# Basic authentication is a word too: what is hidden looks like no word.
_SCHEME_OF_AUTHENTICATION = re.compile(
    r"\b(?P<kind>[Bb]earer|Basic|Negotiate)\s+(?=\S{16}|\S+[A-Z0-9=])(?P<value>[A-Za-z0-9._~+/=-]{6,})"
)


def redact(value: T, *known: str) -> T | Any:
    """A value without the secret parts of any URL, header or key=value in it.

    Args:
        value: a text; a dict, list, tuple or set of values, nested as you like; an exception or a URL object, which
            become texts. Numbers, None and everything else whose text holds no secret come back as they are.
        known: URLs of which nothing secret may stand in the text, in whichever form a library writes it: their
            user:password, password, user in quotes and query go too.

    Returns:
        the same, redacted. A text without '://', 'name:…@' and named credentials is unchanged, and so is a redacted
        one.

    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        shown = _redact_text(value, known)
        return value if shown == value else shown
    if isinstance(value, bytes):
        return _redact_text(value.decode("latin-1"), known).encode("latin-1", "replace")
    if isinstance(value, SplitResult | ParseResult):
        return _redact_text(value.geturl(), known)
    if isinstance(value, Mapping):
        return {
            redact(key, *known): HIDDEN
            if isinstance(key, str) and isinstance(content, str | bytes) and content and _names_secret(key)
            else redact(content, *known)
            for key, content in value.items()
        }
    if isinstance(value, list | set | frozenset):
        return type(value)(redact(item, *known) for item in value)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(redact(item, *known) for item in value)
    # SQLAlchemy's URL is a named tuple that is written as a URL.
    if isinstance(value, tuple) and str(value).startswith(f"{type(value).__name__}("):
        return type(value)(*(redact(item, *known) for item in value))
    if isinstance(value, BaseException):
        return _redact_text(str(value), known)
    text = str(value)
    shown = _redact_text(text, known)
    return value if shown == text else shown


def redact_url(url: str) -> str:
    """A text that is one URL, whatever stands in its password; any other text is redacted as one."""
    scheme, mark, rest = url.partition("://")
    if not mark or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        return str(redact(url))
    return f"{scheme}{mark}{_public_part(scheme, rest)}"


def has_password(address: str) -> bool:
    """Whether an address holds what nobody else may see: user:password@, a token before the @, or one in the query.

    git@host:path and ssh://git@host/path hold none: the key is elsewhere.
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        before, at, _ = address.partition("@")
        return bool(at) and ":" in before
    before, at, _ = rest.rpartition("@")  # the last one: passwords may hold others
    query = parse_qsl(rest.partition("?")[2], keep_blank_values=True)
    return (
        (bool(at) and (":" in before or scheme.lower() in ("http", "https")))
        # Databases and object stores take it there.
        or any(re.search("pass|pwd|token|secret|sig", name, re.IGNORECASE) for name, _ in query)
    )


class RedactingFormatter(logging.Formatter):
    """Log lines, tracebacks among them, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """As logging's, redacted."""
        return str(redact(super().format(record)))


def _names_secret(key: str) -> bool:
    return _IS_SECRET.fullmatch(key) is not None


def _redact_text(text: str, known: tuple[str, ...]) -> str:
    for url in known:
        text = _without_parts_of(url, text)
    # What one rule leaves may be a URL again, such as of http://a@http://b@c.
    while (shown := _redact_once(text)) != text:
        text = shown
    return text


def _redact_once(text: str) -> str:
    if _HAS_MARK.search(text):
        text = _redact_urls(text)
    if "@" in text:
        text = _LOGIN.sub("", text)
    if "=" in text or ":" in text:
        text = _HEADER.sub(_hide_value, text)
        text = _ASSIGNED.sub(_hide_value, text)
    return _SCHEME_OF_AUTHENTICATION.sub(lambda match: f"{match['kind']} {HIDDEN}", text)


def _hide_value(match: re.Match[str]) -> str:
    value = match["value"]
    quoted = re.match(r"b?([\"'])", value)
    mark = quoted[1] if quoted else ""
    return f"{match['name']}{match['mark']}{mark}{HIDDEN}{mark}"


def _redact_urls(text: str) -> str:
    shown, position = [], 0
    while match := _URL.search(text, position):
        shown.append(text[position : match.start("rest")])
        rest, position = match["rest"], match.end()
        local = _LOCAL.match(text, match.start())
        if local and (inner := _URL.search(rest)) is None:
            closing = _closing(rest)
            shown.append(re.split("[?#]", rest.removesuffix(closing))[0] + closing)
            continue
        if local and inner:  # a second address stuck to a local path: go on with it
            shown.append(re.split("[?#]", rest[: inner.start()])[0])
            position = match.start("rest") + inner.start()
            continue
        encoded = "%3" in text[match.end("scheme") : match.start("rest")]
        rest = unquote(rest) if encoded else rest
        if "@" not in rest and _is_cut_login(rest):
            # The password holds what ends a URL: all of the line to its last @ may be password.
            line_end = text.find("\n", position)
            line = text[position : line_end if line_end >= 0 else len(text)]
            if "@" in line:
                after = line.rpartition("@")[2]
                host = re.match(rf"[^{_END}]*", after)
                rest = f"@{host[0] if host else ''}"
                position += len(line) - len(after) + len(rest) - 1
        closing = _closing(rest)
        shown.append(_public_part(match["scheme"], rest.removesuffix(closing)) + closing)
    return "".join(shown) + text[position:]


def _is_cut_login(rest: str) -> bool:
    """Whether user:password stands here and no @ after it, for a port is a number."""
    if rest.startswith("["):
        return False
    host, colon, port = rest.removesuffix(_closing(rest)).partition(":")
    return bool(colon) and "@" not in host and not re.search("[/?#]", host) and not _PORT.match(port)


def _closing(rest: str) -> str:
    """What ends the sentence or bracket around a URL."""
    match = _CLOSING.search(rest)
    # That of an IPv6 host belongs to it.
    closing = match[0] if match else ""
    if closing.startswith("]") and rest.count("[") >= rest.count("]"):
        return closing[1:]
    return closing


def _public_part(scheme: str, rest: str) -> str:
    """Host, port and path of what follows a scheme's ://."""
    if _LOCAL.match(f"{scheme}://{rest}") and "://" not in rest:
        return re.split("[?#]", rest)[0]
    before, at, after = rest.rpartition("@")
    if at and re.search("[?#]", before):
        if _is_cut_login(re.split("[/?#]", before)[0]):
            return _public_part(scheme, rest.partition("@")[2])  # user:password for sure, for a port is a number
        return HIDDEN  # a password with ? in it, or an @ in the query: no part of it is surely public
    return re.split("[?#]", after)[0]


def _as_repr(text: str) -> str:
    return repr(text)[1:-1]


_FORMS = (str, _as_repr, quote, quote_plus, unquote, unquote_plus)  # in which a library may write a secret


def _without_parts_of(url: str, text: str) -> str:
    """A text without the secret parts of a URL, written as they are, encoded or decoded."""
    if "://" not in url:
        login = url.rpartition("@")[0]
        return text.replace(url, str(redact(url))) if ":" in login else text
    rest = url.partition("://")[2]
    text = text.replace(url, redact_url(url))
    login, query, fragment = rest.rpartition("@")[0], rest.partition("?")[2], rest.partition("#")[2]
    user, _, password = login.partition(":")
    for form in _FORMS:
        text = text.replace(form(url), redact_url(url))
    text = text.replace(rest, _public_part("", rest))
    secrets = [f"{login}@" if login else "", login if password else "", password, query, fragment]
    # What is shorter, as in timeout=10, stands in many a text.
    secrets += [value for part in query.split("&") if len(value := part.partition("=")[2]) > SHORTEST_VALUE]
    forms = {form(secret) for secret in secrets for form in _FORMS if secret}
    for secret in sorted(forms, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for name in {user, unquote(user)} - {""}:
        text = re.sub(rf"""(?P<mark>["']){re.escape(name)}(?P=mark)""", rf"\g<mark>{HIDDEN}\g<mark>", text)
    return text
