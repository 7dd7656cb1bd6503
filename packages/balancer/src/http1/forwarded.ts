/** Builds the fields that describe the client to an app. A client's own statements are only believed from a trusted peer. */
import { isUrlHost } from "@paceline/wire";
import { FIELD_LENGTHS, putFieldLengths } from "@paceline/wire/lane/request-head";
import { FieldKind } from "./field-table.js";
import type { RequestHead } from "./request-head.js";
import {
  type ClientFields,
  familyOf,
  plainAddress,
  type ReportedClient,
  readClient,
  TrustedProxies,
  UNIX,
  UNKNOWN,
} from "./trusted-proxies.js";

/** A client's address, determined once per connection. */
export interface Peer {
  /** Its IP address, `unix` for a unix socket, or `unknown`. */
  node: string;
  /** Whether its client fields are trusted. */
  isTrusted: boolean;
  /** The fields for an untrusted peer, ready to be sent. */
  fields: ForwardedFields;
  /** Set if the peer uses TLS with this balancer. */
  secure?: SecurePeer | undefined;
}

/** The scheme and certificate of a peer that uses TLS. */
interface SecurePeer {
  /** The fields of its certificate, which nobody else can forge; empty without a certificate. */
  certificate: readonly (readonly [string, string])[];
}

/** TLS without a certificate of the client. */
export const SECURE: SecurePeer = { certificate: [] };

/** The fields that describe the client, in the two forms in which they are sent. */
export class ForwardedFields {
  private laneBytes: Uint8Array | undefined;
  private lineBytes: Uint8Array | undefined;
  private farthest: string | undefined;
  /** A hash of the client, computed and cached by the code that needs it. */
  clientHash: number | undefined;

  /**
   * @param pairs names and values
   * @param isReported whether X-Forwarded-Host and -Prefix are included, because a trusted peer influences them; otherwise the head's
   * writer adds them
   * @param isElsewhere whether the client requested another scheme or host than this balancer received
   */
  constructor(
    private readonly pairs: readonly (readonly [string, string])[],
    readonly isReported = false,
    readonly isElsewhere = false,
  ) {}

  /** The number of fields. */
  get count(): number {
    return this.pairs.length;
  }

  /** The client: the farthest address in the list that is trusted. */
  get client(): string {
    this.farthest ??= this.pairs[0]?.[1].split(",", 1)[0] ?? UNKNOWN;
    return this.farthest;
  }

  /** Whether the client uses https, as far as it is known. */
  get isHttps(): boolean {
    return this.pairs[1]?.[1] === "https";
  }

  /** The fields as lines of HTTP/1.1. */
  get lines(): Uint8Array {
    this.lineBytes ??= Buffer.from(this.pairs.map(([name, value]) => `${name}: ${value}\r\n`).join(""), "latin1");
    return this.lineBytes;
  }

  /** The fields as part of a REQUEST on the lane. */
  get lane(): Uint8Array {
    this.laneBytes ??= laneFields(this.pairs);
    return this.laneBytes;
  }
}

/** The size of the cache for peers, which is emptied when it is full. */
const MAX_PEERS = 4096;
/** The size of the cache for the statements of trusted peers, and the maximum length of a key in it. */
const MAX_REPORTED = 1024;
const MAX_REPORTED_LENGTH = 1024;

export class Forwarded {
  private readonly trusted: TrustedProxies;
  private readonly peers = new Map<string, Peer>();
  /** By peer and its client fields. */
  private readonly reported = new Map<string, ForwardedFields>();

  /** @param trustedProxies CIDR blocks and `unix`, validated with the config */
  constructor(trustedProxies: readonly string[]) {
    this.trusted = new TrustedProxies(trustedProxies);
  }

  /**
   * @param address the client's IP address; empty if it has already disconnected
   * @param isUnix whether it uses a unix socket. Only the listener knows that, since a disconnected client has no address either
   */
  peer(address: string, isUnix: boolean): Peer {
    return this.known(isUnix ? UNIX : address, () => {
      const node = isUnix ? UNIX : plainAddress(address) || UNKNOWN;
      const fields = new ForwardedFields(fieldsFor(clientAt(node, "http"), "http"));
      return { node, isTrusted: this.trusted.trusts(node), fields };
    });
  }

  /** Returns the peer with its scheme and certificate. */
  secured(peer: Peer, secure: SecurePeer): Peer {
    const make = (): Peer => {
      const pairs = [...fieldsFor(clientAt(peer.node, "https"), "https"), ...secure.certificate];
      return { ...peer, fields: new ForwardedFields(pairs, false, true), secure };
    };
    return secure === SECURE ? this.known(`https ${peer.node}`, make) : make();
  }

