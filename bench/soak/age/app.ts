/** The soak's app as a fetch app. */
import type { RequestInfo } from "paceline/server";

const PIECE = new Uint8Array(65_536).fill(120);
const TAIL = new Uint8Array(3_000_000).fill(98);
const text = new TextEncoder();

function events(everyMs: number): ReadableStream<Uint8Array> {
  let timer: ReturnType<typeof setInterval>;
  return new ReadableStream({
    start(controller) {
      const tell = () => controller.enqueue(text.encode("data: tick\n\n"));
      tell();
      timer = setInterval(tell, everyMs);
    },
    cancel() {
      clearInterval(timer);
    },
  });
}

async function* body(bytes: number) {
  for (let left = bytes; left > 0; left -= PIECE.length) yield left < PIECE.length ? PIECE.subarray(0, left) : PIECE;
}

async function tunnel(request: Request, info: RequestInfo): Promise<Response> {
  const upgrade = info.upgrade?.();
  if (upgrade === undefined) return new Response("no upgrade", { status: 426 });
  const { pathname, searchParams } = new URL(request.url);
  if (pathname.endsWith("/echo")) {
    void upgrade.readable.pipeTo(upgrade.writable).catch(() => {});
    return upgrade.response;
  }
  const tail = async () => {
    for await (const _ of upgrade.readable);
    const writer = upgrade.writable.getWriter();
    const timer = setInterval(() => void writer.write(text.encode("tick\n")), Number(searchParams.get("everyMs")));
    await new Promise((resolve) => setTimeout(resolve, Number(searchParams.get("forMs"))));
    clearInterval(timer);
    await writer.write(TAIL);
    await writer.close();
  };
  void tail().catch(() => {});
  return upgrade.response;
}

export default {
  async fetch(request: Request, info: RequestInfo): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname.endsWith("/events")) return new Response(events(Number(searchParams.get("everyMs"))));
    if (pathname.endsWith("/body")) return new Response(body(Number(searchParams.get("bytes"))) as unknown as BodyInit);
    if (pathname.endsWith("/echo") || pathname.endsWith("/tail")) return tunnel(request, info);
    if (pathname.endsWith("/upload")) {
      let bytes = 0;
      for await (const piece of request.body ?? []) bytes += piece.length;
      return new Response(`${bytes} bytes`);
    }
    return new Response("hello");
  },
};
