/** The store as a fetch app: authenticates a request, finds its bucket and key, and calls the operation. */
import { join } from "node:path";
import { every, type RequestInfo, serveStatic, type Timer } from "paceline/server";
import * as buckets from "./buckets.ts";
import { type Call, errorResponse, type Store } from "./call.ts";
import { FULL } from "./database.ts";
import { S3Error } from "./errors.ts";
import { Files } from "./files.ts";
import { Metadata } from "./metadata.ts";
import * as multipart from "./multipart.ts";
import * as objects from "./objects.ts";
import { operationOf } from "./operations.ts";
import { LIMITS, readSettings } from "./settings.ts";
import { verifySignature } from "./signature.ts";
import { sweep } from "./sweep.ts";
import { checkKey, decodeUri, Query } from "./uri.ts";

let store: Store;
let timer: Timer | undefined;

export async function start(): Promise<void> {
  const settings = readSettings(process.env);
  const files = new Files(settings.folder);
  await files.prepare();
  const metadata = await Metadata.open(settings.folder, settings.databaseUrl);
  // The paths are the store's own, and its objects have no variants.
  const sendFile = serveStatic(join(settings.folder, "objects"), { precompressed: [] });
  store = { settings, files, metadata, sendFile };
  // One instance cleans up for all.
  if ((process.env.PACELINE_INDEX ?? "1") === "1") timer = every(settings.sweepEveryMs, () => sweep(store));
}

export async function stop(): Promise<void> {
  timer?.stop();
  await store.metadata.close();
}

export default async function fetch(request: Request, info: RequestInfo): Promise<Response> {
  const { method, url } = request;
  // Unchanged, as the signature covers it.
  const target = url.slice(url.indexOf("/", url.indexOf("://") + 3));
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  let response: Response;
  try {
    response = await respond(request, path, mark < 0 ? "" : target.slice(mark + 1));
  } catch (error) {
    const isFull = (error as NodeJS.ErrnoException).code === "ENOSPC";
    const known = isFull ? new S3Error("ServiceUnavailable", FULL) : error instanceof S3Error ? error : undefined;
    if (known === undefined) {
      if (info.signal.aborted) throw error;
      console.error(error);
    }
    response = errorResponse(known ?? new S3Error("InternalError"), method, path, info.requestId);
  }
  response.headers.set("x-amz-request-id", info.requestId);
  return response;
}

async function respond(request: Request, path: string, queryText: string): Promise<Response> {
  const query = new Query(queryText);
  const { method, headers } = request;
  const identity = verifySignature(
    { method, path, query, headers },
    (key) => store.settings.secrets.get(key),
    Date.now(),
  );
  const { bucket, key } = placeOf(headers.get("host") ?? "", path, store.settings.domains);
  if (Buffer.byteLength(key) > LIMITS.keyBytes) throw new S3Error("KeyTooLongError");
  if (["PUT", "POST"].includes(method)) checkKey(key);
  const isRead = (method === "GET" || method === "HEAD") && key !== "";
  if (identity === undefined && !(isRead && store.settings.publicBuckets.has(bucket)))
    throw new S3Error("AccessDenied");
  return await operation({ store, request, bucket, key, query, identity });
}

/** The bucket is the first segment of the path, or the first label of a host under one of the domains. */
export function placeOf(host: string, path: string, domains: string[]): { bucket: string; key: string } {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  const domain = domains.find((each) => name.endsWith(`.${each}`));
  if (domain !== undefined) return { bucket: name.slice(0, -domain.length - 1), key: decodeUri(path.slice(1)) };
  const slash = path.indexOf("/", 1);
  const [bucket, key] = slash < 0 ? [path.slice(1), ""] : [path.slice(1, slash), path.slice(slash + 1)];
  return { bucket: decodeUri(bucket), key: decodeUri(key) };
}

const OPERATIONS: Record<string, (call: Call) => Promise<Response>> = { ...buckets, ...objects, ...multipart } as never;

async function operation(call: Call): Promise<Response> {
  const { request, bucket, query, identity } = call;
  const feature = identity !== undefined && bucket !== "" ? await buckets.featureResponse(call) : undefined;
  if (feature !== undefined) return feature;
  const parameters = query.pairs.map(([name]) => name);
  const place = { method: request.method, bucket, key: call.key };
  const name = operationOf(place, parameters, (parameter) => query.get(parameter), request.headers);
  if (identity === undefined && name !== "getObject") throw new S3Error("AccessDenied");
  return await (OPERATIONS[name] as (call: Call) => Promise<Response>)(call);
}
