"""Hello World as a WSGI app, for uWSGI and gunicorn; as a program, it serves itself with werkzeug."""

import sys

BODY = b"Hello World!\n"


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))])
    return [BODY]


if __name__ == "__main__":
    import logging

    from werkzeug.serving import BaseWSGIServer, run_simple

    # A log line per request would dominate the measurement.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    BaseWSGIServer.request_queue_size = 4096
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True)
