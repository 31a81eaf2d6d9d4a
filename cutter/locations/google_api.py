"""Google's APIs over HTTP: who we are, one request and its answer, and what their errors mean for a delivery.

Sources: "YouTube Data API: Errors" and "Resumable Uploads" of Google's documentation.
"""

import asyncio
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import google.auth.exceptions
from aiohttp import (
    ClientError,
    ClientHandlerType,
    ClientOSError,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ServerDisconnectedError,
)
from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials as UserCredentials
from google.oauth2.service_account import Credentials as ServiceCredentials

from common.errors import UserError
from cutter.locations import JSON, LocationAwayError, LocationError, LocationRefusedError
from cutter.locations.keys import Secret

Credentials = UserCredentials | ServiceCredentials

# To read a video's state and to change what is said of it; the narrower youtube.upload allows neither.
_SCOPES: Final = ("https://www.googleapis.com/auth/youtube",)
_TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_TOKEN_SECONDS: Final = 20.0

# They carry no types.
_of_user: Callable[..., UserCredentials] = UserCredentials
_of_service_account: Callable[..., ServiceCredentials] = ServiceCredentials.from_service_account_info

# What an answer may take to begin, once the request is sent.
_ANSWER_SECONDS: Final = 120.0

_OVER_QUOTA: Final = {"quotaExceeded", "dailyLimitExceeded", "dailyLimitExceededUnreg"}
_TOO_MANY_VIDEOS: Final = {"uploadLimitExceeded"}
_TOO_FAST: Final = {"rateLimitExceeded", "userRateLimitExceeded", "uploadRateLimitExceeded"}
# The account or its project is set up wrongly; no video is to blame.
_NOT_ALLOWED: Final = {
    "youtubeSignupRequired", "accessNotConfigured", "authError", "required", "unauthorized", "accountClosed",
    "accountSuspended", "accountDelegationForbidden", "channelSuspended", "channelClosed",
    "insufficientPermissions", "forbidden", "backendError", "internalError", "keyInvalid", "accountNotFound",
    "authenticatedUserNotChannel",
}  # fmt: skip

# What stands in our configuration, and not on an event.
_SET_UP_WRONGLY: Final = {"invalidCategoryId", "defaultLanguageNotSet"}

# The limit of videos a day is of any 24 hours, and nobody tells when they began.
_TOO_MANY_PAUSE: Final = timedelta(hours=1)

_MOST_MESSAGE: Final = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status, headers and a body that was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def read(self) -> dict[str, Any]:
        """Give the object that the body is; empty if it is none."""
        try:
            content = json.loads(self.body)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


class UnreachableError(LocationAwayError):
    """No answer came, or one that says that another one will come soon (5xx)."""


