"""The functions of `_evwsgi` that need no server."""

import unittest

from fapws import _evwsgi
from fapws._form import Refused
from fapws._timers import Timers


class Queries(unittest.TestCase):
    def test_parse_query(self):
        for query, params in (
            ("", {}),
            ("a=1&a=2&b", {"a": ["1", "2"], "b": [""]}),
            (b"a=%C3%A9+x", {"a": ["é x"]}),
            ("\xc3\xa9=1", {"é": ["1"]}),
            ("ŝ=1", {"ŝ": ["1"]}),
            ("a=%ff", {"a": ["\udcff"]}),
            ("a=1;b=2", {"a": ["1;b=2"]}),
        ):
            self.assertEqual(_evwsgi.parse_query(query), params, query)
        with self.assertRaises(Refused):
            _evwsgi.parse_query("a&" * 2000)

    def test_rfc1123_date(self):
        self.assertEqual(_evwsgi.rfc1123_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT")
        self.assertEqual(_evwsgi.rfc1123_date(784111777.9), "Sun, 06 Nov 1994 08:49:37 GMT")


class Wrong(unittest.TestCase):
    def test_arguments_are_refused_where_they_are_given(self):
        for call in (
            lambda: _evwsgi.wsgi_cb(("/x", None)),
            lambda: _evwsgi.wsgi_gen_cb("x"),
            lambda: _evwsgi.set_base_module(unittest),
            lambda: _evwsgi.add_timer(1, None),
        ):
            self.assertRaises(TypeError, call)
        self.assertRaisesRegex(ValueError, "there is no timer 99", _evwsgi.stop_timer, 99)
        self.assertRaisesRegex(ValueError, "there is no timer 99", _evwsgi.restart_timer, 99)


class Ticker:
    def __init__(self, seconds, callback):
        self.seconds, self.callback, self.running = seconds, callback, True

    def stop(self):
        self.running = False


class NumberedTimers(unittest.TestCase):
    def test_each_has_a_number_by_which_it_stops_and_starts(self):
        made = []

        def every(seconds, callback):
            made.append(Ticker(seconds, callback))
            return made[-1]

        timers = Timers(every)
        first, second = timers.add(2, print), timers.add(0.5, len)
        self.assertNotEqual(first, second)
        timers.stop(first)
        timers.stop(first)
        self.assertEqual([ticker.running for ticker in made], [False, True])
        timers.restart(first)
        timers.restart(second)
        self.assertEqual([ticker.running for ticker in made], [False, False, True, True])
        self.assertEqual((made[2].seconds, made[2].callback, made[3].callback), (2.0, print, len))


if __name__ == "__main__":
    unittest.main()
