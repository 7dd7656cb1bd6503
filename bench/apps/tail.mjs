/**
 * A request takes 2 ms of processor time, or 32 ms if its path is /long; TAIL_KIND says when, TAIL_STYLE=node makes it a Node handler,
 * and the first instance takes TAIL_SLOW times as long.
 */
const { TAIL_KIND = "sync", TAIL_STYLE, TAIL_SLOW = "1", TAIL_INDEX = process.env.PACELINE_INDEX } = process.env;
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const slow = TAIL_INDEX === "1" ? Number(TAIL_SLOW) : 1;

function burn(url) {
  const milliseconds = slow * (url.endsWith("/long") ? 32 : 2);
  for (const end = performance.now() + milliseconds; performance.now() < end; );
  return "Hello World!\n";
}

const kinds = {
  sync: (url, respond) => respond(burn(url)),
  async async(url, respond) {
    const text = burn(url);
    await wait(2);
    return respond(text);
  },
  async late(url, respond) {
    await wait(2);
    return respond(burn(url));
  },
};
const handle = kinds[TAIL_KIND];

export default TAIL_STYLE === "node"
  ? (request, response) => void handle(request.url, (text) => response.end(text))
  : { fetch: (request) => handle(request.url, (text) => new Response(text)) };
