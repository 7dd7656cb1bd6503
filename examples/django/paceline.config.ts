/** A Django project behind Paceline: four Python processes, each with one request at a time. */
import { spawnSync } from "node:child_process";
import { resolve } from "node:path";

// Django may be installed in a virtual environment here, or for one of these interpreters.
const interpreters = [resolve(import.meta.dirname, ".venv/bin/python"), "python3", "/usr/bin/python3"];

export default {
  wsgi: "mysite.wsgi:application",
  python: interpreters.find((python) => spawnSync(python, ["-c", "import django"]).status === 0) ?? "python3",
  instances: 4,
};
