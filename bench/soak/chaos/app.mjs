/** The app of the chaos soak: each response repeats its request's target. A POST is written to the ledger before its response. */
import { appendFileSync } from "node:fs";
import path from "node:path";

const ledger = path.join(process.env.CHAOS_FOLDER ?? "", "ledger");

export default {
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    if (request.method === "POST") appendFileSync(ledger, `${await request.text()}\n`);
    if (search !== "") await new Promise((resolve) => setTimeout(resolve, 100));
    return new Response(`you asked for ${pathname}${search}\n`);
  },
};
