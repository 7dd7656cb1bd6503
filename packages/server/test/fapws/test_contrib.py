"""Files, compression, log lines, redirections and sessions."""

import datetime
import gzip
import io
import os
import pickle
import tempfile
import time
import unittest
import zlib
from pathlib import Path

from support import ask, environ_of

from fapws import base
from fapws._application import Application
from fapws._negotiation import takes_gzip
from fapws.contrib import headers, log, sessions, views, zip


def at(prefix, callback):
    application = Application()
    application.add(prefix, callback)
    return application


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name, "root")
        (self.root / "css").mkdir(parents=True)
        (self.root / "css/site.css").write_text("body {}")
        (self.root / "a b é.txt").write_text("0123456789")
        (self.root / ".secret").write_text("no")
        (self.root / ".well-known").mkdir()
        (self.root / ".well-known/x").write_text("yes")
        (self.root / "archive.tar.gz").write_bytes(b"gz")
        Path(folder.name, "outside.txt").write_text("outside")
        os.symlink(Path(folder.name, "outside.txt"), self.root / "out")
        os.symlink(folder.name, self.root / "up")
        os.symlink("css", self.root / "within")
        os.mkfifo(self.root / "pipe")
        self.files = at("/static/", views.Staticfile(f"{self.root}/", maxage=60))

    def test_a_file(self):
        got = ask(self.files, "/static/css/site.css")
        self.assertEqual((got.code, got.body), (200, b"body {}"))
        self.assertEqual(got.header("Content-Type"), "text/css; charset=utf-8")
        self.assertEqual(got.header("Content-Length"), "7")
        self.assertEqual(got.header("Cache-Control"), "max-age=60")
        self.assertEqual(ask(self.files, "/static/within/site.css").body, b"body {}")
        self.assertEqual(ask(self.files, "/static/.well-known/x").body, b"yes")
        self.assertEqual(ask(self.files, "/static/archive.tar.gz").header("Content-Type"), "application/octet-stream")
        # In WSGI, text represents bytes.
        self.assertEqual(ask(self.files, "/static/a b é.txt".encode().decode("latin-1")).body, b"0123456789")

    def test_one_file_under_any_name(self):
        one = at("/form", views.Staticfile(str(self.root / "css/site.css")))
        self.assertEqual(ask(one, "/form").body, b"body {}")
        self.assertEqual(ask(one, "/form/more").code, 404)

    def test_what_is_not_there_for_anybody(self):
        for name in ("gone", "css", "css/", "", "css/site.css/", "css/site.css/x", ".secret", "out", "up/outside.txt", "pipe"):
            self.assertEqual(ask(self.files, f"/static/{name}").code, 404, name)

    def test_a_way_out_is_refused(self):
        for name in ("../outside.txt", "css/../../outside.txt", "css/..", "..", "a\0b"):
            got = ask(self.files, f"/static/{name}")
            self.assertEqual(got.code, 400, name)
            self.assertNotIn(b"outside", got.body)

    def test_head_and_other_methods(self):
        got = ask(self.files, "/static/css/site.css", "HEAD")
        self.assertEqual((got.code, got.header("Content-Length"), got.body), (200, "7", b""))
        got = ask(self.files, "/static/css/site.css", "POST")
        self.assertEqual((got.code, got.header("Allow")), (405, "GET, HEAD"))

    def test_what_a_client_has_is_not_sent_again(self):
        first = ask(self.files, "/static/css/site.css")
        tag, date = first.header("ETag"), first.header("Last-Modified")
        for condition in (
            {"HTTP_IF_NONE_MATCH": tag},
            {"HTTP_IF_NONE_MATCH": f'"x", W/{tag.removeprefix("W/")}'},
            {"HTTP_IF_NONE_MATCH": "*"},
            {"HTTP_IF_MODIFIED_SINCE": date},
        ):
            got = ask(self.files, "/static/css/site.css", **condition)
            self.assertEqual((got.code, got.body, got.header("ETag")), (304, b"", tag), condition)
        for condition in (
            {"HTTP_IF_NONE_MATCH": '"x"', "HTTP_IF_MODIFIED_SINCE": date},
            {"HTTP_IF_MODIFIED_SINCE": "Thu, 01 Jan 1970 00:00:00 GMT"},
            {"HTTP_IF_MODIFIED_SINCE": "nonsense"},
        ):
            self.assertEqual(ask(self.files, "/static/css/site.css", **condition).code, 200, condition)

    def test_another_content_has_another_tag(self):
        path = self.root / "css/site.css"
        before = path.stat()
        tag = ask(self.files, "/static/css/site.css").header("ETag").removeprefix("W/")
        deadline = time.monotonic() + 5
        while path.stat().st_ctime_ns == before.st_ctime_ns and time.monotonic() < deadline:
            path.write_text("BODY {}")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assertNotEqual(ask(self.files, "/static/css/site.css").header("ETag").removeprefix("W/"), tag)

    def test_ranges(self):
        (self.root / "digits").write_text("0123456789")
        for text, code, body, told in (
            ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
            ("bytes=7-", 206, b"789", "bytes 7-9/10"),
            ("bytes=-3", 206, b"789", "bytes 7-9/10"),
            ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
            ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
            ("bytes=10-", 416, b"", "bytes */10"),
            ("bytes=-0", 416, b"", "bytes */10"),
            ("bytes=4-2", 200, b"0123456789", None),
            ("bytes=1-2,4-5", 200, b"0123456789", None),
            ("lines=1-2", 200, b"0123456789", None),
            ("bytes=-", 200, b"0123456789", None),
        ):
            got = ask(self.files, "/static/digits", HTTP_RANGE=text)
            self.assertEqual((got.code, got.body, got.header("Content-Range")), (code, body, told), text)
            self.assertEqual(got.header("Content-Length"), str(len(body)), text)
        other = {"HTTP_RANGE": "bytes=2-4", "HTTP_IF_RANGE": '"another"'}
        self.assertEqual(ask(self.files, "/static/digits", **other).code, 200)

    def test_nothing_stays_open(self):
        before = len(os.listdir("/proc/self/fd"))
        for condition in ({}, {"HTTP_RANGE": "bytes=1-2"}, {"HTTP_IF_NONE_MATCH": "*"}, {"HTTP_RANGE": "bytes=99-"}):
            for method in ("GET", "HEAD", "POST"):
                ask(self.files, "/static/css/site.css", method, **condition)
        for name in ("pipe", "css", "out", "css/site.css/"):
            ask(self.files, f"/static/{name}")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class Compression(unittest.TestCase):
    def zipped(self, result, head=(), status="200 OK", **more):
        @zip.Gzip()
        def callback(environ, start_response):
            start_response(status, [("Content-Type", "text/html"), *head])
            return result

        return ask(at("", callback), **{"HTTP_ACCEPT_ENCODING": "gzip", **more})

    def test_what_is_compressed(self):
        text = "hello world " * 1000
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            file.seek(0)
            for result in ([text], text, iter([text[:5], text[5:]]), file):
                got = self.zipped(result, [("Content-Length", str(len(text))), ("ETag", '"x"')])
                self.assertEqual(gzip.decompress(got.body), text.encode())
                self.assertLess(len(got.body), 500)
                self.assertEqual(got.header("Content-Encoding"), "gzip")
                self.assertEqual(got.header("ETag"), 'W/"x"')
                self.assertEqual(got.header("Vary"), "Accept-Encoding")
                self.assertNotEqual(got.header("Content-Length"), str(len(text)))

    def test_what_is_left_alone(self):
        text = "hello world " * 1000
        for what in (
            {"HTTP_ACCEPT_ENCODING": ""},
            {"HTTP_ACCEPT_ENCODING": "gzip;q=0"},
            {"head": [("Content-Encoding", "br")]},
            {"head": [("Cache-Control", "no-transform")]},
            {"status": "206 Partial Content"},
            {"method": "HEAD"},
        ):
            got = self.zipped([text], **what)
            self.assertEqual(got.body, text.encode(), what)
            self.assertNotEqual(got.header("Content-Encoding"), "gzip", what)
        self.assertEqual(self.zipped(["short"]).body, b"short")

    def test_a_generator_s_blocks_leave_one_by_one(self):
        @zip.Gzip()
        def callback(environ, start_response):
            start_response("200 OK", [])
            yield "first"
            yield "second"

        blocks = iter(at("", callback)(environ_of("/", HTTP_ACCEPT_ENCODING="gzip"), lambda status, headers: None))
        reader = zlib.decompressobj(31)
        self.assertEqual(reader.decompress(next(blocks)), b"first")
        self.assertEqual(reader.decompress(next(blocks)), b"second")

    def test_accept_encoding(self):
        for text, takes in (
            ("gzip", True),
            ("deflate, gzip;q=1.0, *;q=0.5", True),
            ("*", True),
            ("x-gzip", True),
            ("", False),
            ("identity", False),
            ("gzip;q=0", False),
            ("*;q=0", False),
            ("gzip;q=x", False),
        ):
            self.assertEqual(takes_gzip(text), takes, text)


