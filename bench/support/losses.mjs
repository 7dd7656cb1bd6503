/** Where we lose: every figure of a peer that is better than ours, and by how much. */

const LOAD_METRICS = [
  {
    key: "requestsPerSecond",
    text: (value) => `${Math.round(value).toLocaleString("en-US")} req/s`,
    isMoreBetter: true,
  },
  { key: "p50Ms", text: (value) => `p50 ${short(value)} ms` },
  { key: "p99Ms", text: (value) => `p99 ${short(value)} ms` },
  { key: "cpuUs", text: (value) => `${value.toFixed(1)} µs CPU a request` },
  { key: "rssMB", text: (value) => `${value.toFixed(0)} MB RSS` },
  { key: "pssMB", text: (value) => `${value.toFixed(0)} MB PSS` },
];
const MEMORY_METRICS = LOAD_METRICS.slice(-2);

const short = (value) => value.toFixed(value < 1 ? 2 : value < 100 ? 1 : 0);

const VIEWS = {
  load: [
    ["close", "one connection a request", LOAD_METRICS],
    ["keep-alive", "kept connections", LOAD_METRICS],
  ],
  memory: [
    ["idle", "idle", MEMORY_METRICS],
    ["loaded", "after load", MEMORY_METRICS],
  ],
};

/**
 * Peers are compared with our row on the default runtime, and those that run on Node with our row on Node too.
 * @returns `{ section, view, ours, peer, figures: [{ peer, ours, percent }] }` for each pair with a loss; percent of ours, signed
 */
export function lossesOf(sections) {
  const losses = [];
  for (const { title, kind, rows } of sections) {
    const ours = rows.filter(({ isOurs }) => isOurs);
    for (const [key, view, metrics] of VIEWS[kind]) {
      for (const [i, own] of ours.entries()) {
        for (const peer of rows) {
          if (peer.isOurs || own[key] === undefined || peer[key] === undefined) continue;
          if (i > 0 && peer.runtime !== own.runtime) continue;
          const figures = metrics.flatMap((metric) => lossIn(metric, peer[key], own[key]));
          if (figures.length > 0) losses.push({ section: title, view, ours: own.name, peer: peer.name, figures });
        }
      }
    }
  }
  return losses;
}

function lossIn({ key, text, isMoreBetter = false }, peer, own) {
  const peerValue = peer[key];
  const ourValue = own[key];
  if (typeof peerValue !== "number" || typeof ourValue !== "number") return [];
  if (isMoreBetter ? peerValue <= ourValue : peerValue >= ourValue) return [];
  // What reads the same is the same.
  if (text(peerValue) === text(ourValue)) return [];
  return [{ peer: text(peerValue), ours: text(ourValue), percent: Math.round((peerValue / ourValue - 1) * 100) }];
}

/** A line of text for each. */
export function lossLines(losses) {
  return losses.map(({ section, view, ours, peer, figures }) => {
    const texts = figures.map(
      (figure) =>
        `${figure.peer} against ${figure.ours} (${figure.percent > 0 ? "+" : "−"}${Math.abs(figure.percent)} %)`,
    );
    return `${section}, ${view}: ${peer} beats ${ours}: ${texts.join("; ")}`;
  });
}
