/** A Python instance under a scripted supervisor, for tests with raw bytes. */
import { fileURLToPath } from "node:url";
import { INSTANCE_LIMITS } from "@paceline/wire/limits";
import type { TestContext } from "vitest";
import { type Program, ScriptedSupervisor, Wire } from "./harness.js";
import { findPython, PYTHON_ENTRY } from "./python.js";

const FIXTURES = fileURLToPath(new URL("./fixtures/", import.meta.url));

export const LIMITS = {
  ...INSTANCE_LIMITS,
  maxBodyBytes: 10_000_000,
  bodyTimeoutMs: 60_000,
  maxConnections: 100,
  maxDeferredJobs: 1000,
};

const python = findPython();

export class PythonInstance {
  private constructor(
    private readonly context: TestContext,
    readonly supervisor: ScriptedSupervisor,
    readonly program: Program,
  ) {}

  /** Starts an instance; the instance and its supervisor are stopped after the test. */
  static async spawn(
    context: TestContext,
    spec: object = {},
    limits: object = {},
    interpreter = python,
  ): Promise<PythonInstance> {
    if (interpreter === undefined) context.skip("Python 3.9 or newer is not installed");
    const supervisor = new ScriptedSupervisor();
    await supervisor.listen();
    const program = supervisor.spawnProgram(
      [interpreter as string, PYTHON_ENTRY],
      { ...("asgi" in spec ? {} : { wsgi: "wsgi_app:application" }), limits: { ...LIMITS, ...limits }, ...spec },
      // Replaces the working directory, where modules are searched.
      { PYTHONPATH: FIXTURES },
    );
    context.onTestFinished(async () => {
      await program.end();
      await supervisor.close();
    });
    return new PythonInstance(context, supervisor, program);
  }

  static async start(context: TestContext, spec: object = {}, limits: object = {}): Promise<PythonInstance> {
    const instance = await PythonInstance.spawn(context, spec, limits);
    await instance.supervisor.hears("ready");
    return instance;
  }

  /** Opens a new connection. */
  wire(): Wire {
    const wire = new Wire(this.supervisor.target);
    this.context.onTestFinished(() => wire.destroy());
    return wire;
  }

  /** Returns everything received in response to these bytes until the instance closes. */
  async says(request: string): Promise<string> {
    return await this.wire().send(request).closed();
  }

  /** Returns the complete response for a GET, with `Connection: close`. */
  get(path: string, fields = "", method = "GET", body = ""): Promise<string> {
    return this.says(`${method} ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}\r\n${body}`);
  }

  /** All output so far. */
  get output(): string {
    return this.program.output.join("\n");
  }
}

/** Returns the body of a raw response, with chunks decoded. */
export function bodyOf(response: string): string {
  const at = response.indexOf("\r\n\r\n") + 4;
  if (!/^transfer-encoding: chunked\r$/im.test(response.slice(0, at))) return response.slice(at);
  let body = "";
  for (let from = at; ; ) {
    const line = response.indexOf("\r\n", from);
    const size = Number.parseInt(response.slice(from, line), 16);
    if (size === 0 && response.slice(line) === "\r\n\r\n") return body;
    if (!(size > 0)) throw new Error(`no last chunk in ${JSON.stringify(response.slice(-200))}`);
    body += response.slice(line + 2, line + 2 + size);
    from = line + 2 + size + 2;
  }
}
