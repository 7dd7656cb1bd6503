/** An upstream responds to a real balancer with any bytes; the client's response is compared with our parser's model. */
import type { Check } from "../checks/check.js";
import { type ResponseCase, responseCase } from "../generate/responses.js";
import { cut, type SeenMessage, valuesOf } from "../message.js";
import { readOurResponses } from "../read/our-responses.js";
import { exchangeStream } from "./client.js";
import { MARKER, type ResponseBench } from "./response-bench.js";

export function twoHopResponses(name: string, bench: ResponseBench): Check<ResponseCase> {
  return {
    name,
    // An upstream that closes without a byte is a different case: it is retried.
    cases: responseCase.filter(({ stream }) => stream !== ""),
    async problem({ stream, cuts, toHead: [isHead = false] }) {
      const model = readOurResponses(cut(stream, []), [isHead]);
      // An unrequested 101 is not a response.
      const final = model.messages.find(({ status }) => status >= 200);
      const isBroken = final === undefined || model.messages.some(({ status }) => status === 101);
      // Bytes after a complete response come with its last bytes: later they would be the next request's response, in any
      // HTTP/1.1 proxy.
      const places = cuts.map((place) => place % (stream.length + 1)).filter((place) => place < model.used);
      bench.respondWith(cut(stream, places));
      const request = Buffer.from(`${isHead ? "HEAD" : "GET"} / HTTP/1.1\r\nHost: a\r\n\r\n${MARKER}`);
      const expectation = { toHead: [isHead, false], awaited: 2, mustEnd: false };
      const { reading, interims, isStuck } = await exchangeStream(bench.port, [request], expectation);
      if (isStuck) return "the answers did not come, or the connection did not end";
      const [response, marker, ...more] = reading.messages;
      if (more.length > 0) return "more answers than requests";
      if (isBroken) {
        if (response?.status !== 502) return `a broken answer became ${response?.status ?? "nothing"}`;
      } else {
        const wrong = wrongResponse(response, final);
        if (wrong !== undefined) return wrong;
      }
      const told = model.messages.filter(({ status }) => status < 200 && status > 101).map(({ status }) => status);
      if (!isBroken && String(told) !== String(interims)) return `interim answers ${interims} for ${told}`;
      const mayBeCut = !isBroken && !final.isComplete;
      if (marker === undefined ? !mayBeCut : marker.body !== "marker")
        return "the next request got no answer of its own";
      const next = await exchangeStream(bench.port, [Buffer.from(MARKER)], {
        ...expectation,
        toHead: [false],
        awaited: 1,
      });
      return next.reading.messages[0]?.body === "marker" ? undefined : "the next client got no answer of its own";
    },
  };
}

function wrongResponse(response: SeenMessage | undefined, final: SeenMessage): string | undefined {
  // A response cut before anything was forwarded may end the connection at once.
  if (response === undefined) return final.isComplete ? "no answer" : undefined;
  // A response broken before any byte was sent becomes one of the balancer's own.
  if (!final.isComplete && response.status === 502 && response.body === "502 Bad Gateway\n") return undefined;
  if (response.isComplete && !final.isComplete) return "a cut answer looks whole";
  if (!response.isComplete && final.isComplete) return "a whole answer was cut";
  if (response.status !== final.status) return `status ${response.status} for ${final.status}`;
  const isBody = final.isComplete ? response.body === final.body : final.body.startsWith(response.body);
  if (!isBody) return "another body";
  const framings = valuesOf(response, "content-length").length + valuesOf(response, "transfer-encoding").length;
  return framings > 1 ? "framed twice" : undefined;
}
