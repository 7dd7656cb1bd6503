/** What is answered, before it is known to which kind of server. */
import { REASONS } from "@paceline/wire/reasons";
import type { FileBody } from "./file-body.js";
import type { Refusal } from "./found-file.js";

export interface StaticAnswer {
  status: number;
  /** Names in lower case. */
  fields: Readonly<Record<string, string>>;
  body: Uint8Array | FileBody | null;
}

/** An answer in words; that HEAD gets its head alone is the server's to see to. */
export function textAnswer(status: number, fields: Readonly<Record<string, string>> = {}): StaticAnswer {
  const body = Buffer.from(`${REASONS[status]}\n`);
  const type = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" };
  return { status, fields: { ...fields, ...type }, body };
}

export function refusalAnswer(why: Refusal): StaticAnswer {
  switch (why) {
    case "missing":
      return textAnswer(404);
    case "forbidden":
      return textAnswer(403);
    case "busy":
      return textAnswer(503, { "retry-after": "1" });
    default:
      return why satisfies never;
  }
}
