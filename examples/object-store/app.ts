/** The store as a fetch app: authenticates a request, finds its bucket and key, and calls the operation. */
import { join } from "node:path";
import { every, type RequestInfo, serveStatic, type Timer } from "paceline/server";
import * as buckets from "./buckets.ts";
import { type Call, errorResponse, type Store } from "./call.ts";
import { FULL } from "./database.ts";
import { demand, S3Error } from "./errors.ts";
import { Files } from "./files.ts";
import { Metadata } from "./metadata.ts";
import * as multipart from "./multipart.ts";
import * as objects from "./objects.ts";
import { operationOf } from "./operations.ts";
import { LIMITS, readSettings } from "./settings.ts";
import { verifySignature } from "./signature.ts";
import { sweep } from "./sweep.ts";
import { checkKey, decodeUri } from "./uri.ts";

let store: Store;
let timer: Timer | undefined;

export async function start(): Promise<void> {
  const settings = readSettings(process.env);
  const files = new Files(settings.folder);
  await files.prepare();
  const metadata = await Metadata.open(settings.folder, settings.databaseUrl);
  // The paths belong to the store, and its objects have no variants.
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
  // Unchanged, because the signature covers it.
  const target = url.slice(url.indexOf("/", url.indexOf("://") + 3));
  const [, path = "", query = ""] = /^([^?]*)\??(.*)$/s.exec(target) ?? [];
  let response: Response;
  try {
    response = await respond(request, path, query, info.requestId);
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

async function respond(request: Request, path: string, search: string, requestId: string): Promise<Response> {
  const query = new URLSearchParams(search);
  // PostgreSQL's text type cannot contain NUL.
  demand(!search.includes("%00"), "InvalidURI");
  const { method, headers } = request;
  const { secrets, domains, publicBuckets } = store.settings;
  const identity = verifySignature({ method, path, query, headers }, secrets, Date.now());
  const { bucket, key } = placeOf(headers.get("host") ?? "", path, domains);
  demand(Buffer.byteLength(key) <= LIMITS.keyBytes, "KeyTooLongError");
  if (["PUT", "POST"].includes(method)) checkKey(key);
  demand(identity !== undefined || (key !== "" && publicBuckets.has(bucket)), "AccessDenied");
  const call = { store, request, bucket, key, query, requestId, identity };
  const feature = identity === undefined || bucket === "" ? undefined : await buckets.featureResponse(call);
  if (feature !== undefined) return feature;
  const name = operationOf(call);
  demand(identity !== undefined || name === "getObject", "AccessDenied");
  if (!WITHOUT_BUCKET.includes(name)) demand(await store.metadata.hasBucket(bucket), "NoSuchBucket");
  return await (OPERATIONS[name] as (call: Call) => Promise<Response>)(call);
}

/** Operations that do not need the bucket, or check it themselves. */
const WITHOUT_BUCKET = ["listBuckets", "createBucket", "getObject"];
const OPERATIONS: Record<string, (call: Call) => Promise<Response>> = { ...buckets, ...objects, ...multipart } as never;

/** The bucket is the first segment of the path, or the first label of a host under one of the domains. */
export function placeOf(host: string, path: string, domains: string[]): { bucket: string; key: string } {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  const domain = domains.find((each) => name.endsWith(`.${each}`));
  if (domain !== undefined) return { bucket: name.slice(0, -domain.length - 1), key: decodeUri(path.slice(1)) };
  const slash = path.indexOf("/", 1);
  const [bucket, key] = slash < 0 ? [path.slice(1), ""] : [path.slice(1, slash), path.slice(slash + 1)];
  return { bucket: decodeUri(bucket), key: decodeUri(key) };
}
