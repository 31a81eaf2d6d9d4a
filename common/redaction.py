"""Secrets in what is logged: found by their names and forms, and hidden. Pure.

This is the last line of defence. Who logs leaves secrets out (`common.addresses.without_secrets`); this is for those
that come along in an error of a library, in a header, in the address of a database. What is hidden is `***`. It hides
too much rather than too little: of a URL the whole query, and any part of its path that is as long as tokens are.
"""

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any

HIDDEN = "***"

# Whatever a name has around these, in any case: `refresh_token`, `X-Amz-Signature`, `ClientSecret`.
_TELLING_WORDS = (
    *("token", "secret", "password", "passwd", "passphrase", "signature", "credential", "authorization"),
    *("authorisation", "cookie", "hmac", "hdnts", "hdnea", "hdntl", "jwt", "bearer"),
    *(
        f"{one}{between}{other}"
        for one in ("api", "access", "private")
        for between in ("", "_", "-")
        for other in ("key",)
    ),
    *(f"{one}{between}id" for one in ("upload", "session") for between in ("", "_", "-")),
)
# These only as a whole, in front of a value: a word such as `key` means many things.
_SHORT_WORDS = ("auth", "sig", "nauth", "nauthsig", "pwd", "pass", "key", "policy", "code", "sas", "otp")

# What any secret has near it. Looking for one after the other is far quicker than an expression of all of them.
_ALL_SIGNS = (*_TELLING_WORDS, *_SHORT_WORDS, "://", "eyj", "ya29.", "1//0", "akia", "asia", "oauth")
_SIGNS = tuple(sign for sign in _ALL_SIGNS if not any(other != sign and other in sign for other in _ALL_SIGNS))

_TELLING, _SHORT = "|".join(_TELLING_WORDS), "|".join(_SHORT_WORDS)

# No name of a segment, a channel or a playlist is as long; the tokens that some origins put into paths are longer.
_LONGEST_PART = 96

_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL)

# A password in it may hold what should have been escaped, so that all up to the last @ goes.
_DATABASE = re.compile(r"(postgres(?:ql)?://)[^\s\"'<>]{0,1000}@", re.IGNORECASE)

_URL = re.compile(r"([a-z][a-z0-9+.-]{0,20}://)([^\s\"'<>\\]+)", re.IGNORECASE)

# `Authorization: Bearer abc`, `token=abc`, `"client_secret": "abc"`, `{'Cookie': 'a=b; c=d'}`, `password='it''s'`, and
# JSON within JSON. What a name has before the telling word is of no importance here.
_QUOTED = (
    r"\\\"(?:[^\"\\]|\\[^\"])*(?:\\\")?",
    r"b?\"(?:[^\"\\]|\\.)*\"?",
    r"b?'(?:[^'\\]|\\.|'')*'?",
)
_SCHEME = r"(?:(?:bearer|basic|digest|negotiate|oauth|aws4-hmac-sha256)\s+)?"
_NAMED = re.compile(
    rf"(?P<name>(?:(?:{_TELLING})[\w.-]{{0,40}}|(?<![\w.-])(?:{_SHORT})))"
    r"(?P<between>\\?[\"']?\s*(?:=>|[:=])\s*)"
    rf"(?P<value>{'|'.join(_QUOTED)}|{_SCHEME}[^\s&;,\"'<>(){{}}\[\]~|]+)",
    re.IGNORECASE | re.DOTALL,
)
# Of these headers the rest of the line belongs to the value.
_HEADER = re.compile(r"(?P<name>authorization|cookie)(?P<between>\s*:\s*)(?P<value>[^\r\n\"'\\]+)", re.IGNORECASE)

# What is known by its form: bearer tokens, JSON in base64 (as in JSON web tokens), those of Google and Amazon.
_BY_FORM = re.compile(
    r"(?P<scheme>\b(?:bearer|oauth)\s+)[\w.~+/=-]{12,}"
    r"|\beyJ[\w-]{16,}(?:\.[\w-]+)*"
    r"|\bya29\.[\w-]{8,}"
    r"|\b1//0[\w-]{12,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    re.IGNORECASE,
)


_QUOTE = re.compile(r"b?(\\\"|\"|')")


def hide_in(text: str) -> str:
    """Give a text without the secrets in it."""
    lower = text.lower()
    for sign in _SIGNS:
        if sign in lower:
            break
    else:
        return text
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    text = _DATABASE.sub(rf"\1{HIDDEN}@", text)
    text = _URL.sub(_hide_in_url, text)
    text = _HEADER.sub(_hide_value, text)
    text = _NAMED.sub(_hide_value, text)
    return _BY_FORM.sub(lambda found: (found["scheme"] or "") + HIDDEN, text)


def hide(event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide the secrets in the fields of a log event, in place: by the field's name, and in all that is text within it.

    What is neither text nor a number, a list nor a mapping becomes the text as which it would be written.
    """
    for name, value in event.items():
        event[name] = _hidden(name, value)
    return event


def _hidden(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever is logged
    if value is None or isinstance(value, bool | int | float):
        return value
    if _tells(name):
        return HIDDEN
    match value:
        case str():
            return hide_in(value)
        case Mapping():
            return {hide_in(str(key)): _hidden(str(key), each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_hidden("", each) for each in value]
        case _:
            return hide_in(repr(value))


@lru_cache(maxsize=1000)
def _tells(name: str) -> bool:
    """Tell whether a field of this name holds a secret."""
    return any(word in name.lower() for word in _TELLING_WORDS)


def _hide_value(found: re.Match[str]) -> str:
    quote = _QUOTE.match(found["value"])
    around = quote[1] if quote else ""
    return f"{found['name']}{found['between']}{around}{HIDDEN}{around}"


def _hide_in_url(found: re.Match[str]) -> str:
    rest, fragment, _ = found[2].partition("#")
    address, query, _ = rest.partition("?")
    host, slash, path = address.partition("/")
    *user, host = host.rsplit("@", 1)
    parts = [HIDDEN if len(part) > _LONGEST_PART else part for part in path.split("/")]
    return "".join(
        [
            found[1],
            f"{HIDDEN}@" if user else "",
            host + slash + "/".join(parts),
            query and query + HIDDEN,
            fragment and fragment + HIDDEN,
        ]
    )