class GoogleApi:
    """Requests in the name of one account."""

    def __init__(self, name: str, session: ClientSession, credentials: Credentials) -> None:
        """Ask nobody yet; `name` is that of the location, for sentences."""
        self.name = name
        self._session = session
        self._credentials = credentials
        self._refreshing = asyncio.Lock()

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        content: JSON = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        send_seconds: float = 0.0,
    ) -> Answer:
        """Ask once, or twice if the token turns out to be no good. `content` is sent as JSON, or `body` as it is.

        Raises UnreachableError for no answer and for 5xx, LocationAwayError if we cannot say who we are.
        """
        if content is not None:
            body, headers = json.dumps(content).encode(), {**(headers or {}), "Content-Type": "application/json"}
        seconds = _ANSWER_SECONDS + send_seconds
        ask = partial(self._ask, method, url, params=params, body=body, headers=headers or {}, seconds=seconds)
        answer = await ask(token=await self._token())
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._credentials.token = None
            answer = await ask(token=await self._token())
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise UnreachableError(
                f"{self.name} has trouble of its own ({answer.status}).", retry_after=_told_pause(answer)
            )
        return answer

    async def call(self, method: str, url: str, **said: Any) -> dict[str, Any]:  # noqa: ANN401 - as `request` has it
        """Ask, and give the object of a good answer. Raises what `error` makes of another."""
        answer = await self.request(method, url, **said)
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise self.error(answer)
        return answer.read()

    def is_forbidden(self, answer: Answer) -> bool:
        """Tell whether what was asked is what this account may not do, apart from all limits."""
        return _reason(answer)[0] == "forbidden"

    def error(self, answer: Answer) -> LocationError:
        """Make of an answer that is none what it means for a delivery."""
        reason, message = _reason(answer)
        told = f"{message} ({reason})" if reason else message
        if reason in _OVER_QUOTA:
            return LocationAwayError(f"{self.name} is over its quota of today.", retry_after=_until_quota_is_new())
        if reason in _TOO_MANY_VIDEOS:
            return LocationAwayError(
                f"{self.name} takes no more videos for now: the channel has its limit.", retry_after=_TOO_MANY_PAUSE
            )
        if reason in _TOO_FAST or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            return LocationAwayError(f"{self.name} is asked too often.", retry_after=_told_pause(answer))
        if reason in _NOT_ALLOWED or answer.status == HTTPStatus.UNAUTHORIZED:
            return LocationAwayError(f"{self.name} does not let us in: {told}; check its credentials and its account.")
        return self._verdict(reason, message)

    def _verdict(self, reason: str, message: str) -> LocationError:
        """Make an error of one that is about what was sent, if it is."""
        if reason in _SET_UP_WRONGLY:
            return LocationAwayError(
                f"{self.name} is set up wrongly: {message} ({reason}); correct its table in the cutters' file."
            )
        if not reason:  # whoever answers, it is no verdict on a video
            return LocationAwayError(f"{self.name} answers something that is not understood ({message}).")
        return LocationRefusedError(f"{self.name} refuses this: {message} ({reason}).")

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None,
        body: bytes | None,
        headers: Mapping[str, str],
        seconds: float,
        token: str,
    ) -> Answer:
        sent = {
            **headers,
            "Authorization": f"Bearer {token}",
            "Content-Length": str(len(body or b"")),
        }
        try:
            async with self._session.request(
                method,
                url,
                params=params,
                data=None if body is None else io.BytesIO(body),
                headers=sent,
                allow_redirects=False,  # 308 is no redirect here
                timeout=ClientTimeout(total=seconds),
                middlewares=(_once,),
            ) as response:
                return Answer(response.status, response.headers, await response.read())
        except (ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{self.name} cannot be reached ({_kind(error)}).") from error

    async def _token(self) -> str:
        async with self._refreshing:
            if not self._credentials.valid:
                try:
                    await asyncio.to_thread(self._credentials.refresh, partial(_request, Request()))
                except google.auth.exceptions.TransportError as error:
                    raise UnreachableError(f"{self.name}: Google's sign-in cannot be reached.") from error
                except google.auth.exceptions.GoogleAuthError as error:
                    raise self._not_signed_in(error) from error
            return str(self._credentials.token)

    def _not_signed_in(self, error: google.auth.exceptions.GoogleAuthError) -> LocationAwayError:
        if error.retryable:
            return UnreachableError(f"{self.name}: Google's sign-in has trouble of its own.")
        why = _clean(str(error.args[0])) if error.args else "no reason given"
        return LocationAwayError(f"{self.name} does not let us in ({why}): make new credentials for its account.")


async def _once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from sending what failed once more by itself: what has arrived must be asked for first."""
    try:
        return await handler(request)
    except (ClientOSError, ServerDisconnectedError) as error:
        raise ClientError from error


def _request(request: Request, *args: Any, **said: Any) -> Any:  # noqa: ANN401 - google-auth's signature
    """Ask for a token, with less patience than google-auth has."""
    return request(*args, **{**said, "timeout": _TOKEN_SECONDS})


def read_credentials(secret: Secret, name: str) -> Credentials:
    """Make credentials of the JSON that Google gives: of a user (with a refresh token) or of a service account.

    Raises UserError for what is neither, without showing it.
    """
    try:
        found = json.loads(secret.reveal())
        if found["type"] == "service_account":
            made: ServiceCredentials = _of_service_account(found, scopes=_SCOPES)
            return made
        if found["type"] == "authorized_user":
            return _of_user(
                token=None,
                refresh_token=str(found["refresh_token"]),
                token_uri=str(found.get("token_uri", _TOKEN_URI)),
                client_id=str(found["client_id"]),
                client_secret=str(found["client_secret"]),
            )
    except (ValueError, LookupError, TypeError, google.auth.exceptions.GoogleAuthError):
        pass  # without the cause: it may quote what is secret
    raise UserError(
        f"The credentials of {name} are not what Google gives: JSON with type authorized_user (and refresh_token, "
        "client_id, client_secret) or service_account."
    )


def _reason(answer: Answer) -> tuple[str, str]:
    """Give the reason of an error as a word, and as its message."""
    error = answer.read().get("error")
    if not isinstance(error, dict):
        return "", f"status {answer.status}"
    errors = error.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    reason = re.sub(r"\W", "", str(first.get("reason", "")))[:64]
    return reason, _clean(str(error.get("message") or first.get("message") or f"status {answer.status}"))


def _clean(message: str) -> str:
    """Give a message of theirs as part of a sentence of ours: without marks of HTML and its full stop."""
    return " ".join(re.sub(r"<[^>]*>", "", message).split())[:_MOST_MESSAGE].rstrip(".")


def _told_pause(answer: Answer) -> timedelta | None:
    said = answer.headers.get("Retry-After", "")
    return timedelta(seconds=min(int(said), 86_400)) if said.isascii() and said.isdigit() else None


def _until_quota_is_new() -> timedelta:
    """Give the time until after the next midnight of the Pacific coast, which is 7 or 8 o'clock UTC."""
    now = datetime.now(UTC)
    fresh = now.replace(hour=8, minute=5, second=0, microsecond=0)
    return (fresh if fresh > now else fresh + timedelta(days=1)) - now


def _kind(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if type(error) is ClientError and error.__cause__ is not None:
        return _kind(error.__cause__)
    return getattr(error, "strerror", None) or type(error).__name__
