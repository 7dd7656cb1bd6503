/** A certificate as status, `paceline certs`, metrics and `explain` show it, and its problems. Pure. */
import type { NameState, OrderError } from "./acme-plan.js";
import { formatDuration } from "./words.js";

/** Times are Unix times in milliseconds. */
export interface CertificateView {
  names: string[];
  source: "file" | "self-signed" | "internal" | "automatic";
  /** Null while there is no certificate. */
  issuer: string | null;
  notBefore: number | null;
  notAfter: number | null;
  state: NameState;
  /** When an automatic certificate is renewed or ordered next; null for all others. */
  nextOrderAt: number | null;
  lastError: OrderError | null;
  /** Whether the CA wants the certificate to be replaced at once, for example after a revocation. */
  isRecalled: boolean;
  /** Whether a client requested it. */
  isOnDemand: boolean;
}

export interface CertificateTrouble {
  /** Whether clients cannot connect. */
  isBad: boolean;
  reason: string;
  todo: string;
}

const DAY_MS = 86_400_000;
/** A certificate from a file is a problem if it has less time left than this. In milliseconds. */
const SOON_MS = 14 * DAY_MS;

/** Returns what is wrong with a certificate. */
export function troubleOf(view: CertificateView, now: number): CertificateTrouble | undefined {
  const { source, notBefore, notAfter, state, lastError, nextOrderAt, isRecalled } = view;
  const name = view.names[0] ?? "";
  const because = lastError === null ? "" : `: ${lastError.message}`;
  const next = nextOrderAt === null || nextOrderAt <= now ? "" : `; next attempt in ${spanText(nextOrderAt - now)}`;
  if (notAfter === null || notBefore === null) {
    const isUnderWay = lastError === null || state === "ordering";
    return {
      isBad: !isUnderWay || lastError !== null,
      reason: `https does not work for ${name} yet: its certificate is ${isUnderWay ? "being ordered" : "missing"}${because}${isUnderWay ? "" : next}`,
      todo: lastError === null ? "" : `${remedyOf(name, lastError)}; then paceline certs renew ${name}`,
    };
  }
  const left = notAfter - now;
  const isAutomatic = source === "automatic";
  const fix = isAutomatic
    ? `paceline certs renew ${name}`
    : "Renew the files of the certificate; changed files are read automatically";
  if (left <= 0)
    return {
      isBad: true,
      reason: `the certificate of ${name} expired ${spanText(-left)} ago${isAutomatic ? because + next : ""}`,
      todo: fix,
    };
  if (isRecalled && isAutomatic)
    return {
      isBad: false,
      reason: `the CA wants the certificate of ${name} replaced at once, as after a revocation${because}`,
      todo: fix,
    };
  if (source === "internal" && lastError !== null) return { isBad: true, reason: lastError.message, todo: "" };
  if (source === "file" && lastError !== null)
    return {
      isBad: false,
      reason: `the new certificate of ${name} cannot be used${because}; the one in use expires in ${spanText(left)}`,
      todo: "Correct the files of the certificate; changed files are read automatically",
    };
  // The first failed renewal of an automatic certificate is reported in the last third of its lifetime.
  const isLate = isAutomatic && lastError !== null && left < (notAfter - notBefore) / 4;
  const isSoon = source === "file" && left < Math.min(SOON_MS, (notAfter - notBefore) / 6);
  if (!isLate && !isSoon) return undefined;
  return {
    isBad: false,
    reason: `the certificate of ${name} expires in ${spanText(left)}${isLate ? because + next : ""}`,
    todo: fix,
  };
}

/** Returns what may make the next order succeed. */
function remedyOf(name: string, { kind }: OrderError): string {
  switch (kind) {
    case "local":
      return "Fix this error of this machine";
    case "unreachable":
      return "Check that this machine reaches the CA over HTTPS, and the CA's own status";
    case "account":
      return "Check `email` and `externalAccount` of `tls.automatic`";
    case "limited":
      return "Wait until the CA's rate limit allows an order";
    case "challenge":
    case "refused":
    case undefined:
      return `Check that the DNS records of ${name} point to this machine and that ports 80 and 443 are reachable`;
    default:
      return kind satisfies never;
  }
}

function spanText(ms: number): string {
  return ms >= 2 * DAY_MS ? `${Math.floor(ms / DAY_MS)} days` : formatDuration(Math.max(1, Math.round(ms / 1000)));
}

/** The summary of all certificates in the status. */
export interface CertificateSummary {
  count: number;
  /** The certificates that expire first, soonest first, limited in number. */
  soonest: { name: string; source: CertificateView["source"]; notAfter: number }[];
  /** Most serious first, limited in number. */
  problems: (CertificateTrouble & { name: string })[];
}

const MAX_LISTED = 8;

export function summaryOf(views: readonly CertificateView[], now: number): CertificateSummary {
  const troubles = views.flatMap((view) => {
    const trouble = troubleOf(view, now);
    return trouble === undefined ? [] : [{ name: view.names[0] ?? "", ...trouble }];
  });
  const soonest = views
    .flatMap(({ names, source, notAfter }) => (notAfter === null ? [] : [{ name: names[0] ?? "", source, notAfter }]))
    .sort((a, b) => a.notAfter - b.notAfter);
  return {
    count: views.length,
    soonest: soonest.slice(0, MAX_LISTED),
    problems: troubles.sort((a, b) => Number(b.isBad) - Number(a.isBad)).slice(0, MAX_LISTED),
  };
}
