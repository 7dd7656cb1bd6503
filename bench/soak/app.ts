/** The soaks' app: a quick response, a download of a gigabyte, a blocking request, and a slowly read upload. */
import { appendFileSync } from "node:fs";

const GIGABYTE = 2 ** 30;
const PIECE = new Uint8Array(65_536).fill(120);
const WHO = { "x-instance": process.env.PACELINE_INSTANCE ?? "" };
const READ_BYTES_PER_SECOND = 1_000_000;

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const { BLOCKS_FILE } = process.env;

/** Uses CPU time for `ms` milliseconds, and records which process does so. */
function block(ms: number): void {
  if (BLOCKS_FILE !== undefined) appendFileSync(BLOCKS_FILE, `${WHO["x-instance"]}\n`);
  for (const end = performance.now() + ms; performance.now() < end; );
}

async function* gigabyte() {
  for (let sent = 0; sent < GIGABYTE; sent += PIECE.length) yield PIECE;
}

async function readSlowly(body: ReadableStream<Uint8Array> | null): Promise<number> {
  let total = 0;
  const startedAt = performance.now();
  for await (const piece of body ?? []) {
    total += piece.length;
    const aheadMs = (total / READ_BYTES_PER_SECOND) * 1000 - (performance.now() - startedAt);
    if (aheadMs > 0) await wait(aheadMs);
  }
  return total;
}

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/gigabyte") return new Response(gigabyte() as unknown as BodyInit);
    if (pathname === "/slow") return new Response(`${await readSlowly(request.body)}\n`);
    if (pathname === "/block") block(Number(searchParams.get("ms") ?? 2000));
    return new Response("Hello World!\n", { headers: WHO });
  },
};
