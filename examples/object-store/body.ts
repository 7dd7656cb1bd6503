/** The body of a request as it arrives: decoded, and checked against each length, hash and checksum that the client states. */
import { createHash } from "node:crypto";
import { CHUNKED, ChunkedBody, checkTrailers } from "./aws-chunked.ts";
import type { Call } from "./call.ts";
import { ALGORITHMS, type Algorithm, algorithmOf, type Digest, digestOf, fieldOf } from "./checksums.ts";
import { demand } from "./errors.ts";
import { LIMITS } from "./settings.ts";
import { UNSIGNED } from "./signature.ts";
import { readXml, type XmlElement } from "./xml.ts";

export class IncomingBody {
  /** Complete after `verify()`. */
  readonly checksums = new Map<Algorithm, string>();
  md5 = "";
  private readonly length: number;
  private readonly md5Digest = createHash("md5");
  private readonly sha256: Digest | undefined;
  private readonly digests = new Map<Algorithm, Digest>();
  private readonly chunked: ChunkedBody | undefined;
  private readonly payloadHash: string;

  /**
   * @param wanted the algorithm of a checksum that is computed even if the client states none
   * @throws S3Error if the body is too long, or what the client states about it is not valid
   */
  constructor(
    private readonly call: Call,
    maxBytes: number,
    wanted?: Algorithm,
  ) {
    const { identity, request } = call;
    const { headers, body } = request;
    this.payloadHash = identity?.payloadHash ?? UNSIGNED;
    const isHash = /^[0-9a-f]{64}$/.test(this.payloadHash);
    const isChunked = CHUNKED.test(this.payloadHash);
    const isKnown = isHash || isChunked || this.payloadHash === UNSIGNED;
    demand(isKnown, "InvalidArgument", "x-amz-content-sha256 must be a hash or a known form");
    if (isHash) this.sha256 = digestOf("SHA256");
    const { checkChunk = () => undefined } = identity ?? {};
    if (isChunked) this.chunked = new ChunkedBody(body ?? new Blob([]).stream(), this.payloadHash, checkChunk);
    const length = headers.get(isChunked ? "x-amz-decoded-content-length" : "content-length");
    demand(length !== null || body === null, "MissingContentLength");
    this.length = Number(length ?? 0);
    demand(Number.isSafeInteger(this.length) && this.length >= 0, "InvalidArgument");
    demand(this.length <= maxBytes, "EntityTooLarge");
    const stated = ALGORITHMS.filter((name) => headers.has(fieldOf(name)));
    demand(stated.length <= 1, "InvalidRequest", "Expecting a single x-amz-checksum- field");
    const trailer = headers.get("x-amz-trailer")?.trim();
    const follows = /^x-amz-checksum-(\w+)$/.exec(trailer ?? "")?.[1];
    const isGood = trailer === undefined || (follows !== undefined && isChunked);
    demand(isGood, "InvalidRequest", "x-amz-trailer must name a checksum that follows a chunked body");
    for (const algorithm of [...stated, follows && algorithmOf(follows), wanted]) {
      if (algorithm) this.digests.set(algorithm, digestOf(algorithm));
    }
  }

  /** Yields the data, without the framing of chunks. */
  async *pieces(): AsyncGenerator<Uint8Array> {
    const { body, headers } = this.call.request;
    let size = 0;
    for await (const data of this.chunked?.data() ?? body ?? []) {
      size += data.length;
      demand(size <= this.length, "IncompleteBody");
      for (const digest of [this.md5Digest, this.sha256, ...this.digests.values()]) digest?.update(data);
      yield data;
    }
    if (this.chunked) checkTrailers(headers.get("x-amz-trailer"), this.chunked.trailers);
  }

  /**
   * Must be called once, after the last piece.
   * @throws S3Error if the body differs from what the client states
   */
  verify(size: number): void {
    const { headers } = this.call.request;
    demand(size === this.length, "IncompleteBody");
    const md5 = this.md5Digest.digest();
    this.md5 = md5.toString("hex");
    const sha256 = this.sha256?.digest().toString("hex") ?? this.payloadHash;
    demand(sha256 === this.payloadHash, "XAmzContentSHA256Mismatch");
    const stated = headers.get("content-md5");
    demand(stated === null || Buffer.from(stated, "base64").length === 16, "InvalidDigest");
    demand(stated === null || stated === md5.toString("base64"), "BadDigest");
    for (const [algorithm, digest] of this.digests) {
      const checksum = digest.digest().toString("base64");
      const field = fieldOf(algorithm);
      const expected = headers.get(field) ?? this.chunked?.trailers.get(field) ?? checksum;
      demand(expected === checksum, "BadDigest", `The ${algorithm} that you specified did not match what was received`);
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
