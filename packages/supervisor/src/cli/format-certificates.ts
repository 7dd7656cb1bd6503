/** Formats certificates: one line for each, and below the table what is wrong with them. */
import { type CertificateView, troubleOf } from "../core/certificates.js";
import { formatDuration } from "../core/words.js";
import { wrap } from "./format-explanation.js";
import { formatTable } from "./format-status.js";

const COLUMNS = 80;
const DAY_MS = 86_400_000;

export function formatCertificates(views: readonly CertificateView[], now: number): string {
  if (views.length === 0) return "the fleet has no certificates: no address in listen is https";
  const rows = views.map(({ names, source, issuer, state, notAfter, nextOrderAt, lastError }) => [
    names.length > 2 ? `${names[0]} and ${names.length - 1} more` : names.join(", "),
    source,
    issuer ?? "-",
    state,
    notAfter === null ? "-" : spanText(notAfter - now),
    nextOrderAt === null ? "-" : nextOrderAt <= now ? "now" : spanText(nextOrderAt - now),
    lastError === null ? "" : "failed",
  ]);
  const head = ["NAME", "SOURCE", "ISSUER", "STATE", "LEFT", "RENEWED IN", "LAST TRY"];
  const isShown = rows.some((row) => row.at(-1) !== "");
  const table = formatTable([head, ...rows].map((row) => (isShown ? row : row.slice(0, -1))));
  const troubles = views.flatMap((view) => {
    const trouble = troubleOf(view, now);
    const said = view.lastError?.message ?? "";
    const failed = trouble?.reason.includes(said) || said === "" ? [] : wrap(said, COLUMNS, `${view.names[0]}: `, "  ");
    if (trouble === undefined) return failed;
    const todo = trouble.todo === "" ? [] : wrap(trouble.todo, COLUMNS, "  → ", "    ");
    return [...wrap(trouble.reason, COLUMNS, "", "  "), ...failed, ...todo];
  });
  return [...table, ...(troubles.length === 0 ? [] : ["", ...troubles])].join("\n");
}

function spanText(ms: number): string {
  if (ms <= 0) return "expired";
  return ms >= 2 * DAY_MS ? `${Math.floor(ms / DAY_MS)} d` : formatDuration(ms / 1000);
}