class Lines(unittest.TestCase):
    def logged(self, result, target="/x", **more):
        output = io.StringIO()

        @log.Log(output)
        @zip.Gzip()
        def callback(environ, start_response):
            start_response("404 Not Found", [])
            if isinstance(result, Exception):
                raise result
            start_response.set_cookie("a", "b")
            return result

        self.got = ask(at("", callback), target, **more)
        return output.getvalue()

    def test_a_line(self):
        line = self.logged(["12345"], "/x?y", HTTP_USER_AGENT="curl", HTTP_REFERER="http://r/")
        self.assertRegex(line, r'^192\.0\.2\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /x\?y HTTP/1\.1" 404 5 "http://r/" "curl"\n$')
        self.assertEqual((self.got.code, self.got.header("Content-Length"), self.got.header("Set-Cookie")), (404, "5", "a=b; Path=/"))

    def test_sizes(self):
        self.assertIn('" 404 7 "', self.logged(iter(["1234", "567"])))
        with tempfile.TemporaryFile() as file:
            file.write(b"x" * 9)
            file.seek(0)
            self.assertIn('" 404 9 "', self.logged(file))

    def test_no_client_writes_a_line_of_its_own(self):
        line = self.logged([], HTTP_USER_AGENT='x" 200\n1.2.3.4 \x1b[2Jé')
        self.assertEqual(line.count("\n"), 1)
        self.assertIn('"x\\x22 200\\x0a1.2.3.4 \\x1b[2J\\xe9"', line)

    def test_a_failure_is_logged_too(self):
        self.assertIn('" 500 - "', self.logged(ValueError("x")))


