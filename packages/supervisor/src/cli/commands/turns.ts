/** `paceline drain`, `undrain`, `eject`, `readmit` and `weight`: set an instance's share of its pool's requests. */
import type { Command } from "commander";
import type { TurnChange } from "../../control/api.js";
import type { OperateOptions } from "../operate.js";
import { type DefineCommand, parseCount, withFleet, withJson, withTimeout } from "../options.js";

interface DrainOptions extends OperateOptions {
  wait?: boolean;
  force?: boolean;
}

export const drain: DefineCommand = (program, action) => {
  const command = program
    .command("drain")
    .description("stop new requests to an instance until paceline undrain; its process keeps running")
    .argument("<instance>", "such as web.3")
    .option("--wait", "return when the instance has no request in flight")
    .option("--force", "even if it is the only instance of its pool that gets requests");
  withOperation(command).action(
    action(async (instance: string, { wait = false, force = false, ...options }: DrainOptions) =>
      turn("drain", instance, { wait, force }, options),
    ),
  );
};

export const undrain = simple("undrain", "send a drained instance requests again");

export const eject = simple(
  "eject",
  "send an instance requests only if all others are ejected too, until paceline readmit or its process ends",
);

export const readmit = simple("readmit", "send an ejected instance requests again");

export const weight: DefineCommand = (program, action) => {
  const command = program
    .command("weight")
    .description("set the share of its pool's requests that an instance gets")
    .argument("<instance>", "such as web.3")
    .argument("<weight>", "from 1 to 1000; the default of an instance is 100", parseCount);
  withOperation(command).action(
    action(async (instance: string, value: number, options: OperateOptions) =>
      turn("weight", instance, { weight: value }, options),
    ),
  );
};

function simple(name: "undrain" | "eject" | "readmit", description: string): DefineCommand {
  return (program, action) => {
    const command = program.command(name).description(description).argument("<instance>", "such as web.3");
    withOperation(command).action(
      action(async (instance: string, options: OperateOptions) => turn(name, instance, {}, options)),
    );
  };
}

function withOperation(command: Command): Command {
  return withTimeout(withJson(withFleet(command)));
}

async function turn(what: TurnChange["do"], instance: string, body: object, options: OperateOptions) {
  const { operate } = await import("../operate.js");
  return operate(options, undefined, (fleet, how) => fleet.turn(what, instance, body, how), `the ${what}`);
}
