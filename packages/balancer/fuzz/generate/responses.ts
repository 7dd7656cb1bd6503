/** Streams of responses on a kept upstream connection, then broken. */
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

export interface ResponseCase {
  /** latin1 */
  stream: string;
  cuts: number[];
  /** Whether the nth request was a HEAD; its length is the number of requests. */
  toHead: boolean[];
}

const statusLine = fc
  .tuple(
    fc.oneof({ weight: 40, arbitrary: fc.constant("HTTP/1.1") }, fc.constantFrom("HTTP/1.0", "HTTP/1.2", "HTTP/2.0")),
    fc.oneof(
      { weight: 50, arbitrary: fc.constantFrom("200", "404", "500") },
      { weight: 20, arbitrary: fc.constantFrom("204", "304", "206", "205", "301", "101", "426", "999") },
      { weight: 1, arbitrary: fc.constantFrom("099", "000", "20", "2000", "2 0", "+20", "abc", "1e2", "") },
    ),
    fc.oneof(
      { weight: 40, arbitrary: fc.constantFrom(" OK", " Not Found", " ", "") },
      fc.constantFrom("  x", " \xe9\t", "X", "\t"),
    ),
  )
  .map(([version, status, reason]) => `${version} ${status}${reason}`);

const interim = fc.constantFrom(
  "HTTP/1.1 100 Continue\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
  "HTTP/1.1 102 Processing\r\nContent-Length: 5\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n",
  "HTTP/1.0 100 Continue\r\n\r\n",
  "HTTP/1.1 199 x\r\n\r\n",
);

interface Framed {
  fields: Field[];
  bytes: string;
}

const framed: fc.Arbitrary<Framed> = fc.oneof(
  { weight: 6, arbitrary: bodyText.map((bytes) => ({ fields: [], bytes })) },
  {
    weight: 20,
    arbitrary: bodyText.map((bytes) => ({ fields: [["Content-Length", String(bytes.length)] as const], bytes })),
  },
  {
    weight: 20,
    arbitrary: chunkedBody.map((bytes) => ({ fields: [["Transfer-Encoding", "chunked"] as const], bytes })),
  },
  { weight: 6, arbitrary: fc.constant<Framed>({ fields: [["Content-Length", "7"]], bytes: "" }) },
  { weight: 6, arbitrary: fc.constant<Framed>({ fields: [["Transfer-Encoding", "chunked"]], bytes: "" }) },
  {
    weight: 1,
    arbitrary: bodyText.chain((bytes) =>
      lengthValue(bytes.length).map((value) => ({ fields: [["content-length", value] as const], bytes })),
    ),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(chunkedBody, codingValue)
      .map(([bytes, value]) => ({ fields: [["Transfer-Encoding", value] as const], bytes })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(chunkedBody, fc.integer({ min: 0, max: 3 })).map(([bytes, kind]) => {
      const length = ["Content-Length", String(bytes.length)] as const;
      const coding = ["Transfer-Encoding", "chunked"] as const;
      const pairs = [
        [length, coding],
        [coding, length],
        [length, length],
        [coding, coding],
      ];
      return { fields: pairs[kind] as Field[], bytes };
    }),
  },
);

const response = fc
  .record({
    interims: fc.oneof({ weight: 6, arbitrary: fc.constant([]) }, fc.array(interim, { maxLength: 3 })),
    statusLine,
    fields: fc.array(fc.oneof({ weight: 10, arbitrary: ordinaryField }, connectionField), { maxLength: 4 }),
    framed,
    isFramedFirst: fc.boolean(),
    ends: fc.tuple(lineEnd, lineEnd, lineEnd),
    /** Sometimes beyond the limit of a head. */
    padding: fc.oneof({ weight: 150, arbitrary: fc.constant(0) }, fc.integer({ min: 60_000, max: 140_000 })),
  })
  .map(({ interims, statusLine, fields, framed, isFramedFirst, ends, padding }) => {
    const all = isFramedFirst ? [...framed.fields, ...fields] : [...fields, ...framed.fields];
    if (padding > 0) all.push(["Padding", "p".repeat(padding)]);
    const lines = all.map(([name, value]) => `${name}: ${value}`);
    const [first, last, empty] = ends;
    const head = `${statusLine}${first}${lines.join("\r\n")}`;
    return `${interims.join("")}${head}${lines.length > 0 ? last : ""}${empty}${framed.bytes}`;
  });

export const responseCase: fc.Arbitrary<ResponseCase> = fc
  .record({
    responses: fc.array(response, { minLength: 1, maxLength: 4 }),
    toHead: fc.array(fc.boolean(), { minLength: 1, maxLength: 4 }),
    mutations,
    cuts,
  })
  .map(({ responses, toHead, mutations, cuts }) => ({ stream: mutate(responses.join(""), mutations), cuts, toHead }));
