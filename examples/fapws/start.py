"""A guest book as a FAPWS start script: a timer, deferred saves, a folder of files, a session, and a body that is sent line by
line."""

import json
import os
from html import escape

import fapws._evwsgi as evwsgi
from fapws import base
from fapws.contrib import headers, log, sessions, views, zip

here = os.path.dirname(os.path.abspath(__file__))
# Each instance has a separate book: data that all instances must see belongs into a database.
book_file = "%s/paceline-guest-book-%s.json" % (os.environ.get("BOOK_FOLDER", "/tmp"), os.environ["PACELINE_INSTANCE"])

entries = []
saves = 0
ticks = 0
records = {}


def tick():
    global ticks
    ticks += 1


def save(argument):
    """However many visitors sign at the same moment, `combined` makes one save of it."""
    global saves
    saves += 1
    with open(book_file + ".new", "w") as book:
        json.dump({"entries": entries, "saves": saves}, book)
    os.replace(book_file + ".new", book_file)


@log.Log()
@zip.Gzip()
def index(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    page = ["<!doctype html><title>Guest book</title><link rel=stylesheet href=/static/book.css>"]
    page += ["<form method=post action=/sign><input name=name><button>Sign</button></form><ul>"]
    page += ["<li>%s" % escape(name) for name in entries]
    page += ["</ul><p>Visit %d, after %d seconds." % (visits(environ, start_response), ticks)]
    return page


def visits(environ, start_response):
    """Counted in a session; a real app would keep the record in a database."""
    cookies = base.parse_cookies(environ)
    record = records.get(cookies["sessionid"].value, {}) if cookies and "sessionid" in cookies else {}
    session = sessions.Session(record, max_age=3600)
    count = (session.getdata() or 0) + 1
    session.setdata(count)
    records[session.sessionid] = record
    if len(records) > 1000:
        del records[next(iter(records))]
    session.set_cookie(start_response)
    return count


def sign(environ, start_response):
    if environ["REQUEST_METHOD"] != "POST":
        return headers.redirect(start_response, "/")
    name = environ["fapws.params"].get("name", [""])[0].strip()
    if name and len(entries) < 1000:
        entries.append(name[:100])
        evwsgi.defer(save, None, True)
    return headers.redirect(start_response, "/")


def countdown(environ, start_response):
    """Block by block, as a generator yields them."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    for number in (3, 2, 1):
        yield "%d\n" % number
    yield "go\n"


def stats(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"ticks": ticks, "saves": saves, "deferred": evwsgi.defer_queue_size()})]


evwsgi.start("0.0.0.0", "8080")
evwsgi.set_base_module(base)
evwsgi.wsgi_cb(("/static/", views.Staticfile(os.path.join(here, "static"), maxage=60)))
evwsgi.wsgi_cb(("/sign", sign))
evwsgi.wsgi_cb(("/countdown", countdown))
evwsgi.wsgi_cb(("/stats", stats))
evwsgi.wsgi_gen_cb(index)
evwsgi.add_timer(1, tick)
evwsgi.set_debug(0)
evwsgi.run()

# This line runs when the instance has stopped and all deferred jobs have run.
print("the book has %d entries" % len(entries))
