/** A file for Docker Compose: the fleet in a container on one machine. */
import {
  containerStart,
  deadlines,
  dnsName,
  type ExportInput,
  memoryOf,
  mountedFiles,
  PACELINE_IN_IMAGE,
  tcpAddress,
  wholeSeconds,
} from "./facts.js";
import { notesFor } from "./notes.js";
import { type Yaml, yaml } from "./yaml.js";

const MARGIN_S = 5;

export function compose(input: ExportInput): string {
  const { config, image, workdir } = input;
  const name = dnsName(config.name);
  const { startMs, stopMs } = deadlines(config);
  const { megabytes, unlimited } = memoryOf(config);
  const port = tcpAddress(config)?.port ?? 8080;
  const serves = config.listen.length > 0;
  const files = mountedFiles(input);
  const secrets = [...files.secrets, ...files.envFiles];
  const all = [
    ...secrets.map(({ key, path }) => ({ key, target: path })),
    ...files.credentials.map(({ key, name }) => ({ key, target: `/run/credentials/paceline/${name}` })),
  ];
  const environment: Record<string, Yaml> = { PACELINE_RUN_DIR: "/tmp/paceline" };
  if (files.credentials.length > 0) environment.CREDENTIALS_DIRECTORY = "/run/credentials/paceline";
  return yaml(
    literal({
      services: {
        [name]: {
          image: image ?? `${name}:latest`,
          working_dir: workdir,
          "#": "In place of the image's entrypoint, so that arguments are complete here.",
          entrypoint: [PACELINE_IN_IMAGE],
          command: containerStart(input),
          "#2": serves
            ? "For clients of this machine alone; a front on another one needs its address in place of 127.0.0.1."
            : undefined,
          ports: serves ? [`127.0.0.1:${port}:${port}`] : undefined,
          environment,
          secrets: all.length === 0 ? undefined : all.map(({ key, target }) => ({ source: key, target })),
          "#3": "preDrainMs, drainTimeoutMs, 2 × termTimeoutMs, and a margin",
          stop_grace_period: `${wholeSeconds(stopMs) + MARGIN_S}s`,
          healthcheck: {
            "#": "Every instance and balancer is ready. Docker restarts nothing if this fails; Paceline restarts processes itself.",
            test: ["CMD", PACELINE_IN_IMAGE, "status", "--check"],
            interval: "30s",
            timeout: "10s",
            retries: 2,
            start_period: `${wholeSeconds(startMs)}s`,
          },
          restart: "unless-stopped",
          deploy: unlimited.length > 0 ? undefined : { resources: { limits: { memory: `${megabytes}M` } } },
          cap_drop: ["ALL"],
          cap_add: port < 1024 ? ["NET_BIND_SERVICE"] : undefined,
          security_opt: ["no-new-privileges:true"],
        },
      },
      "#": all.length === 0 ? undefined : "Change the paths: each is a file on this machine.",
      secrets:
        all.length === 0 ? undefined : Object.fromEntries(all.map(({ key }) => [key, { file: `./secrets/${key}` }])),
    }),
    [
      `Docker Compose for the fleet ${config.name}: paceline export compose`,
      "Image: the Dockerfile in docs/operations.md of paceline. A new image replaces the container, and its port is closed meanwhile;",
      "a reload in it is not: docker compose kill -s HUP reloads what a volume has.",
      ...notesFor("container", config),
    ],
  );
}

type Table = { readonly [key: string]: Yaml | undefined };

/** Doubles each `$`, because Compose would replace it by a variable. Keys and comments are kept. */
function literal(table: Table): Table {
  return Object.fromEntries(
    Object.entries(table).map(([key, value]) => [
      key,
      key.startsWith("#") || value === undefined ? value : literalValue(value),
    ]),
  );
}

function literalValue(value: Yaml): Yaml {
  if (typeof value === "string") return value.replaceAll("$", "$$$$");
  if (Array.isArray(value)) return (value as readonly Yaml[]).map(literalValue);
  return typeof value === "object" ? (literal(value as Table) as Yaml) : value;
}
