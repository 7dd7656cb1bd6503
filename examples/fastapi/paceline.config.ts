/** A FastAPI app behind Paceline: three processes of the installed uvicorn, each with many requests at once. */
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";

// FastAPI may be installed in a virtual environment here, or for one of these interpreters.
const interpreters = [resolve(import.meta.dirname, ".venv/bin/python"), "python3", "/usr/bin/python3"];
const python = interpreters.find((each) => spawnSync(each, ["-c", "import fastapi, uvicorn"]).status === 0);
if (python === undefined) {
  throw new Error(
    "FastAPI and uvicorn are not installed: apt install python3-fastapi python3-uvicorn python3-websockets, or make .venv in examples/fastapi and install fastapi, uvicorn and websockets there",
  );
}

export default {
  asgi: "main:app",
  python,
  instances: 3,
};
