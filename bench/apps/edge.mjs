/** The app of `bench:edge`: a short text, and JSON of 8.8 kB. */
const ROWS = Array.from({ length: 100 }, (_, id) => ({
  ...{ id, name: `name ${id}`, email: `user${(id * 7919) % 1000}@shop.example` },
  ...{ isOn: id % 3 === 0, score: Math.round(Math.sin(id) * 1e6) / 1e6 },
}));
const JSON_TEXT = JSON.stringify(ROWS);

export default {
  fetch: (request) =>
    request.url.endsWith("/json")
      ? new Response(JSON_TEXT, { headers: { "content-type": "application/json" } })
      : new Response("Hello World!\n"),
};
