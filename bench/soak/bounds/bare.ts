/**
 * An app that reads no body, on the runtime's own server and without Paceline: it shows what the runtime alone keeps of uploads. Usage:
 * bare.ts PORT
 */

/** In milliseconds, like a balancer of the soak, which ends requests whose bodies are not read. */
const TIMEOUT_MS = 5000;

Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  idleTimeout: 0,
  maxRequestBodySize: Number.MAX_SAFE_INTEGER,
  async fetch(request: Request): Promise<Response> {
    await new Promise((resolve) => {
      request.signal.addEventListener("abort", resolve);
      setTimeout(resolve, TIMEOUT_MS);
    });
    return new Response("too late\n", { status: 504, headers: { connection: "close" } });
  },
});
process.stdout.write("listening\n");
