"""Settings that a start script may change before `_evwsgi.run()`: FAPWS's names and a few more."""

#: Frameworks read the last two digits as the interface version.
SERVER_IDENT = "fapws3/0.11"

#: Whether clients see the traceback of a failed callback. It is always logged.
send_traceback_to_browser = False

#: The HTML that clients see instead.
send_traceback_short = "<h1>Error</h1>Please contact your administrator"

#: The format of `_evwsgi.rfc1123_date`; kept for scripts that read it.
date_format = "%a, %d %b %Y %H:%M:%S GMT"

#: The maximum size in bytes of an urlencoded body for `fapws.params`, and of `wsgi.input.getvalue()`. A longer body gets 413.
#: Default: 1 MiB.
max_form_bytes = 1 << 20

# : The maximum number of names in a query or an urlencoded body; more get 400. Default: 1000.
max_form_fields = 1000
