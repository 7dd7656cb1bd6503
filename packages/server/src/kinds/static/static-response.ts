/** What is answered, before it is known to which kind of server. */
import { REASONS } from "@paceline/wire/reasons";
import type { Refusal } from "./found-file.js";
import type { OpenFileBody } from "./open-file-body.js";

export interface StaticResponse {
  status: number;
  /** Names in lower case. */
  fields: Readonly<Record<string, string>>;
  body: Uint8Array | OpenFileBody | null;
}

/** A response in words; that HEAD gets its head alone is the server's to see to. */
export function textResponse(status: number, fields: Readonly<Record<string, string>> = {}): StaticResponse {
  const body = Buffer.from(`${REASONS[status]}\n`);
  const type = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" };
  return { status, fields: { ...fields, ...type }, body };
}

export function refusalResponse(why: Refusal): StaticResponse {
  switch (why) {
    case "missing":
      return textResponse(404);
    case "forbidden":
      return textResponse(403);
    case "busy":
      return textResponse(503, { "retry-after": "1" });
    default:
      return why satisfies never;
  }
}
