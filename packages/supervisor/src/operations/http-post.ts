/** Sends JSON over HTTP to a server of the operator: with a deadline, without redirects, and with headers whose values may be in files. */
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { readSecret } from "../config/secrets.js";
import type { SecretText } from "../core/model.js";
import { unreachableText } from "../core/words.js";

/** The maximum size of a failure's response that is read, in bytes. */
const MAX_RESPONSE_BYTES = 512;
/** How much of that is included in a problem, because it is often a web page. */
const MAX_SHOWN = 80;

interface PostOptions {
  url: string;
  headers: Readonly<Record<string, string>>;
  body: string;
  timeoutMs: number;
  /** Aborts it before the deadline. */
  signal?: AbortSignal | undefined;
}

/** The result; `problem` is missing after a 2xx status. */
interface Posted {
  status: number | null;
  problem?: string;
  /** Whether a further attempt may succeed. */
  mayRetry: boolean;
}

/** Never rejects. A problem does not contain the URL, which may be a secret. */
export function postJson({ url, headers, body, timeoutMs, signal }: PostOptions): Promise<Posted> {
  return new Promise((resolve) => {
    let isOver = false;
    const end = (posted: Posted) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      outgoing?.destroy();
      resolve(posted);
    };
    const fail = (problem: string, mayRetry = true) => end({ status: null, problem, mayRetry });
    const abort = () => fail("it was ended", false);
    const timer = setTimeout(() => fail(`no response within ${timeoutMs / 1000} s`), timeoutMs);
    let outgoing: ReturnType<typeof requestHttp> | undefined;
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort);
    try {
      const target = new URL(url);
      const fields = { ...headers, "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) };
      const request = target.protocol === "https:" ? requestHttps : requestHttp;
      outgoing = request(target, { method: "POST", headers: fields, agent: false }, (response) => {
        const status = response.statusCode ?? 0;
        let said = "";
        response.setEncoding("utf8");
        response.on("error", () => {});
        response.on("data", (text: string) => {
          said = (said + text).slice(0, MAX_RESPONSE_BYTES);
          if (said.length === MAX_RESPONSE_BYTES) done();
        });
        const done = () => {
          if (status >= 200 && status < 300) return end({ status, mayRetry: false });
          const words = said.replaceAll(/\s+/g, " ").trim();
          const detail = words.length > MAX_SHOWN ? `${words.slice(0, MAX_SHOWN - 1)}…` : words;
          const mayRetry = status === 408 || status === 429 || status >= 500;
          end({ status, problem: `the server responded ${status}${detail === "" ? "" : `: ${detail}`}`, mayRetry });
        };
        response.on("end", done);
        response.on("close", done);
      });
      outgoing.on("error", (error: NodeJS.ErrnoException) => fail(reasonOf(error)));
      outgoing.end(body);
    } catch (error) {
      fail(reasonOf(error as NodeJS.ErrnoException), false);
    }
  });
}

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case "ERR_INVALID_URL":
      return "the URL is invalid";
    case "ERR_INVALID_CHAR":
      return "a header has characters that are not allowed";
    default:
      return unreachableText(code) ?? (code === undefined || message.includes(code) ? message : `${message} (${code})`);
  }
}

/** Reads texts from files or credentials at each use, so that a changed file needs no reload. Returns the reason if one cannot be read. */
export function readTexts<Name extends string>(
  given: Readonly<Record<Name, SecretText>>,
): { texts: Record<Name, string> } | { problem: string } {
  const texts = {} as Record<Name, string>;
  for (const [name, value] of Object.entries(given) as [Name, SecretText][]) {
    if (typeof value === "string") texts[name] = value;
    else {
      const read = readSecret(value);
      if ("problem" in read) return { problem: `${name}: ${read.problem}` };
      texts[name] = read.text;
    }
  }
  return { texts };
}
