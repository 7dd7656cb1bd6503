/** A small S3 client that signs requests itself, for tests and soaks: it sends requests that other clients would not send. */
import { createHash, createHmac } from "node:crypto";
import http from "node:http";

const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const hmac = (key, text) => createHmac("sha256", key).update(text).digest();
const encode = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
const REQUEST_TIMEOUT_MS = 60_000;

export class S3 {
  constructor({ port, accessKey, secret, maxSockets = 64, timeoutMs = REQUEST_TIMEOUT_MS }) {
    Object.assign(this, { port, accessKey, secret, timeoutMs });
    this.agent = new http.Agent({ keepAlive: true, maxSockets });
  }

  /** Returns the path with its query, and the fields of a request. */
  sign(
    method,
    path,
    { query = {}, headers = {}, payloadHash, host = `127.0.0.1:${this.port}`, now = new Date() } = {},
  ) {
    const time = now.toISOString().replace(/[-:]|\.\d+/g, "");
    const scope = `${time.slice(0, 8)}/us-east-1/s3/aws4_request`;
    const fields = { ...headers, host, "x-amz-date": time, "x-amz-content-sha256": payloadHash };
    const names = Object.keys(fields).sort();
    const parameters = queryOf(query);
    const canonical = [
      ...[method, path, parameters, ...names.map((name) => `${name}:${String(fields[name]).trim()}`), ""],
      ...[names.join(";"), payloadHash],
    ].join("\n");
    const signature = this.signatureOf(time, scope, canonical);
    fields.authorization = `AWS4-HMAC-SHA256 Credential=${this.accessKey}/${scope}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
    return { path: parameters === "" ? path : `${path}?${parameters}`, headers: fields };
  }

  /** Returns path and query of a presigned URL. */
  presign(method, path, { expires = 600, now = new Date(), host = `127.0.0.1:${this.port}`, query = {} } = {}) {
    const time = now.toISOString().replace(/[-:]|\.\d+/g, "");
    const scope = `${time.slice(0, 8)}/us-east-1/s3/aws4_request`;
    const parameters = queryOf({
      ...query,
      ...{
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": `${this.accessKey}/${scope}`,
        "X-Amz-Date": time,
      },
      ...{ "X-Amz-Expires": expires, "X-Amz-SignedHeaders": "host" },
    });
    const canonical = [method, path, parameters, `host:${host}`, "", "host", "UNSIGNED-PAYLOAD"].join("\n");
    return `${path}?${parameters}&X-Amz-Signature=${this.signatureOf(time, scope, canonical)}`;
  }

  signatureOf(time, scope, canonical) {
    const key = scope.split("/").reduce(hmac, `AWS4${this.secret}`);
    return hmac(key, `AWS4-HMAC-SHA256\n${time}\n${scope}\n${sha256(canonical)}`).toString("hex");
  }

  /** Resolves with the response; rejects if there is none. A body is bytes, text or a stream with `headers["content-length"]`. */
  async request(method, path, { body, payloadHash, headers = {}, ...options } = {}) {
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    const isStream = bytes !== undefined && !Buffer.isBuffer(bytes);
    const hash = payloadHash ?? (isStream ? "UNSIGNED-PAYLOAD" : sha256(bytes ?? ""));
    const signed = this.sign(method, path, { ...options, headers, payloadHash: hash });
    if (bytes !== undefined && !isStream) signed.headers["content-length"] = bytes.length;
    return await this.send(method, signed.path, signed.headers, bytes);
  }

  /** Sends a request without changes. */
  send(method, path, headers = {}, body = undefined) {
    return new Promise((resolve, reject) => {
      const request = http.request({ host: "127.0.0.1", port: this.port, method, path, headers, agent: this.agent });
      request.setTimeout(this.timeoutMs, () => request.destroy(new Error(`no response within ${this.timeoutMs} ms`)));
      request.on("error", reject);
      request.on("response", (response) => {
        const pieces = [];
        response.on("data", (piece) => pieces.push(piece));
        response.on("error", reject);
        response.on("aborted", () => reject(new Error("the response broke off")));
        response.on("end", () => {
          const bytes = Buffer.concat(pieces);
          resolve({ status: response.statusCode, headers: response.headers, bytes, text: bytes.toString("utf8") });
        });
      });
      if (body !== undefined && !Buffer.isBuffer(body))
        body.on("error", (error) => request.destroy(error)).pipe(request);
      else request.end(body);
    });
  }

  close() {
    this.agent.destroy();
  }
}

function queryOf(query) {
  return Object.entries(query)
    .map(([name, value]) => `${encode(name)}=${encode(String(value))}`)
    .sort()
    .join("&");
}

/** The values of an element in S3's XML. */
export function valuesOf(text, element) {
  return [...text.matchAll(new RegExp(`<${element}>([^<]*)</${element}>`, "g"))].map(([, value]) => value);
}
