/**
 * 90 % of its requests take 2 ms of processor time, 10 % take 32 ms; TAIL_KIND says when, TAIL_STYLE=node makes it a Node handler,
 * and the first instance takes TAIL_SLOW times as long.
 */
const { TAIL_KIND = "sync", TAIL_STYLE, TAIL_SLOW = "1", TAIL_INDEX = process.env.PACELINE_INDEX } = process.env;
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const slow = TAIL_INDEX === "1" ? Number(TAIL_SLOW) : 1;

let random = (process.pid * 2_654_435_761) >>> 0;

function burn() {
  random = (random * 1_664_525 + 1_013_904_223) >>> 0;
  const milliseconds = slow * (random < 0.1 * 2 ** 32 ? 32 : 2);
  for (const end = performance.now() + milliseconds; performance.now() < end; );
  return "Hello World!\n";
}

const kinds = {
  sync: (respond) => respond(burn()),
  async async(respond) {
    const text = burn();
    await wait(2);
    return respond(text);
  },
  async late(respond) {
    await wait(2);
    return respond(burn());
  },
};
const handle = kinds[TAIL_KIND];

export default TAIL_STYLE === "node"
  ? (_, response) => void handle((text) => response.end(text))
  : { fetch: () => handle((text) => new Response(text)) };
