/** A folder of files, each way of serving it, and the library `send` as the reference. */
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import send from "send";
import { eventually, Program, type RuntimeName, ScriptedSupervisor, type Standalone } from "./harness.js";
import { startOverLane } from "./lane-harness.js";

/** The ways to serve a folder: alone on a port, behind a balancer over HTTP/1.1, or over the lane. */
export const WAYS = ["alone", "http1", "lane"] as const;
export type Way = (typeof WAYS)[number];

/** Larger than what any way of sending accepts at once. */
export const BIG_BYTES = 1_000_000;
const OLD = new Date("2024-05-06T07:08:09Z");

/** Creates the folder inside another one with files that must not be served. */
export function makeSite(): { root: string; outside: string; remove(): void } {
  const base = mkdtempSync(join(tmpdir(), "pl-static-"));
  const root = join(base, "site");
  const outside = join(base, "outside");
  for (const folder of [
    root,
    outside,
    join(root, "docs"),
    join(root, "empty"),
    join(root, "sp ace"),
    join(root, ".git"),
  ]) {
    mkdirSync(folder, { recursive: true });
  }
  const file = (name: string, content: string | Buffer) => {
    mkdirSync(join(root, name, ".."), { recursive: true });
    writeFileSync(join(root, name), content);
    utimesSync(join(root, name), OLD, OLD);
  };
  file("index.html", "<h1>root</h1>\n");
  file("docs/index.html", "<h1>docs</h1>\n");
  file("a.css", "body { color: red }\n".repeat(40));
  file("a.js", "let a = 1;\n".repeat(100));
  file("a.js.br", "BROTLI");
  file("a.js.gz", "GZIPPED");
  file("data.json", '{"a":1}');
  file("empty.txt", "");
  file("noextension", "bytes");
  file("sp ace/ä b.txt", "umlaut");
  file("app.3f9a1c2b.js", "hashed");
  file("middle.bin", Buffer.alloc(100_000, "0123456789"));
  file("big.bin", Buffer.alloc(BIG_BYTES, "0123456789abcdef"));
  file(".git/config", "secret");
  file(".env", "secret");
  file(".well-known/security.txt", "Contact: x\n");
  file("big.txt.gz", "plain gz");
  writeFileSync(join(outside, "secret.txt"), "secret");
  symlinkSync(join(outside, "secret.txt"), join(root, "out.txt"));
  symlinkSync(outside, join(root, "outside"));
  symlinkSync("../outside", join(root, "docs", "up"));
  symlinkSync("a.css", join(root, "inside.css"));
  symlinkSync("loop", join(root, "loop"));
  linkSync(join(root, "a.css"), join(root, "hard.css"));
  return { root, outside, remove: () => rmSync(base, { recursive: true, force: true }) };
}

export interface Served extends Standalone {
  pid: number;
}

/** Serves `root`. */
export async function serveSite(runtime: RuntimeName, way: Way, root: string, options: object = {}): Promise<Served> {
  const spec = { app: undefined, static: { root, options } };
  if (way === "lane") {
    const lane = await startOverLane(runtime, "", spec);
    return { ...lane, pid: lane.program.child.pid as number };
  }
  if (way === "http1") {
    const supervisor = new ScriptedSupervisor();
    await supervisor.listen();
    const program = supervisor.spawn(runtime, "", spec);
    const close = async () => {
      await program.end();
      await supervisor.close();
    };
    try {
      await supervisor.hears("ready");
    } catch (error) {
      await close();
      throw error;
    }
    return { program, target: supervisor.target, close, pid: program.child.pid as number };
  }
  const program = new Program(runtime, ["--static", root, "--port", "0"]);
  try {
    const port = Number(/:(\d+)$/.exec(await program.line(/^listening on /))?.[1]);
    return {
      program,
      target: { host: "127.0.0.1", port },
      close: () => program.end(),
      pid: program.child.pid as number,
    };
  } catch (error) {
    await program.end();
    throw error;
  }
}

export interface Oracle {
  target: { host: string; port: number };
  close(): Promise<void>;
}

/** Runs `send` with the settings nearest to ours. */
export async function serveWithSend(root: string): Promise<Oracle> {
  const server: Server = createServer((request, response) => {
    send(request, (request.url as string).replace(/[?#].*/, ""), {
      root,
      dotfiles: "ignore",
      index: ["index.html"],
      cacheControl: false,
    }).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    target: { host: "127.0.0.1", port },
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** Waits until the times of the files are old enough for strong validators. */
export function settled(): Promise<true> {
  const until = Date.now() + 120;
  return eventually("a tick of the clock", () => Date.now() > until || undefined);
}
