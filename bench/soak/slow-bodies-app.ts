/** The app for slow readers: a body of 60 MB as a string, as bytes, from a file, and in generated blocks. */
import { serveStatic } from "../../packages/server/dist/index.js";

const BYTES = 60_000_000;
const BLOCK = new Uint8Array(60_000).fill(120);
const text = "x".repeat(BYTES);
const bytes = new Uint8Array(BYTES).fill(120);
const files = serveStatic(process.env.SOAK_FOLDER ?? ".");

async function* blocks() {
  for (let sent = 0; sent < BYTES; sent += BLOCK.length) yield BLOCK;
}

export default {
  fetch(request: Request): Response | Promise<Response> {
    switch (new URL(request.url).pathname) {
      case "/string":
        return new Response(text);
      case "/bytes":
        return new Response(bytes);
      case "/file.bin":
        return files(request);
      case "/iterable":
        return new Response(blocks() as unknown as BodyInit);
      default:
        return new Response("Hello World!\n");
    }
  },
};
