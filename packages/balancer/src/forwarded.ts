/** Makes the fields that tell an app who its client is; what a client says of itself counts only from a trusted peer. */
import type { BlockList } from "node:net";
import { FieldKind } from "./http1/field-table.js";
import type { RequestHead } from "./http1/request-head.js";
import { FIELD_FIXED, putLengths } from "./upstream-link/lane/field-lengths.js";

/** What is known of a client's address, made once a connection. */
export interface Peer {
  address: string;
  /** Whether its own forwarded fields are taken over. */
  isTrusted: boolean;
  /** The fields for a peer that is not trusted, ready to be sent. */
  fields: ForwardedFields;
}

/** The fields that tell who the client is, in the two forms in which they travel. */
export class ForwardedFields {
  /** How many there are. */
  readonly count = 3;
  /** As lines of HTTP/1.1. */
  readonly lines: Uint8Array;
  private lane_: Uint8Array | undefined;

  constructor(forwardedFor: string, proto: string, forwarded: string) {
    this.lines = Buffer.from(
      `X-Forwarded-For: ${forwardedFor}\r\nX-Forwarded-Proto: ${proto}\r\nForwarded: ${forwarded}\r\n`,
      "latin1",
    );
    this.texts = [forwardedFor, proto, forwarded];
  }

  private readonly texts: readonly [string, string, string];

  /** As fields of a REQUEST on the lane. */
  get lane(): Uint8Array {
    this.lane_ ??= laneFields(["x-forwarded-for", "x-forwarded-proto", "forwarded"], this.texts);
    return this.lane_;
  }
}

/** Clients come back: their peers are kept, up to this many, and then all are forgotten. */
const MAX_PEERS = 4096;

export class Forwarded {
  private readonly trusted: BlockList | undefined;
  private readonly peers = new Map<string, Peer>();

  /** @param trustedProxies addresses or CIDR blocks, checked when the config was read. */
  constructor(trustedProxies: readonly string[]) {
    if (trustedProxies.length === 0) return;
    // Not an import: on Bun node:net costs 1.5 MB, and most balancers trust nobody.
    const { BlockList } = process.getBuiltinModule("node:net");
    this.trusted = new BlockList();
    for (const block of trustedProxies) {
      const [address = "", prefix] = block.split("/");
      if (prefix === undefined) this.trusted.addAddress(address, familyOf(address));
      else this.trusted.addSubnet(address, Number(prefix), familyOf(address));
    }
  }

  /** @param address the client's IP address; empty for a unix socket, whose clients are never trusted. */
  peer(address: string): Peer {
    const known = this.peers.get(address);
    if (known !== undefined) return known;
    if (this.peers.size >= MAX_PEERS) this.peers.clear();
    // An IPv4 client of a dual-stack socket shows as ::ffff:1.2.3.4; it is known by its own address.
    const plain = address.replace(/^::ffff:(?=\d+\.)/i, "");
    const peer: Peer = {
      address: plain,
      isTrusted: plain !== "" && this.trusted?.check(plain, familyOf(plain)) === true,
      fields: new ForwardedFields(plain || "unknown", "http", node(plain)),
    };
    this.peers.set(address, peer);
    return peer;
  }

  /** The fields for one request: ready made, or the client's own with the peer added to them. */
  fields(head: RequestHead, peer: Peer): ForwardedFields {
    if (!peer.isTrusted) return peer.fields;
    let forwardedFor = "";
    let proto = "http";
    let forwarded = "";
    for (let i = 0; i < head.fields.count; i++) {
      switch (head.fields.kinds[i]) {
        case FieldKind.FORWARDED_FOR:
          forwardedFor += `${head.fields.value(i)}, `;
          break;
        case FieldKind.FORWARDED_PROTO:
          proto = head.fields.value(i);
          break;
        case FieldKind.FORWARDED:
          forwarded += `${head.fields.value(i)}, `;
          break;
      }
    }
    return new ForwardedFields(forwardedFor + peer.address, proto, forwarded + node(peer.address));
  }
}

function laneFields(names: readonly string[], values: readonly string[]): Uint8Array {
  const parts = names.map((name, i) => {
    const value = values[i] as string;
    const part = Buffer.alloc(FIELD_FIXED + name.length + value.length);
    part.write(name + value, putLengths(part, 0, name.length, value.length), "latin1");
    return part;
  });
  return Buffer.concat(parts);
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return address.includes(":") ? "ipv6" : "ipv4";
}

/** The `for` of a Forwarded element (RFC 7239 §6): IPv6 in brackets and quotes, `unknown` for a unix socket. */
function node(address: string): string {
  if (address === "") return "for=unknown;proto=http";
  return familyOf(address) === "ipv6" ? `for="[${address}]";proto=http` : `for=${address};proto=http`;
}
