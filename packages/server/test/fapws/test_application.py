"""Which callback responds, its arguments, and the handling of its result."""

import contextlib
import datetime
import io
import os
import tempfile
import types
import unittest

from support import ask

from paceline.errors import ClientGone

from fapws import base, config
from fapws._application import Application


def serving(*pairs, generic=None):
    application = Application()
    for pair in pairs:
        application.add(*pair)
    if generic is not None:
        application.set_generic(generic)
    return application


def saying(what):
    def callback(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return what

    return callback


def telling(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}|{environ['QUERY_STRING']}|{environ['fapws.params']}"]


class Addresses(unittest.TestCase):
    def test_the_first_that_fits_answers(self):
        first = serving(("/longzipped", saying(["zipped"])), ("/long", saying(["long"])), ("/", saying(["all"])))
        for target, body in (("/longzipped", b"zipped"), ("/long", b"long"), ("/longer", b"long"), ("/x", b"all")):
            self.assertEqual(ask(first, target).body, body)
        # In the other order, the shorter pattern matches everything.
        self.assertEqual(ask(serving(("/", saying(["all"])), ("/long", saying(["long"]))), "/long").body, b"all")

    def test_the_prefix_is_the_script_name(self):
        for prefix, target, told in (
            ("/env", "/env/param?key=val", b"/env|/param|key=val|{'key': ['val']}"),
            ("/env", "/env", b"/env|||{}"),
            ("/display/", "/display/Hello", b"/display/|Hello||{}"),
            ("", "/any/thing", b"|/any/thing||{}"),
            (b"/env", "/env/x", b"/env|/x||{}"),
            # PATH_INFO has the bytes of UTF-8 as text, and telling() writes text in UTF-8.
            ("/é", "/\xc3\xa9/x", "/\xc3\xa9|/x||{}".encode()),
            ("/é".encode(), "/\xc3\xa9/x", "/\xc3\xa9|/x||{}".encode()),
        ):
            self.assertEqual(ask(serving((prefix, telling)), target).body, told)

    def test_a_mount_of_the_server_stays_before_the_prefix(self):
        got = ask(serving(("/env", telling)), "/env/x", SCRIPT_NAME="/mount")
        self.assertEqual(got.body, b"/mount/env|/x||{}")

    def test_what_nobody_answers_is_404_and_not_500(self):
        got = ask(serving(("/hello", saying(["hello"]))), "/wrongpage")
        self.assertEqual((got.code, got.body), (404, b"Page not found\n"))

    def test_the_generic_callback_answers_the_rest(self):
        application = serving(("/hello", saying(["hello"])), generic=telling)
        self.assertEqual(ask(application, "/hello").body, b"hello")
        self.assertEqual(ask(application, "/other/x").body, b"|/other/x||{}")


class Methods(unittest.TestCase):
    def test_what_is_unknown_is_501(self):
        self.assertEqual(ask(serving(("", telling)), "/", "GIT").code, 501)

    def test_a_script_may_add_one(self):
        module = types.ModuleType("mybase")
        module.Environ, module.Start_response = base.Environ, base.Start_response
        module.supported_HTTP_command = ["GET", b"TRACE"]
        application = serving(("", saying(["traced"])))
        application.set_base(module)
        self.assertEqual(ask(application, "/", "TRACE").body, b"traced")
        self.assertEqual(ask(application, "/", "POST").code, 501)

    def test_options_is_answered_without_the_callback(self):
        got = ask(serving(("", saying(["no"]))), "/", "OPTIONS")
        self.assertEqual((got.code, got.body), (200, b""))
        self.assertTrue(got.header("Allow").startswith("GET, HEAD, POST"))


class Environs(unittest.TestCase):
    def keys(self, target="/x?a=1", **more):
        seen = []

        def callback(environ, start_response):
            seen.append(environ)
            start_response("200 OK", [])
            return []

        ask(serving(("/x", callback)), target, **more)
        return seen[0]

    def test_the_keys_of_fapws(self):
        environ = self.keys(REMOTE_PORT="4711", HTTP_USER_AGENT="curl")
        self.assertEqual(environ["fapws.uri"], "/x?a=1")
        self.assertEqual(environ["fapws.major_minor"], "1.1")
        self.assertEqual(environ["fapws.remote_addr"], "192.0.2.1")
        self.assertEqual(environ["fapws.remote_port"], 4711)
        self.assertEqual(environ["HTTP_PROTOCOL"], "HTTP/1.1")
        self.assertEqual(environ["wsgi.url_scheme"], "http")
        head = environ.get("fapws.raw_header").split("\r\n")
        self.assertEqual(head[0], "GET /x?a=1 HTTP/1.1")
        self.assertIn("User-Agent: curl", head)
        self.assertIsNone(environ.get("fapws.nothing"))

    def test_a_form(self):
        form = {"CONTENT_TYPE": "application/x-www-form-urlencoded; charset=utf-8"}
        environ = self.keys("/x?q=1", method="POST", body=b"a=1&a=2&b=&c=%C3%A9+%FF", **form)
        self.assertEqual(environ["fapws.params"], {"a": ["1", "2"], "b": [""], "c": ["é \udcff"]})
        self.assertEqual(environ["HTTP_CONTENT_TYPE"], form["CONTENT_TYPE"])
        self.assertEqual(environ["wsgi.input"].read(), b"a=1&a=2&b=&c=%C3%A9+%FF")
        self.assertEqual(environ["wsgi.input"].getvalue(), b"")

    def test_another_body_is_left_to_be_read_and_read_again(self):
        environ = self.keys("/x?q=1", method="POST", body=b"{}\n[]", CONTENT_TYPE="application/json")
        self.assertEqual(environ["fapws.params"], {"q": ["1"]})
        self.assertEqual(environ["wsgi.input"].getvalue(), b"{}\n[]")
        self.assertEqual(environ["wsgi.input"].getvalue(), b"{}\n[]")
        self.assertEqual(list(environ["wsgi.input"]), [b"{}\n", b"[]"])

    def test_what_is_too_much_is_refused(self):
        application = serving(("", saying(["ok"])))
        form = {"CONTENT_TYPE": "application/x-www-form-urlencoded"}
        long = b"a=" + b"x" * config.max_form_bytes
        self.assertEqual(ask(application, "/", "POST", long, **form).code, 413)
        # Also without a length.
        self.assertEqual(ask(application, "/", "POST", long, CONTENT_LENGTH="", **form).code, 413)
        many = "&".join("a" for _ in range(config.max_form_fields + 1))
        self.assertEqual(ask(application, "/?" + many).code, 400)

    def test_a_base_module_of_the_scripts_own(self):
        class Environ(base.Environ):
            def update_method(self, data):
                super().update_method(data)
                self["my.method"] = data["REQUEST_METHOD"].lower()

        module = types.ModuleType("mybase")
        module.Environ, module.Start_response = Environ, base.Start_response
        application = serving(("", lambda environ, start_response: [environ["my.method"]]))
        application.set_base(module)
        self.assertEqual(ask(application).body, b"get")
        with self.assertRaisesRegex(TypeError, "has no Environ"):
            application.set_base(os)


class Answers(unittest.TestCase):
    def test_text_bytes_and_what_mixes_them(self):
        for what in (["a", b"b", "", "é"], ("ab", "é"), "abé", "abé".encode(), iter(["ab", "", "é"])):
            self.assertEqual(ask(serving(("", saying(what)))).body, "abé".encode())
        for what in ([], None, iter([])):
            self.assertEqual(ask(serving(("", saying(what)))).body, b"")

    def test_the_charset_of_the_content_type(self):
        def callback(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html; charset=iso-8859-1")])
            return ["é"]

        self.assertEqual(ask(serving(("", callback))).body, b"\xe9")

    def test_a_list_has_a_length_and_a_generator_none(self):
        self.assertEqual(ask(serving(("", saying(["Hello", " world!!"])))).header("Content-Length"), "13")
        self.assertEqual(ask(serving(("", saying([])))).header("Content-Length"), "0")
        self.assertIsNone(ask(serving(("", saying(iter(["x"]))))).header("Content-Length"))

    def test_a_generator_says_its_status_when_it_is_asked_for_a_block(self):
        def callback(environ, start_response):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            yield "Pong!"
            yield "Ping!"

        got = ask(serving(("", callback)))
        self.assertEqual((got.status, got.body), ("404 Not Found", b"Pong!Ping!"))

    def test_a_generator_is_closed(self):
        closed = []

        def callback(environ, start_response):
            start_response("200 OK", [])
            try:
                yield "a"
                yield "b"
            finally:
                closed.append(True)

        ask(serving(("", callback)))
        self.assertEqual(closed, [True])

    def test_an_open_file_is_sent_and_closed(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x" * 100_000)
            file.flush()
            opened = open(file.name, "rb")
            got = ask(serving(("", saying(opened))))
            self.assertEqual((len(got.body), got.header("Content-Length")), (100_000, "100000"))
            self.assertTrue(opened.closed)

    def test_a_status_need_not_be_said(self):
        got = ask(serving(("", lambda environ, start_response: ["fine"])))
        self.assertEqual((got.status, got.body), ("200 OK", b"fine"))

    def test_status_and_headers_in_bytes(self):
        def callback(environ, start_response):
            start_response(b"201 Created", [(b"Content-Type", b"text/html"), ("X-Count", 4444)])
            start_response.add_header("X-More", "yes")
            return [b"x"]

        got = ask(serving(("", callback)))
        self.assertEqual(got.status, "201 Created")
        self.assertEqual((got.header("X-Count"), got.header("X-More")), ("4444", "yes"))

    def test_fields_of_one_hop_are_the_servers(self):
        def callback(environ, start_response):
            start_response("200 OK", [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("X-Kept", "1")])
            return iter(["x"])

        self.assertEqual(ask(serving(("", callback))).headers, [("X-Kept", "1")])

    def test_the_head_can_be_changed_until_the_callback_returns(self):
        def callback(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html")])
            start_response.status_code, start_response.status_reasons = "303", "See Other"
            start_response.response_headers["content-type"] = "text/plain"
            start_response.response_headers = {**start_response.response_headers, "Location": "/x"}
            return []

        got = ask(serving(("", callback)))
        self.assertEqual((got.status, got.all("Content-Type"), got.header("Location")), ("303 See Other", ["text/plain"], "/x"))

    def test_write_sends_at_once(self):
        def callback(environ, start_response):
            write = start_response("200 OK", [])
            write("one ")
            write(b"two ")
            return ["three"]

        self.assertEqual(ask(serving(("", callback))).body, b"one two three")

    def test_cookies(self):
        def callback(environ, start_response):
            start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
            known = base.parse_cookies(environ)
            start_response.set_cookie("seen", known["id"].value, max_age=60, httponly=True, secure=True, samesite="Lax")
            until = datetime.datetime(2030, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
            start_response.set_cookie("until", "x", expires=until, path="/p", domain="example.com")
            start_response.delete_cookie("old")
            return []

        cookies = ask(serving(("", callback)), HTTP_COOKIE='bad cookie; id="42"; other=1').all("Set-Cookie")
        self.assertEqual(cookies[:2], ["a=1", "b=2"])
        self.assertEqual(cookies[2], "seen=42; HttpOnly; Max-Age=60; Path=/; SameSite=Lax; Secure")
        self.assertEqual(cookies[3], "until=x; Domain=example.com; expires=Wed, 02 Jan 2030 03:04:05 GMT; Path=/p")
        self.assertIn("Max-Age=0", cookies[4])
        self.assertIsNone(base.parse_cookies({}))


class Failures(unittest.TestCase):
    def failing(self, callback):
        log = io.StringIO()
        with contextlib.redirect_stderr(log):
            got = ask(serving(("", callback)))
        return got, log.getvalue()

    def test_the_log_has_the_traceback_and_the_client_has_not(self):
        def callback(environ, start_response):
            raise KeyError("secret")

        got, log = self.failing(callback)
        self.assertEqual((got.code, got.body), (500, config.send_traceback_short.encode()))
        self.assertIn("KeyError: 'secret'", log)

    def test_a_client_that_left_is_no_failure(self):
        class Gone(io.RawIOBase):
            def read(self, size=-1):
                raise ClientGone("the client left")

        form = {"CONTENT_TYPE": "application/x-www-form-urlencoded", "wsgi.input": Gone()}
        with self.assertRaises(ClientGone):
            ask(serving(("", saying(["x"]))), "/", "POST", **form)

    def test_a_script_may_show_it(self):
        def callback(environ, start_response):
            raise KeyError("<secret>")

        config.send_traceback_to_browser = True
        self.addCleanup(setattr, config, "send_traceback_to_browser", False)
        got, _ = self.failing(callback)
        self.assertIn(b"KeyError: &#x27;&lt;secret&gt;&#x27;", got.body)

    def test_a_head_that_could_be_split_is_not_sent(self):
        def header(environ, start_response):
            start_response("200 OK", [("X", "a\r\nSet-Cookie: b=1")])
            return []

        def status(environ, start_response):
            start_response("200 OK\r\nX: y", [])
            return []

        def cookie(environ, start_response):
            start_response.set_cookie("a", "b", path="/\r\nX: y")
            return []

        for callback in (header, status, cookie):
            self.assertEqual(self.failing(callback)[0].code, 500, callback.__name__)

    def test_what_is_no_answer_is_500(self):
        for what in (True, 42, [1], ["a", None]):
            self.assertEqual(self.failing(saying(what))[0].code, 500, what)

    def test_a_generator_that_fails_at_its_beginning_is_500_and_later_is_cut(self):
        def early(environ, start_response):
            start_response("200 OK", [])
            raise ValueError("early")
            yield

        def late(environ, start_response):
            start_response("200 OK", [])
            yield "half"
            raise ValueError("late")

        self.assertEqual(self.failing(early)[0].code, 500)
        with self.assertRaisesRegex(ValueError, "late"):
            ask(serving(("", late)))


if __name__ == "__main__":
    unittest.main()
