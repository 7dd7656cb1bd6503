/** The kind `fapws`: a FAPWS start script, which registers its own callbacks. */
import { text } from "../fields.js";
import { resolveFile } from "../paths.js";
import { args, poolKind, REQUEST_TIMEOUT_MS, requestTimeoutMs, sticky } from "./kind.js";
import { launchPython, PYTHON_MAX_IN_FLIGHT, preload, python } from "./python.js";

export const fapws = poolKind({
  name: "fapws",
  fields: {
    fapws: text(
      "A FAPWS start script, relative to the config file's folder, such as `./start.py`. Each instance runs the script, with Paceline's own package `fapws` in place of FAPWS. See [migrating-from-fapws.md](migrating-from-fapws.md).",
    ),
    args,
    python,
    preload,
    requestTimeoutMs,
    sticky,
  },
  defaultInstances: 4,
  resolve(keys, context) {
    const script = resolveFile(keys.fapws ?? "", context.baseDir);
    if (script === undefined) context.report(["fapws"], `there is no such file: ${keys.fapws}`);
    return {
      source: script ?? "",
      relayed: { sendsFiles: true, takesAllRequests: true },
      workload: { fapws: { script, ...(keys.args && { args: keys.args }) } },
      launch: launchPython(keys.python, context),
      ...(keys.preload && { preload: true }),
      maxInFlight: PYTHON_MAX_IN_FLIGHT,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
    };
  },
});
