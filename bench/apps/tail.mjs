/** 90 % of its requests take 2 ms of processor time, 10 % take 32 ms; `?kind=` says when. */
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let random = (process.pid * 2_654_435_761) >>> 0;

function burn() {
  random = (random * 1_664_525 + 1_013_904_223) >>> 0;
  const milliseconds = random < 0.1 * 2 ** 32 ? 32 : 2;
  for (const end = performance.now() + milliseconds; performance.now() < end; );
  return new Response("Hello World!\n");
}

const kind = process.env.TAIL_KIND ?? "sync";
const handlers = {
  sync: () => burn(),
  async async() {
    const response = burn();
    await wait(2);
    return response;
  },
  async late() {
    await wait(2);
    return burn();
  },
};

export default { fetch: handlers[kind] };
