/**
 * A request takes 2 ms of CPU time, or 32 ms if its path is /long. TAIL_KIND says when, TAIL_STYLE=node makes it a Node handler, and the
 * first instance takes TAIL_SLOW times as long. The response has the number of the instance, and when the handler was called, began to
 * compute, had computed and responded, in milliseconds since 1970.
 */
const { TAIL_KIND = "sync", TAIL_STYLE, TAIL_SLOW = "1", TAIL_INDEX = process.env.PACELINE_INDEX } = process.env;
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const now = () => performance.timeOrigin + performance.now();
const slow = TAIL_INDEX === "1" ? Number(TAIL_SLOW) : 1;

function burn(url) {
  const milliseconds = slow * (url.endsWith("/long") ? 32 : 2);
  const times = `${now()} `;
  for (const end = performance.now() + milliseconds; performance.now() < end; );
  return `${times}${now()}`;
}

const lineOf = (calledAt, burnt) => `${TAIL_INDEX} ${calledAt} ${burnt} ${now()}\n`;

const kinds = {
  sync: (url, respond) => respond(lineOf(now(), burn(url))),
  async async(url, respond) {
    const calledAt = now();
    const burnt = burn(url);
    await wait(2);
    return respond(lineOf(calledAt, burnt));
  },
  async late(url, respond) {
    const calledAt = now();
    await wait(2);
    return respond(lineOf(calledAt, burn(url)));
  },
};
const handle = kinds[TAIL_KIND];

export default TAIL_STYLE === "node"
  ? (request, response) => void handle(request.url, (text) => response.end(text))
  : { fetch: (request) => handle(request.url, (text) => new Response(text)) };
