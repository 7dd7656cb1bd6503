/** Sends and counts large bodies. */
const PIECE = new Uint8Array(65_536).fill(120);

async function* pieces(bytes) {
  for (let sent = 0; sent < bytes; sent += PIECE.length) yield PIECE;
}

export default {
  async fetch(request) {
    const bytes = Number(new URL(request.url).searchParams.get("bytes") ?? 0);
    if (request.method === "GET") return new Response(pieces(bytes));
    let total = 0;
    for await (const piece of request.body ?? []) total += piece.length;
    return new Response(`${total}\n`);
  },
};