class Redirections(unittest.TestCase):
    def to(self, location, **more):
        return ask(at("", lambda environ, start_response: headers.redirect(start_response, location, **more)))

    def test_where_and_how(self):
        got = self.to("/edit?page=a b")
        self.assertEqual((got.code, got.header("Location")), (302, "/edit?page=a%20b"))
        self.assertEqual(self.to("/é%20").header("Location"), "/%C3%A9%20")
        self.assertEqual(self.to("/x", permanent=True).code, 301)

    def test_no_location_ends_its_line(self):
        got = self.to('/x\r\nSet-Cookie: a=1"><script>')
        self.assertEqual(got.header("Location"), "/x%0D%0ASet-Cookie:%20a=1%22%3E%3Cscript%3E")
        self.assertEqual(got.all("Set-Cookie"), [])
        self.assertNotIn(b"<script>", got.body)


class Sessions(unittest.TestCase):
    def test_data_comes_back_by_the_record(self):
        record = {}
        sessions.Session(record).setdata({"user": "é", "n": [1, 2]})
        again = sessions.Session(dict(record))
        self.assertEqual((again.sessionid, again.getdata()), (record["sessionid"], {"user": "é", "n": [1, 2]}))
        self.assertGreaterEqual(len(record["sessionid"]), 40)
        self.assertRegex(record["expiration_date"], r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")

    def test_ids_differ_and_change_on_demand(self):
        ids = {sessions.Session({}).sessionid for _ in range(100)}
        self.assertEqual(len(ids), 100)
        session = sessions.Session({})
        session.setdata("kept")
        before = session.sessionid
        self.assertNotEqual(session.newid(), before)
        self.assertEqual(session.getdata(), "kept")

    def test_an_expired_record_is_a_new_session(self):
        past = datetime.datetime(2001, 1, 1)
        for date in ("2001-01-01 00:00:00", past, past.replace(tzinfo=datetime.timezone.utc), "nonsense"):
            record = {"sessionid": "old", "strdata": '"secret"', "expiration_date": date}
            session = sessions.Session(record)
            self.assertNotEqual(session.sessionid, "old")
            self.assertIsNone(session.getdata())
            self.assertFalse(session.expired)

    def test_other_serializers_and_stores(self):
        record = {}
        when = datetime.datetime(2020, 1, 1)
        with self.assertRaises(TypeError):
            sessions.Session(record).setdata({"when": when})
        sessions.Session(record, serializer=pickle, prepare_data=str.encode).setdata({"when": when})
        self.assertIsInstance(record["strdata"], bytes)
        self.assertEqual(sessions.Session(record, serializer=pickle).getdata(), {"when": when})

    def test_the_cookie(self):
        response = base.Start_response()
        session = sessions.Session({}, max_age=60)
        session.set_cookie(response, secure=True)
        cookie = dict(response.header_list())["Set-Cookie"]
        self.assertEqual(cookie, f"sessionid={session.sessionid}; HttpOnly; Max-Age=60; Path=/; SameSite=Lax; Secure")


if __name__ == "__main__":
    unittest.main()