  private known(key: string, make: () => Peer): Peer {
    const known = this.peers.get(key);
    if (known !== undefined) return known;
    if (this.peers.size >= MAX_PEERS) this.peers.clear();
    const peer = make();
    this.peers.set(key, peer);
    return peer;
  }

  /** Returns the fields for a request: the prepared ones, or new ones from a trusted peer's statements. */
  fields(head: RequestHead, peer: Peer): ForwardedFields {
    if (!peer.isTrusted) return peer.fields;
    const said: Said = { forwardedFor: [], forwarded: [], proto: [], host: [], prefix: [] };
    const { fields } = head;
    for (let i = 0; i < fields.count; i++) valuesOf(said, fields.kinds[i] as number)?.push(fields.value(i));
    const asked = Buffer.from(head.bytes.subarray(head.hostStart, head.hostEnd)).toString("latin1");
    const stripped = head.prefix === undefined ? "" : Buffer.from(head.prefix).toString("latin1");
    // A key cannot be ambiguous, because a field's value contains no line end.
    const { secure } = peer;
    const key = [
      [peer.node, secure === undefined ? "" : "https", ...(secure?.certificate.flat() ?? [])],
      said.forwardedFor,
      said.forwarded,
      said.proto,
      said.host,
      said.prefix,
      [asked],
      [stripped],
    ]
      .map((values) => values.join("\r"))
      .join("\n");
    const known = this.reported.get(key);
    if (known !== undefined) return known;
    const ownScheme = secure === undefined ? "http" : "https";
    const client = readClient(said, peer.node, this.trusted, isUrlHost, ownScheme);
    const made = reportedFields(client, { asked, stripped, ownScheme, certificate: secure?.certificate ?? [] });
    if (this.reported.size >= MAX_REPORTED) this.reported.clear();
    if (key.length <= MAX_REPORTED_LENGTH) this.reported.set(key, made);
    return made;
  }
}

type Said = Record<keyof ClientFields, string[]>;

function valuesOf(said: Said, kind: number): string[] | undefined {
  switch (kind) {
    case FieldKind.FORWARDED_FOR:
      return said.forwardedFor;
    case FieldKind.FORWARDED:
      return said.forwarded;
    case FieldKind.FORWARDED_PROTO:
      return said.proto;
    case FieldKind.FORWARDED_HOST:
      return said.host;
    case FieldKind.FORWARDED_PREFIX:
      return said.prefix;
    default:
      return undefined;
  }
}

interface OwnConnection {
  /** The Host of the request. */
  asked: string;
  /** The removed prefix of its path. */
  stripped: string;
  ownScheme: "http" | "https";
  certificate: SecurePeer["certificate"];
}

function reportedFields(
  client: ReportedClient,
  { asked, stripped, ownScheme, certificate }: OwnConnection,
): ForwardedFields {
  const pairs = [
    ...fieldsFor(client, ownScheme),
    ...certificate.map(([name, value]): [string, string] => [name, value]),
  ];
  const host = client.host ?? asked;
  if (host !== "") pairs.push(["X-Forwarded-Host", host]);
  const prefix = client.prefix + stripped;
  if (prefix !== "") pairs.push(["X-Forwarded-Prefix", prefix]);
  return new ForwardedFields(pairs, true, client.scheme !== "http" || host.toLowerCase() !== asked.toLowerCase());
}

/** Returns a client that is connected directly. */
function clientAt(node: string, scheme: "http" | "https"): ReportedClient {
  return { chain: [node === UNIX ? UNKNOWN : node], scheme, host: undefined, prefix: "" };
}

function fieldsFor({ chain, scheme, host }: ReportedClient, ownScheme: "http" | "https"): [string, string][] {
  const elements = chain.map((node, at) => {
    // Only the first and the last hop's schemes are known.
    const proto = at === 0 ? `;proto=${scheme}` : at === chain.length - 1 ? `;proto=${ownScheme}` : "";
    return forwardedNode(node) + proto + (at === 0 && host !== undefined ? `;host="${host}"` : "");
  });
  return [
    ["X-Forwarded-For", chain.join(", ")],
    ["X-Forwarded-Proto", scheme],
    ["Forwarded", elements.join(", ")],
  ];
}

/** Returns the `for` of a Forwarded element (RFC 7239 §6), with IPv6 in brackets and quotes. */
function forwardedNode(node: string): string {
  return familyOf(node) === "ipv6" ? `for="[${node}]"` : `for=${node}`;
}

function laneFields(pairs: readonly (readonly [string, string])[]): Uint8Array {
  const parts = pairs.map(([name, value]) => {
    const part = Buffer.alloc(FIELD_LENGTHS + name.length + value.length);
    part.write(name.toLowerCase() + value, putFieldLengths(part, 0, name.length, value.length), "latin1");
    return part;
  });
  return Buffer.concat(parts);
}
