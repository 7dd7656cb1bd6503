/** Serves the page: one document, which the build puts together from src/page, with the policy that lets nothing else run in it. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import { builtFile } from "../package.js";
import { ControlError } from "./responses.js";

interface PageDocument {
  html: Buffer;
  compressed: Buffer;
  policy: string;
}

/** Read once: an upgrade in place changes the file, and this supervisor speaks as the page that came with it. */
let known: PageDocument | undefined;

/** @throws ControlError `internal` if the file is missing */
export function sendPage(response: ServerResponse, acceptEncoding: string, isHead: boolean): void {
  known ??= readPage();
  const { html, compressed, policy } = known;
  const isCompressed = /\bgzip\b/.test(acceptEncoding);
  const body = isCompressed ? compressed : html;
  response.writeHead(200, {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Length": body.length,
    ...(isCompressed && { "Content-Encoding": "gzip" }),
    Vary: "Accept-Encoding",
    "Content-Security-Policy": policy,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
  });
  response.end(isHead ? undefined : body);
}

function readPage(): PageDocument {
  const path = builtFile("page.html");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new ControlError(500, "internal", `the page cannot be read: ${(error as Error).message}`);
  }
  const html = Buffer.from(text);
  return { html, compressed: compress(html), policy: policyOf(text) };
}

/** Several short blocks of codes fit scripts and styles better than the one long block of the usual level of memory. */
export function compress(html: Buffer): Buffer {
  return gzipSync(html, { level: 9, memLevel: 7 });
}

/** Returns a policy that allows the scripts and styles of this text, and connections to where it came from. */
export function policyOf(html: string): string {
  const hashes = (tag: string) =>
    [...html.matchAll(new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`, "g"))].map(
      ([, content = ""]) => `'sha256-${createHash("sha256").update(content).digest("base64")}'`,
    );
  return [
    "default-src 'none'",
    `script-src ${hashes("script").join(" ")}`,
    `style-src ${hashes("style").join(" ")}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
}
