/** Computes where Paceline loses: each better figure of a peer, and the difference. */

const short = (value) => value.toFixed(value < 1 ? 2 : value < 100 ? 1 : 0);

const METRICS = [
  {
    key: "requestsPerSecond",
    title: "req/s",
    text: (value) => Math.round(value).toLocaleString("en-US"),
    isMoreBetter: true,
  },
  { key: "p50Ms", title: "p50 ms", text: short },
  { key: "p99Ms", title: "p99 ms", text: short },
  { key: "cpuUs", title: "CPU µs/req", text: (value) => value.toFixed(1) },
  { key: "rssMB", title: "RSS MB", text: (value) => value.toFixed(0) },
  { key: "pssMB", title: "PSS MB", text: (value) => value.toFixed(0) },
];

const VIEWS = {
  load: ["close", "keep-alive"],
  memory: ["idle", "loaded"],
};

/**
 * Compares peers with Paceline on its default runtime, and Node peers also with Paceline on Node.
 * @returns `{ section, view, ours, peer, figures }` for each pair with a loss; figures by metric: `{ peer, ours, percent }`,
 * where percent is the signed difference of the peer from ours
 */
export function lossesOf(sections) {
  const losses = [];
  for (const { id, kind, rows } of sections) {
    const ours = rows.filter(({ isOurs }) => isOurs);
    for (const view of VIEWS[kind]) {
      for (const [i, own] of ours.entries()) {
        for (const peer of rows) {
          if (peer.isOurs || own[view] === undefined || peer[view] === undefined) continue;
          if (i > 0 && peer.runtime !== own.runtime) continue;
          const figures = Object.fromEntries(METRICS.flatMap((metric) => lossIn(metric, peer[view], own[view])));
          if (Object.keys(figures).length > 0) {
            losses.push({ section: id, view, ours: own.name, peer: peer.name, figures });
          }
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
  // Values that are printed the same count as equal.
  if (text(peerValue) === text(ourValue)) return [];
  const percent = Math.round((peerValue / ourValue - 1) * 100);
  return [[key, { peer: text(peerValue), ours: text(ourValue), percent }]];
}

/** Returns a table for each of our rows with a loss; a cell without a loss is empty. */
export function lossTables(losses) {
  return [...new Set(losses.map(({ ours }) => ours))].map((name) => ({
    caption: `${name} loses to`,
    header: ["", "at", ...METRICS.map(({ title }) => title)],
    rows: losses
      .filter(({ ours }) => ours === name)
      .map(({ section, view, peer, figures }) => [
        peer,
        `${section}, ${view}`,
        ...METRICS.map(({ key }) => (figures[key] === undefined ? "" : cellOf(figures[key]))),
      ]),
  }));
}

function cellOf({ peer, ours, percent }) {
  const size = Math.abs(percent) < 1 ? "under 1" : `${percent > 0 ? "+" : "−"}${Math.abs(percent)}`;
  return `${peer} / ${ours} (${size} %)`;
}
