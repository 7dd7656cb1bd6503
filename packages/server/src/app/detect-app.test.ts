/** A function's parameters show its style, or leave it open. */
import { describe, expect, it } from "vitest";
import { detectApp, styleOfFunction } from "./detect-app.js";

describe("the style of a function", () => {
  it.each([
    // A Node handler cannot respond without its second parameter.
    ["() => new Response('hello')", "fetch"],
    ["request => new Response(request.url)", "fetch"],
    ["async request => new Response(request.url)", "fetch"],
    ["async (request) => new Response(request.url)", "fetch"],
    ["function handler(request) { return new Response(request.url) }", "fetch"],
    ["fetch({ url }) { return new Response(url) }", "fetch"],
    ["async *['a, b'](request) {}", "fetch"],
    ["[name(1, 2)](request, res) {}", "node"],
    // The name of the second parameter decides.
    ["(request, info) => new Response(info.host)", "fetch"],
    ["async function (request, _info) {}", "fetch"],
    ["(_, requestInfo) => {}", "fetch"],
    ["(request, { clientAddress, host = ')' }) => new Response(clientAddress)", "fetch"],
    ["({ url, headers }, info = {}) => {}", "fetch"],
    ["(req, res) => res.end()", "node"],
    ["(req, res, next) => next()", "node"],
    ["async (req, res) => { arguments }", "node"],
    ["function (request, response) { response.end() }", "node"],
    ["function(_req,_res){}", "node"],
    ["(req = make({ a: [1, 2] }, ','), res) => {}", "node"],
    ["(req /* the request, (whole) */, // of node:http\n res) => {}", "node"],
    ["(req = `a, )`, resp) => {}", "node"],
    // Undecided.
    ["(a, b) => b.end()", undefined],
    ["function (e, t) {}", undefined],
    ["(request, env, ctx) => {}", undefined],
    ["(request, server) => {}", undefined],
    ["(...args) => app(...args)", undefined],
    ["(req, ...rest) => app(req, ...rest)", undefined],
    ["(req, [res]) => {}", undefined],
    ["function () { return app.apply(this, arguments) }", undefined],
    ["function bound() { [native code] }", undefined],
    ["(req = ')", undefined],
    ["class App { fetch(request) {} }", "class"],
  ])("%s: %s", (source, style) => {
    expect(styleOfFunction(source)).toBe(style);
  });

  it("says where to declare the style of a function that leaves it open", () => {
    expect(detectApp((..._parts: unknown[]) => {})).toEqual({
      problem: expect.stringContaining(
        'the key style: "fetch" or style: "node" of its pool in the config, or with --style',
      ),
    });
  });

  it("reads the source text of a function that the runtime returns", () => {
    const handler = (request: Request, info: { host: string }) => new Response(request.url + info.host);
    expect(styleOfFunction(String(handler))).toBe("fetch");
    expect(styleOfFunction(String(handler.bind(undefined)))).toBeUndefined();
  });
});
