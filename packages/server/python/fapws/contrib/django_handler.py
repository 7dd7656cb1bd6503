"""Django under a start script: `django_handler.handler(environ, start_response)` gives the body of Django's answer."""

_handler = None


def handler(environ, start_response):
    """
    The whole body as bytes, as scripts put it into a list. An answer that is streamed is collected: to have it leave block by
    block give Django's own application to `wsgi_cb`: `evwsgi.wsgi_cb(("", get_wsgi_application()))`.
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
