/** Each request takes BUSY_MS milliseconds of CPU time, 20 by default. */
const milliseconds = Number(process.env.BUSY_MS ?? 20);

export default {
  fetch() {
    for (const end = performance.now() + milliseconds; performance.now() < end; );
    return new Response("Hello World!\n");
  },
};
