/** A program that keeps running: each operation with its arguments is a line of JSON to it, and so is each result. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const VERB_TIMEOUT_MS = 300_000;

export class Session {
  constructor([program, ...args], env) {
    Object.assign(this, { program, args, env, waiting: [] });
  }

  /** The first call starts the program. */
  call(verb, ...args) {
    this.child ??= this.start();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.child.kill("SIGKILL"), VERB_TIMEOUT_MS);
      this.waiting.push({ resolve, reject, timer });
      this.child.stdin.write(`${JSON.stringify([verb, ...args])}\n`);
    });
  }

  start() {
    const child = spawn(this.program, this.args, { env: this.env, stdio: ["pipe", "pipe", "inherit"] });
    const fail = (error) => {
      for (const { reject, timer } of this.waiting.splice(0)) {
        clearTimeout(timer);
        reject(error);
      }
    };
    child.on("error", fail);
    child.on("exit", (code, signal) => fail(new Error(`${this.program} ended with ${code ?? signal}`)));
    child.stdin.on("error", fail);
    createInterface(child.stdout).on("line", (line) => {
      const { resolve, reject, timer } = this.waiting.shift();
      clearTimeout(timer);
      const { result, failure } = JSON.parse(line);
      if (failure === undefined) resolve(result);
      else reject(new Error(failure));
    });
    return child;
  }

  close() {
    this.child?.kill();
  }
}
