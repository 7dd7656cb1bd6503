"""What a start script may set before it calls `_evwsgi.run()`, under the names that FAPWS had, and a few more."""

#: Frameworks read the last two digits as the version of the interface.
SERVER_IDENT = "fapws3/0.11"

#: Whether a client sees the traceback of a callback that failed. It is always written to the log.
send_traceback_to_browser = False

#: What a client sees instead; HTML.
send_traceback_short = "<h1>Error</h1>Please contact your administrator"

#: Of `_evwsgi.rfc1123_date`; kept for scripts that read it.
date_format = "%a, %d %b %Y %H:%M:%S GMT"

#: The longest urlencoded body that is parsed into `fapws.params`, and what `wsgi.input.getvalue()` gives at most, in bytes. A longer
#: one is answered 413. Default 1 MiB.
max_form_bytes = 1 << 20

#: Names in a query or an urlencoded body; more are answered 400. Default 1000.
max_form_fields = 1000
