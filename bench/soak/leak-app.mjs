/** The app of the leak soak: each second it keeps one more megabyte. */
const kept = [];
setInterval(() => kept.push(Buffer.alloc(1_000_000, 1)), 1000);

export default { fetch: () => new Response("Hello World!\n") };
