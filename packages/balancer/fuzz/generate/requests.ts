/** Streams of requests: pipelines in both framings, odd fields and targets, then broken. */
import fc from "fast-check";
import type { Field } from "../message.js";
import { mutate, mutations } from "./mutations.js";
import {
  bodyText,
  chunkedBody,
  codingValue,
  connectionField,
  cuts,
  lengthValue,
  lineEnd,
  ordinaryField,
} from "./parts.js";

export interface RequestCase {
  /** latin1 */
  stream: string;
  cuts: number[];
}

const method = fc.oneof(
  { weight: 60, arbitrary: fc.constantFrom("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH") },
  { weight: 4, arbitrary: fc.constantFrom("PROPFIND", "M-SEARCH", "QUERY") },
  { weight: 1, arbitrary: fc.constantFrom("get", "FOO", "CONNECT", "TRACE", "PRI", "A".repeat(30), "", "GE T", "X!~") },
);

const target = fc.oneof(
  {
    weight: 50,
    arbitrary: fc
      .string({
        unit: fc.constantFrom(..."ab/?&=20.~:@!$'()*+,;", "%20", "%7e", "%2E", "%2f", "%c3%A9", "/..", "//"),
        maxLength: 12,
      })
      .map((path) => `/${path}`),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      "*",
      "http://h.example/x",
      "http://h.example",
      "https://h:8/?q",
      "http://h?q",
      "HTTP://h/",
      "http://u@h/",
      "http:///x",
      "http://",
      "ftp://h/",
      "h:80",
      "/a#b",
      "/\xe9",
      "//h/x",
      '/{}|^`\\"<>',
      "/[x]",
      "",
      "a",
      "?q",
      `/${"t".repeat(2500)}`,
    ),
  },
);

const version = fc.oneof(
  { weight: 80, arbitrary: fc.constant("HTTP/1.1") },
  { weight: 8, arbitrary: fc.constant("HTTP/1.0") },
  {
    weight: 1,
    arbitrary: fc.constantFrom("HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.10", "HTTP/1.", "", "RTSP/1.0"),
  },
);

const hosts: fc.Arbitrary<Field[]> = fc.oneof(
  { weight: 60, arbitrary: fc.constant<Field[]>([["Host", "a.example"]]) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Field[]>(
      [],
      [["Host", ""]],
      [["host", "a:80"]],
      [["HOST", "[::1]:80"]],
      [["Host", "a b"]],
      [["Host", "a/b"]],
      [["Host", "a,b"]],
      [["Host", "u@a"]],
      [["Host", "a:b"]],
      [["Host", "[::1"]],
      [["Host", "1.2.3.4.5"]],
      [["Host", "a:65536"]],
      [
        ["Host", "a"],
        ["Host", "a"],
      ],
      [
        ["Host", "a"],
        ["host", "b"],
      ],
    ),
  },
);

const oddFields: fc.Arbitrary<Field> = fc.constantFrom<Field>(
  ["Expect", "100-continue"],
  ["Expect", "100-Continue"],
  ["Content-Type", "text/plain"],
  ["Upgrade", "x"],
  ["Expect", "200-ok"],
  ["Upgrade", "websocket"],
  ["Upgrade", "h2c"],
  ["HTTP2-Settings", "AAMAAABk"],
);

interface Framed {
  fields: Field[];
  bytes: string;
}

/** The body on the wire, with the fields that frame it. */
const framed: fc.Arbitrary<Framed> = fc.oneof(
  { weight: 20, arbitrary: fc.constant<Framed>({ fields: [], bytes: "" }) },
  {
    weight: 20,
    arbitrary: bodyText.map((text) => ({
      fields: [["Content-Length", String(text.length)] as const],
      bytes: text,
    })),
  },
  {
    weight: 20,
    arbitrary: chunkedBody.map((bytes) => ({ fields: [["Transfer-Encoding", "chunked"] as const], bytes })),
  },
  {
    weight: 1,
    arbitrary: bodyText.chain((bytes) =>
      lengthValue(bytes.length).map((value) => ({ fields: [["Content-Length", value] as const], bytes })),
    ),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(chunkedBody, codingValue)
      .map(([bytes, value]) => ({ fields: [["transfer-encoding", value] as const], bytes })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(chunkedBody, fc.boolean(), fc.boolean()).map(([bytes, isLengthFirst, isTwice]) => {
      const length = ["Content-Length", String(bytes.length)] as const;
      const coding = ["Transfer-Encoding", "chunked"] as const;
      const other = isTwice ? (isLengthFirst ? length : coding) : isLengthFirst ? coding : length;
      return { fields: [isLengthFirst ? length : coding, other], bytes };
    }),
  },
);

const request = fc
  .record({
    before: fc.oneof(
      { weight: 60, arbitrary: fc.constantFrom("", "", "", "", "", "\r\n") },
      { weight: 1, arbitrary: fc.constantFrom("\r\n\r\n", "\n", "\r", " ", "\0") },
    ),
    method,
    target,
    version,
    hosts,
    fields: fc.array(
      fc.oneof({ weight: 20, arbitrary: ordinaryField }, { weight: 3, arbitrary: connectionField }, oddFields),
      { maxLength: 4 },
    ),
    framed,
    space: fc.oneof({ weight: 20, arbitrary: fc.constant(" ") }, fc.constantFrom("", "  ", "\t", "\t ")),
    isFramedFirst: fc.boolean(),
    ends: fc.tuple(lineEnd, lineEnd, lineEnd),
  })
  .map(({ before, method, target, version, hosts, fields, framed, space, isFramedFirst, ends }) => {
    const all = isFramedFirst ? [...framed.fields, ...hosts, ...fields] : [...hosts, ...fields, ...framed.fields];
    const lines = all.map(([name, value]) => `${name}:${space}${value}`);
    const [first, last, empty] = ends;
    const head = `${method} ${target} ${version}${first}${lines.join("\r\n")}`;
    return `${before}${head}${lines.length > 0 ? last : ""}${empty}${framed.bytes}`;
  });

export const requestCase: fc.Arbitrary<RequestCase> = fc
  .record({ requests: fc.array(request, { minLength: 1, maxLength: 5 }), mutations, cuts })
  .map(({ requests, mutations, cuts }) => ({ stream: mutate(requests.join(""), mutations), cuts }));
