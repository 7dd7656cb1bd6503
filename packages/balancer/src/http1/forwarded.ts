/** Makes the fields that tell an app who its client is; what a client says of itself counts only from a trusted peer. */
import { isUrlHost } from "@paceline/wire";
import { FIELD_LENGTHS, putFieldLengths } from "@paceline/wire/lane/request-head";
import { FieldKind } from "./field-table.js";
import type { RequestHead } from "./request-head.js";
import {
  type ClientFields,
  familyOf,
  plainAddress,
  readClient,
  type ToldClient,
  TrustedProxies,
  UNIX,
  UNKNOWN,
} from "./trusted-proxies.js";

/** What is known of a client's address, made once a connection. */
export interface Peer {
  /** Its address, `unix` for a unix socket, or `unknown`. */
  node: string;
  /** Whether what it says of its clients is believed. */
  isTrusted: boolean;
  /** The fields for a peer that is not trusted, ready to be sent. */
  fields: ForwardedFields;
}

/** The fields that tell who the client is, in the two forms in which they travel. */
export class ForwardedFields {
  private lane_: Uint8Array | undefined;
  private lines_: Uint8Array | undefined;

  /**
   * @param pairs names and values.
   * @param isTold whether X-Forwarded-Host and -Prefix are among them as far as the app is to have them, since a trusted peer
   *   has a say in them; else whoever sends the head adds what it says itself.
   * @param isElsewhere whether the client asked for another scheme or host than we were.
   */
  constructor(
    private readonly pairs: readonly (readonly [string, string])[],
    readonly isTold = false,
    readonly isElsewhere = false,
  ) {}

  /** How many there are. */
  get count(): number {
    return this.pairs.length;
  }

  /** The client, as far from us as is believed. */
  get client(): string {
    return this.pairs[0]?.[1].split(",", 1)[0] ?? UNKNOWN;
  }

  /** As lines of HTTP/1.1. */
  get lines(): Uint8Array {
    this.lines_ ??= Buffer.from(this.pairs.map(([name, value]) => `${name}: ${value}\r\n`).join(""), "latin1");
    return this.lines_;
  }

  /** As fields of a REQUEST on the lane. */
  get lane(): Uint8Array {
    this.lane_ ??= laneFields(this.pairs);
    return this.lane_;
  }
}

/** Clients come back: their peers are kept, up to this many, and then all are forgotten. */
const MAX_PEERS = 4096;
/** The same for what trusted peers said of them, and how long what is kept may be. */
const MAX_TOLD = 1024;
const MAX_TOLD_LENGTH = 1024;

export class Forwarded {
  private readonly trusted: TrustedProxies;
  private readonly peers = new Map<string, Peer>();
  /** By peer and all that it said. */
  private readonly told = new Map<string, ForwardedFields>();

  /** @param trustedProxies CIDR blocks and `unix`, checked when the config was read. */
  constructor(trustedProxies: readonly string[]) {
    this.trusted = new TrustedProxies(trustedProxies);
  }

  /**
   * @param address the client's IP address; empty when it has left already.
   * @param isUnix whether it came over a unix socket, as its listener knows: a client that has left has no address either.
   */
  peer(address: string, isUnix: boolean): Peer {
    const key = isUnix ? UNIX : address;
    const known = this.peers.get(key);
    if (known !== undefined) return known;
    if (this.peers.size >= MAX_PEERS) this.peers.clear();
    const node = isUnix ? UNIX : plainAddress(address) || UNKNOWN;
    const fields = fieldsFor({ chain: [isUnix ? UNKNOWN : node], scheme: "http", host: undefined, prefix: "" });
    const peer = { node, isTrusted: this.trusted.trusts(node), fields: new ForwardedFields(fields) };
    this.peers.set(key, peer);
    return peer;
  }

  /** The fields for one request: ready made, or what a trusted peer says of its client. */
  fields(head: RequestHead, peer: Peer): ForwardedFields {
    if (!peer.isTrusted) return peer.fields;
    const said: Said = { forwardedFor: [], forwarded: [], proto: [], host: [], prefix: [] };
    const { fields } = head;
    for (let i = 0; i < fields.count; i++) valuesOf(said, fields.kinds[i] as number)?.push(fields.value(i));
    const asked = Buffer.from(head.bytes.subarray(head.hostStart, head.hostEnd)).toString("latin1");
    const stripped = head.prefix === undefined ? "" : Buffer.from(head.prefix).toString("latin1");
    // A field's value has no line end in it.
    const key = [
      [peer.node],
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
    const known = this.told.get(key);
    if (known !== undefined) return known;
    const made = toldFields(readClient(said, peer.node, this.trusted, isUrlHost), asked, stripped);
    if (this.told.size >= MAX_TOLD) this.told.clear();
    if (key.length <= MAX_TOLD_LENGTH) this.told.set(key, made);
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

function toldFields(client: ToldClient, asked: string, stripped: string): ForwardedFields {
  const pairs = fieldsFor(client);
  const host = client.host ?? asked;
  if (host !== "") pairs.push(["X-Forwarded-Host", host]);
  const prefix = client.prefix + stripped;
  if (prefix !== "") pairs.push(["X-Forwarded-Prefix", prefix]);
  return new ForwardedFields(pairs, true, client.scheme !== "http" || host.toLowerCase() !== asked.toLowerCase());
}

function fieldsFor({ chain, scheme, host }: ToldClient): [string, string][] {
  const elements = chain.map((node, at) => {
    // What each hop was asked with is not known, but for the first and the last.
    const proto = at === 0 ? `;proto=${scheme}` : at === chain.length - 1 ? ";proto=http" : "";
    return forwardedNode(node) + proto + (at === 0 && host !== undefined ? `;host="${host}"` : "");
  });
  return [
    ["X-Forwarded-For", chain.join(", ")],
    ["X-Forwarded-Proto", scheme],
    ["Forwarded", elements.join(", ")],
  ];
}

/** The `for` of a Forwarded element (RFC 7239 §6): IPv6 in brackets and quotes. */
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
