/** The body of a request as it arrives: decoded, and checked against each length, hash and checksum that the client states. */
import { createHash } from "node:crypto";
import { ChunkDecoder, checkTrailers, isChunked } from "./aws-chunked.ts";
import type { Call } from "./call.ts";
import { ALGORITHMS, type Algorithm, algorithmOf, type Digest, digestOf, fieldOf } from "./checksums.ts";
import { S3Error } from "./errors.ts";
import { LIMITS } from "./settings.ts";
import { UNSIGNED } from "./signature.ts";
import { readXml, type XmlElement } from "./xml.ts";

export class IncomingBody {
  /** Complete after the last piece. */
  readonly checksums = new Map<Algorithm, string>();
  md5 = "";
  private readonly length: number;
  private readonly md5Digest = createHash("md5");
  private readonly sha256: Digest | undefined;
  private readonly digests = new Map<Algorithm, Digest>();
  private readonly decoder: ChunkDecoder | undefined;
  private readonly payloadHash: string;
  private readonly headers: Headers;

  /**
   * @param wanted the algorithm of a checksum that is computed even if the client states none.
   * @throws S3Error if the body is too long, or what the client states of it is not valid
   */
  constructor(
    private readonly call: Call,
    maxBytes: number,
    wanted?: Algorithm,
  ) {
    const { request, identity } = call;
    this.headers = request.headers;
    this.payloadHash = identity?.payloadHash ?? UNSIGNED;
    const isHash = /^[0-9a-f]{64}$/.test(this.payloadHash);
    if (isChunked(this.payloadHash) && identity !== undefined) {
      this.decoder = new ChunkDecoder(this.payloadHash, identity.chunks);
    } else if (!isHash && this.payloadHash !== UNSIGNED) {
      throw new S3Error("InvalidArgument", "x-amz-content-sha256 must be a hash or a known form");
    }
    this.sha256 = isHash ? digestOf("SHA256") : undefined;
    const length = this.headers.get(this.decoder === undefined ? "content-length" : "x-amz-decoded-content-length");
    if (length === null && request.body !== null) throw new S3Error("MissingContentLength");
    this.length = Number(length ?? 0);
    if (!Number.isSafeInteger(this.length) || this.length < 0) throw new S3Error("InvalidArgument");
    if (this.length > maxBytes) throw new S3Error("EntityTooLarge");
    const trailer = /^x-amz-checksum-(\w+)$/.exec(this.headers.get("x-amz-trailer")?.trim() ?? "")?.[1];
    const algorithms: (Algorithm | undefined)[] = ALGORITHMS.filter((name) => this.headers.has(fieldOf(name)));
    if (algorithms.length > 1) throw new S3Error("InvalidRequest", "Expecting a single x-amz-checksum- field");
    if (this.headers.has("x-amz-trailer") && (trailer === undefined || this.decoder === undefined)) {
      throw new S3Error("InvalidRequest", "x-amz-trailer must name a checksum that follows a chunked body");
    }
    if (trailer !== undefined) algorithms.push(algorithmOf(trailer));
    for (const algorithm of [...algorithms, wanted]) {
      if (algorithm !== undefined) this.digests.set(algorithm, digestOf(algorithm));
    }
  }

  /** Yields the data, without the framing of chunks. */
  async *pieces(): AsyncGenerator<Uint8Array> {
    const { body } = this.call.request;
    let size = 0;
    for await (const piece of body ?? []) {
      for (const data of this.decoder?.decode(piece) ?? [piece]) {
        size += data.length;
        if (size > this.length) throw new S3Error("IncompleteBody");
        this.md5Digest.update(data);
        this.sha256?.update(data);
        for (const digest of this.digests.values()) digest.update(data);
        yield data;
      }
    }
    this.decoder?.finish();
    if (this.decoder !== undefined) checkTrailers(this.headers.get("x-amz-trailer"), this.decoder.trailers);
  }

  /** Call it once, after the last piece. @throws S3Error if the body differs from what the client states */
  verify(size: number): void {
    if (size !== this.length) throw new S3Error("IncompleteBody");
    const md5 = this.md5Digest.digest();
    this.md5 = md5.toString("hex");
    const sha256 = this.sha256?.digest().toString("hex");
    if (sha256 !== undefined && sha256 !== this.payloadHash) throw new S3Error("XAmzContentSHA256Mismatch");
    const stated = this.headers.get("content-md5");
    if (stated !== null && Buffer.from(stated, "base64").length !== 16) throw new S3Error("InvalidDigest");
    if (stated !== null && stated !== md5.toString("base64")) throw new S3Error("BadDigest");
    for (const [algorithm, digest] of this.digests) {
      const checksum = digest.digest().toString("base64");
      const field = fieldOf(algorithm);
      const expected = this.headers.get(field) ?? this.decoder?.trailers.get(field);
      if (expected !== undefined && expected !== checksum) {
        throw new S3Error("BadDigest", `The ${algorithm} that you specified did not match what was received`);
      }
      this.checksums.set(algorithm, checksum);
    }
  }

  /** The fields of the response that state the checksums. */
  checksumFields(): Record<string, string> {
    return Object.fromEntries([...this.checksums].map(([algorithm, checksum]) => [fieldOf(algorithm), checksum]));
  }
}

/** @throws S3Error MalformedXML if it is longer than the limit, or has another root */
export async function readXmlBody(call: Call, root: string): Promise<XmlElement> {
  const body = new IncomingBody(call, LIMITS.xmlBytes);
  const pieces: Uint8Array[] = [];
  for await (const piece of body.pieces()) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  body.verify(bytes.length);
  return readXml(bytes.toString("utf8"), root);
}
