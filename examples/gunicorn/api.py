"""A WSGI app as gunicorn serves it: it responds with its instance and with its process."""
import json
import os


def app(environ, start_response):
    answer = {"instance": os.environ["PACELINE_INSTANCE"], "pid": os.getpid(), "path": environ["PATH_INFO"]}
    body = (json.dumps(answer) + "\n").encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
