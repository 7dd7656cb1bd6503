/** The app of the leak soak: keeps one megabyte more each second. */
const kept = [];
setInterval(() => kept.push(Buffer.alloc(1_000_000, 1)), 1000);

export default { fetch: () => new Response("Hello World!\n") };
