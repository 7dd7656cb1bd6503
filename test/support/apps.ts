/** The apps of the scenarios. */

/** The response of HELLO on `/`. */
export const HELLO_BODY = "Hello World!";

/**
 * Sends the name of its instance in X-Instance. `/slow?ms=500` takes that long, `/held` waits for a file `released`, `/big?bytes=N&ms=M`
 * sends N bytes with a pause in between, `/pid` and `/env?name=X` describe the process, `/crash` crashes it after the response, `/chat`
 * writes to its output.
 */
export const HELLO = `
import { existsSync as isThere } from "node:fs";
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const who = { "x-instance": process.env.PACELINE_INSTANCE ?? "", "content-type": "text/plain" };
export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const ms = Number(searchParams.get("ms") ?? 0);
    switch (pathname) {
      case "/slow":
        await sleep(ms);
        return new Response("slow", { headers: who });
      case "/held":
        while (!isThere("released")) await sleep(10);
        return new Response("held", { headers: who });
      case "/big": {
        const half = new Uint8Array(Number(searchParams.get("bytes")) / 2).fill(97);
        async function* body() {
          yield half;
          await sleep(ms);
          yield half;
        }
        return new Response(ReadableStream.from ? ReadableStream.from(body()) : body(), { headers: who });
      }
      case "/pid":
        return new Response(String(process.pid), { headers: who });
      case "/env":
        return new Response(String(process.env[searchParams.get("name")]), { headers: who });
      case "/crash":
        setTimeout(() => process.exit(7), 20);
        return new Response("good-bye", { headers: who });
      case "/chat":
        console.log("a line for each request");
      default:
        return new Response("${HELLO_BODY}", { headers: who });
    }
  },
};
`;

/** Returns an app with this text, to distinguish versions of the code. */
export function saying(text: string): string {
  return `export default { fetch: () => new Response(${JSON.stringify(text)}) };\n`;
}

/** Throws while loading. */
export function throwing(message: string): string {
  return `throw new Error(${JSON.stringify(message)});\n`;
}
