/** Responds with the name of its machine; counts each POST in a file, so that none is lost after a 200 and none runs twice. */
import { appendFileSync } from "node:fs";

const { BOX = "", LEDGER = "" } = process.env;
const SLOW_MS = 200;

export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (request.method === "POST") {
      await request.text();
      appendFileSync(LEDGER, `${searchParams.get("id")}\n`);
    }
    if (pathname === "/slow") await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
    return new Response(`from ${BOX}\n`, { headers: { "X-Box": BOX } });
  },
};
