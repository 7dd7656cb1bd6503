/** The page at `/`; gunicorn serves the paths under `/api/`. */
export default {
  fetch(): Response {
    return new Response('Ask <a href="/api/">the API</a>.\n', { headers: { "content-type": "text/html" } });
  },
};
