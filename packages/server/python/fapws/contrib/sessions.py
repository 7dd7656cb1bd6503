"""Sessions: data of a client across requests, stored in a record of the script's database."""

import base64
import datetime
import json
import secrets


class Session:
    """One session, stored in one record.

    `sessiondb` is a dictionary-like record with `get` and the fields `sessionid`, `strdata` and `expiration_date`. An empty or
    expired record starts a new session without data, under a new id. The script saves the record.

    `max_age` is in seconds; the default is ten days. `datetime_fmt` is the format of `expiration_date`, in UTC. `prepare_data`
    is called with the serialized data before it is put into `strdata`. `serializer` has `dumps` and `loads`; default: the
    module json. Pickle accepts any data, but must only be used if nobody else can write the records.
    """

    def __init__(
        self,
        sessiondb,
        max_age=10 * 86400,
        datetime_fmt="%Y-%m-%d %H:%M:%S",
        prepare_data=None,
        serializer=json,
    ):
        self.sessiondb = sessiondb
        self.max_age = max_age
        self.datetime_fmt = datetime_fmt
        self.prepare_data = prepare_data
        self.serializer = serializer
        if not sessiondb.get("sessionid") or self.expired:
            self.newid()
            sessiondb["strdata"] = self._prepared("")
            self.touch()

    @property
    def sessionid(self):
        return self.sessiondb.get("sessionid")

    @property
    def expired(self):
        """Whether the session has expired. An unreadable date counts as expired."""
        date = self.sessiondb.get("expiration_date")
        if not date:
            return False
        if not isinstance(date, datetime.datetime):
            try:
                date = datetime.datetime.strptime(date, self.datetime_fmt)
            except (TypeError, ValueError):
                return True
        if date.tzinfo is not None:
            date = date.astimezone(datetime.timezone.utc).replace(tzinfo=None)
        return date <= _now()

    def newid(self):
        """Gives the session a new unguessable id. Call it on login, so that an earlier id becomes useless."""
        self.sessiondb["sessionid"] = secrets.token_urlsafe(32)
        return self.sessionid

    def touch(self):
        """Extends the session to `max_age` from now."""
        until = _now() + datetime.timedelta(seconds=self.max_age)
        self.sessiondb["expiration_date"] = until.strftime(self.datetime_fmt)

    def getdata(self):
        """Returns the session's data; None without data."""
        text = self.sessiondb.get("strdata")
        if not text:
            return None
        text = bytes(text).decode("ascii") if isinstance(text, (bytes, bytearray, memoryview)) else str(text)
        if text.startswith(_BINARY):
            return self.serializer.loads(base64.b64decode(text[len(_BINARY) :]))
        return self.serializer.loads(text)

    def setdata(self, data):
        """Stores the data in the record, and extends the session to `max_age` from now."""
        dumped = self.serializer.dumps(data)
        if isinstance(dumped, bytes):
            dumped = _BINARY + base64.b64encode(dumped).decode("ascii")
        self.sessiondb["strdata"] = self._prepared(dumped)
        self.touch()

    def set_cookie(self, start_response, key="sessionid", secure=None, path="/", domain=None):
        """Sets the session cookie: HttpOnly, and SameSite so that forms of other sites do not send it."""
        start_response.set_cookie(
            key,
            self.sessionid,
            max_age=self.max_age,
            path=path,
            domain=domain,
            secure=secure,
            httponly=True,
            samesite="Lax",
        )

    def _prepared(self, text):
        return text if self.prepare_data is None else self.prepare_data(text)


# No JSON text begins with this prefix.
_BINARY = "b64:"


def _now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
