/** The app of the scaling soak: waits, uses CPU time, or holds one of a few places of a "database". */
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Uses CPU time instead of elapsed time: on a busy machine it takes longer. */
function burn(ms) {
  const start = process.cpuUsage();
  for (;;) {
    const { user, system } = process.cpuUsage(start);
    if (user + system >= ms * 1000) return;
  }
}

export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const ms = Number(searchParams.get("ms") ?? 20);
    if (pathname === "/wait") await wait(ms);
    if (pathname === "/burn") burn(ms);
    // The time of the database is nobody's CPU time here; its places are shared through a service that the soak runs.
    if (pathname === "/database") await (await fetch(`${process.env.DATABASE}?ms=${ms}`)).text();
    return new Response("Hello World!\n");
  },
};
