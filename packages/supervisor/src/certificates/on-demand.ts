/**
 * Decides whether a name that a client requested may have a certificate: asks the operator's URL, within limits, and remembers the
 * response.
 */
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { DNS_NAME } from "../config/listen-address.js";

interface OnDemandOptions {
  /** The URL; null: no name is allowed. */
  url(): string | null;
  /** @param problem why the URL could not be asked */
  onProblem(problem: string): void;
  now?: () => number;
  ask?: (url: string, timeoutMs: number) => Promise<AskResult>;
}

/** 200 allows a name, any other status refuses it. */
type AskResult = { status: number } | { problem: string };

const ASK_MS = 3_000;
const MAX_AT_ONCE = 8;
/** How many names may be requested in a minute. Further names are refused. */
const MAX_PER_MINUTE = 120;
const MINUTE_MS = 60_000;
/** How long responses are remembered, in milliseconds, so that strangers cannot cause a request for each connection. */
const ALLOWED_MS = 10 * MINUTE_MS;
const REFUSED_MS = MINUTE_MS;
const FAILED_MS = 5_000;
const MAX_KNOWN = 4_096;

export class OnDemand {
  private readonly known = new Map<string, { isAllowed: boolean; until: number }>();
  private readonly asking = new Map<string, Promise<boolean>>();
  private asked: number[] = [];
  private readonly now: () => number;

  constructor(private readonly options: OnDemandOptions) {
    this.now = options.now ?? Date.now;
  }

  /** Never rejects. */
  async mayHave(name: string): Promise<boolean> {
    const url = this.options.url();
    if (url === null || !DNS_NAME.test(name)) return false;
    const now = this.now();
    const known = this.known.get(name);
    if (known !== undefined && known.until > now && known.until <= now + ALLOWED_MS) return known.isAllowed;
    const running = this.asking.get(name);
    if (running !== undefined) return running;
    this.asked = this.asked.filter((at) => at <= now && now - at < MINUTE_MS);
    if (this.asking.size >= MAX_AT_ONCE || this.asked.length >= MAX_PER_MINUTE) return false;
    this.asked.push(now);
    const result = this.ask(url, name).finally(() => this.asking.delete(name));
    this.asking.set(name, result);
    return result;
  }

  /** Forgets all responses, for example after a reload. */
  forget(): void {
    this.known.clear();
  }

  private async ask(url: string, name: string): Promise<boolean> {
    const target = new URL(url);
    target.searchParams.set("domain", name);
    const result = await (this.options.ask ?? get)(target.href, ASK_MS);
    const isAllowed = "status" in result && result.status === 200;
    if ("problem" in result) this.options.onProblem(result.problem);
    const forMs = isAllowed ? ALLOWED_MS : "problem" in result ? FAILED_MS : REFUSED_MS;
    this.known.delete(name);
    if (this.known.size >= MAX_KNOWN) this.known.delete(this.known.keys().next().value as string);
    this.known.set(name, { isAllowed, until: this.now() + forMs });
    return isAllowed;
  }
}

function get(url: string, timeoutMs: number): Promise<AskResult> {
  return new Promise((resolve) => {
    const end = (result: AskResult) => {
      clearTimeout(timer);
      resolve(result);
      outgoing?.destroy();
    };
    const timer = setTimeout(() => end({ problem: `no response within ${timeoutMs / 1000} s` }), timeoutMs);
    let outgoing: ReturnType<typeof requestHttp> | undefined;
    try {
      const request = url.startsWith("https:") ? requestHttps : requestHttp;
      outgoing = request(url, { agent: false }, (response) => {
        response.on("error", () => {});
        response.resume();
        end({ status: response.statusCode ?? 0 });
      });
      outgoing.on("error", (error) => end({ problem: error.message }));
      outgoing.end();
    } catch (error) {
      end({ problem: (error as Error).message });
    }
  });
}
