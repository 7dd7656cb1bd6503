"""Sessions: what a client has to do with several requests, kept in a record of the script's own database."""

import base64
import datetime
import json
import secrets


class Session:
    """
    One session over one record.

    `sessiondb` is a dictionary-like record with `get` and the fields `sessionid`, `strdata` and `expiration_date`; an empty one begins
    a new session. Saving the record is the script's part. An expired record begins a new session: without data, under a new id.

    `max_age` in seconds, default ten days. `datetime_fmt` is how `expiration_date` is written, in UTC. `prepare_data` is called with
    the text of the data before it goes into `strdata`. `serializer` has `dumps` and `loads`; default: the module json. Pickle
    takes any data, and must be used only where nobody else can write the records.
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
        """Whether the session is over. A date that cannot be read counts as one that has passed."""
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
        """Gives the session an id that nobody can guess. Call it where a client logs in, so that an id from before is worth nothing."""
        self.sessiondb["sessionid"] = secrets.token_urlsafe(32)
        return self.sessionid

    def touch(self):
        """Has the session last for `max_age` from now on."""
        until = _now() + datetime.timedelta(seconds=self.max_age)
        self.sessiondb["expiration_date"] = until.strftime(self.datetime_fmt)

    def getdata(self):
        """The data of the session; None when it has none."""
        text = self.sessiondb.get("strdata")
        if not text:
            return None
        text = bytes(text).decode("ascii") if isinstance(text, (bytes, bytearray, memoryview)) else str(text)
        if text.startswith(_BINARY):
            return self.serializer.loads(base64.b64decode(text[len(_BINARY) :]))
        return self.serializer.loads(text)

    def setdata(self, data):
        """Puts the data into the record, which then lasts for `max_age` from now on."""
        dumped = self.serializer.dumps(data)
        if isinstance(dumped, bytes):
            dumped = _BINARY + base64.b64encode(dumped).decode("ascii")
        self.sessiondb["strdata"] = self._prepared(dumped)
        self.touch()

    def set_cookie(self, start_response, key="sessionid", secure=None, path="/", domain=None):
        """Sends the id to the client, in a cookie that scripts in pages cannot read and other sites' forms do not send."""
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


# No JSON text begins like this.
_BINARY = "b64:"


def _now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
