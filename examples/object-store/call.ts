/** One request, as the operations see it, and their responses. */
import type { S3Error } from "./errors.ts";
import type { Files } from "./files.ts";
import type { Metadata } from "./metadata.ts";
import type { Settings } from "./settings.ts";
import type { Identity } from "./signature.ts";
import { toXml, type XmlContent } from "./xml.ts";

export interface Store {
  settings: Settings;
  files: Files;
  metadata: Metadata;
  /** Serves the folder of objects: it sends files in the cheapest way that is available. */
  sendFile: (request: Request) => Response | Promise<Response>;
}

export interface Call {
  store: Store;
  request: Request;
  bucket: string;
  /** Empty if the request is for the bucket. */
  key: string;
  query: URLSearchParams;
  requestId: string;
  /** Undefined if everybody is allowed to do this. */
  identity: Identity | undefined;
}

export function xmlResponse(root: string, content: XmlContent, fields: Record<string, string> = {}): Response {
  return new Response(toXml(root, content), { headers: { "content-type": "application/xml", ...fields } });
}

export function errorResponse(error: S3Error, method: string, resource: string, requestId: string): Response {
  const { code, message, status, fields } = error;
  if (method === "HEAD" || status === 304) return new Response(null, { status, headers: fields });
  const text = toXml("Error", { Code: code, Message: message, Resource: resource, RequestId: requestId });
  return new Response(text, { status, headers: { "content-type": "application/xml", ...fields } });
}

/** The time as in S3's XML. */
export const isoTime = (ms: number) => new Date(ms).toISOString();
