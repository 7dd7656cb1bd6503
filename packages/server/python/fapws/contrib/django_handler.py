"""Runs Django in a start script: `django_handler.handler(environ, start_response)` returns the body of Django's response."""

_handler = None


def handler(environ, start_response):
    """
    Returns the whole body as bytes, which scripts put into a list. Streamed responses are collected. To send them in blocks,
    pass Django's own application to `wsgi_cb`: `evwsgi.wsgi_cb(("", get_wsgi_application()))`.
    """
    global _handler
    if _handler is None:
        from django.core.wsgi import get_wsgi_application

        _handler = get_wsgi_application()
    result = _handler(environ, start_response)
    try:
        return b"".join(result)
    finally:
        if hasattr(result, "close"):
            result.close()
