/** The page at `/`; what is under `/api/` is gunicorn's. */
export default {
  fetch(): Response {
    return new Response('Ask <a href="/api/">the API</a>.\n', { headers: { "content-type": "text/html" } });
  },
};
