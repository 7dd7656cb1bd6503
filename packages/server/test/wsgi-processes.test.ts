/** Processes started by a WSGI app: pools, subprocesses, forked children. They are not instances. */
import { expect, test } from "vitest";
import { bodyOf, PythonInstance } from "./python-instance.js";

const start = (context: Parameters<typeof PythonInstance.start>[0]) =>
  PythonInstance.start(context, { wsgi: "wsgi_processes:application" });

test("multiprocessing works with each way to start a process, and its processes can be stopped", async (context) => {
  const instance = await start(context);
  const get = async (path: string) => bodyOf(await instance.get(path));
  for (const method of ["fork", "forkserver", "spawn"]) {
    expect(await get(`/terminates?${method}`), method).toBe("-15");
    expect(await get(`/pool?${method}`), method).toBe("[0, 2, 4, 6]");
    expect(await get(`/executor?${method}`), method).toBe("42");
  }
});

test("a process that an app starts does not ignore SIGINT, through fork and exec", async (context) => {
  const instance = await start(context);
  for (const [path, status] of [
    ["/interrupts", "-2"],
    ["/interrupts-fork", "7"],
  ] as const) {
    expect(bodyOf(await instance.get(path)), path).toBe(status);
  }
});

test("a forked child never serves: it exits where it returns to the server, whatever it returns", async (context) => {
  const instance = await start(context);
  for (const [path, status] of [
    ["/child-raises", "1"],
    ["/child-exits", "5"],
    ["/child-returns", "1"],
    ["/child-aborts", "-6"],
    ["/child-writes", "1"],
    // The child has none of the instance's sockets, which would otherwise stay open after the instance.
    ["/child-files", "0"],
  ] as const) {
    const response = await instance.get(path);
    expect(response, path).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(bodyOf(response), path).toBe(status);
  }
  await instance.program.line(/ValueError: thrown in a forked child/);
  await instance.program.line(/GET \/child-returns: a forked child returned into the server/);
  // The stacks of child processes would hide that of the instance, with which they are aborted.
  expect(instance.output).not.toContain("Fatal Python error");
  await instance.get("/jobs");
  for (const name of ["raises", "returns", "timer"]) await instance.program.line(new RegExp(`^# ${name}: 1$`));
  instance.program.kill("SIGTERM");
  expect(await instance.program.exited).toEqual({ code: 0, signal: null });
});

test("a failing last flush on a full disk, even of one of the app's own streams, is no failure of the process", async (context) => {
  const instance = await PythonInstance.start(context);
  expect(bodyOf(await instance.get("/full-disk"))).toBe("full");
  instance.program.kill("SIGTERM");
  expect(await instance.program.exited).toEqual({ code: 0, signal: null });
});
