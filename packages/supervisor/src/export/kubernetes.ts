/** Manifests for Kubernetes: a pod is one fleet, which drains and scales internally as on a machine. */

import { shellWord } from "../core/words.js";
import {
  containerStart,
  deadlines,
  dnsName,
  type ExportInput,
  memoryOf,
  mountedFiles,
  PACELINE_IN_IMAGE,
  sizesOf,
  stickyOf,
  tcpAddress,
  wholeSeconds,
} from "./facts.js";
import { notesFor } from "./notes.js";
import { type Yaml, yaml } from "./yaml.js";

/** Kubernetes removes a pod from its Services while it stops it, and does not report when all clients have noticed. In seconds. */
const PRE_STOP_S = 5;
const MARGIN_S = 5;
const RUN_FOLDER = "/run/paceline";
const CREDENTIALS = "/run/credentials/paceline";

export function kubernetes(input: ExportInput): string {
  const { config, image = `${dnsName(config.name)}:latest` } = input;
  const name = dnsName(config.name);
  const labels = { "app.kubernetes.io/name": name };
  const metadata = { name, labels };
  const address = tcpAddress(config);
  const serves = config.listen.length > 0;
  const port = address?.port ?? 8080;
  const files = mountedFiles(input);
  const documents: Record<string, Yaml | undefined>[] = [
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: `${name}-env`, labels },
      "#": "Variables that are no secrets. Those of the config's `env` are in the image.",
      data: { NODE_ENV: "production", PACELINE_RUN_DIR: `${RUN_FOLDER}/fleet` },
    },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata,
      spec: {
        "#": "No `replicas`: the HorizontalPodAutoscaler below sets them.",
        minReadySeconds: wholeSeconds(Math.max(0, ...config.pools.map(({ policy }) => policy.minReadyMs))),
        strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: podSpec(input, { name, image, port, serves, labels }) },
      },
    },
  ];
  if (serves) documents.push(service(input, name, labels));
  documents.push(autoscaler(name, labels), disruptionBudget(name, labels));
  const head = [
    `Kubernetes manifests of the fleet ${config.name}: paceline export kubernetes`,
    `Image: the Dockerfile in docs/operations.md of paceline; --image and --workdir change ${image} and ${input.workdir}.`,
    ...notesFor("container", config),
    ...(config.pools.some(({ scaling }) => scaling !== null)
      ? [
          "Two control loops scale: the fleet scales its instances within a pod, and the HorizontalPodAutoscaler scales the pods.",
        ]
      : []),
    ...secretNotes(name, files),
  ];
  return documents.map((document, at) => yaml(document, at === 0 ? head : [])).join("---\n");
}

interface PodFacts {
  name: string;
  image: string;
  port: number;
  serves: boolean;
  labels: Record<string, string>;
}

function podSpec(input: ExportInput, { name, image, port, serves, labels }: PodFacts): Yaml {
  const { config, workdir } = input;
  const { stopMs } = deadlines(config);
  const { preDrainMs } = config.balancer;
  const { volumes, mounts } = mountsOf(input, name);
  const hasLowPort = port < 1024;
  const grace = wholeSeconds(stopMs) + (preDrainMs > 0 ? 0 : PRE_STOP_S) + MARGIN_S;
  return {
    "#": `preStop, preDrainMs (${preDrainMs}), drainTimeoutMs, 2 × termTimeoutMs, and a margin`,
    terminationGracePeriodSeconds: grace,
    securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } },
    topologySpreadConstraints: [
      {
        maxSkew: 1,
        topologyKey: "kubernetes.io/hostname",
        whenUnsatisfiable: "ScheduleAnyway",
        labelSelector: { matchLabels: labels },
      },
    ],
    containers: [
      {
        name,
        image,
        workingDir: workdir,
        command: [PACELINE_IN_IMAGE, ...containerStart(input)],
        ports: serves ? [{ name: "http", containerPort: port }] : undefined,
        envFrom: [
          { configMapRef: { name: `${name}-env` } },
          { secretRef: { name: `${name}-secret-env`, optional: true } },
        ],
        env:
          mountedFiles(input).credentials.length > 0
            ? [{ name: "CREDENTIALS_DIRECTORY", value: CREDENTIALS }]
            : undefined,
        resources: resources(input),
        ...probes(input),
        lifecycle: preDrainMs > 0 ? undefined : { preStop: { exec: { command: ["sleep", String(PRE_STOP_S)] } } },
        securityContext: {
          allowPrivilegeEscalation: false,
          capabilities: { drop: ["ALL"], add: hasLowPort ? ["NET_BIND_SERVICE"] : undefined },
        },
        volumeMounts: mounts,
      },
    ],
    volumes,
  };
}

/** The requests are the reserved resources, and the base of the autoscaler's percentage. */
function resources({ config }: ExportInput): Yaml {
  const { megabytes, unlimited } = memoryOf(config);
  const instances = config.pools.reduce((sum, pool) => sum + sizesOf(pool).min, 0);
  const isLimited = unlimited.length === 0;
  return {
    "#": "CPU: a guess of a quarter of a processor for each instance; measure with paceline status. No CPU limit: it delays requests.",
    requests: { cpu: `${Math.max(1, instances) * 250}m`, memory: isLimited ? `${megabytes}M` : undefined },
    "#2": isLimited
      ? "`maxMemoryMb` of all instances, one more in a recycling, the balancers and the supervisor."
      : undefined,
    limits: isLimited ? { memory: `${megabytes}M` } : undefined,
  };
}

function probes({ config }: ExportInput): Record<string, Yaml> {
  const { probes: paths } = config.balancer;
  if (config.listen.length === 0) return {};
  const { startMs } = deadlines(config);
  const ready: Record<string, Yaml> =
    paths?.ready === undefined ? { tcpSocket: { port: "http" } } : { httpGet: { path: paths.ready, port: "http" } };
  const live: Record<string, Yaml> =
    paths?.live === undefined
      ? {}
      : {
          livenessProbe: {
            httpGet: { path: paths.live, port: "http" },
            periodSeconds: 10,
            timeoutSeconds: 5,
            failureThreshold: 6,
          },
        };
  return {
    startupProbe: { ...ready, periodSeconds: 1, failureThreshold: wholeSeconds(startMs) },
    readinessProbe: { ...ready, periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 2 },
    // Paceline itself replaces processes that hang or crash. This is for a balancer that does not respond for a minute.
    ...live,
  };
}

function service(
  { config }: ExportInput,
  name: string,
  labels: Record<string, string>,
): Record<string, Yaml | undefined> {
  const isSticky = stickyOf(config) !== undefined;
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, labels },
    spec: {
      selector: labels,
      "#": isSticky ? "By address; an Ingress in front needs cookie affinity of its own." : undefined,
      sessionAffinity: isSticky ? "ClientIP" : undefined,
      ports: [{ name: "http", port: 80, targetPort: "http" }],
    },
  };
}

function autoscaler(name: string, labels: Record<string, string>): Record<string, Yaml> {
  return {
    apiVersion: "autoscaling/v2",
    kind: "HorizontalPodAutoscaler",
    metadata: { name, labels },
    spec: {
      scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name },
      minReplicas: 2,
      maxReplicas: 10,
      metrics: [
        { type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 70 } } },
      ],
    },
  };
}

function disruptionBudget(name: string, labels: Record<string, string>): Record<string, Yaml> {
  return {
    apiVersion: "policy/v1",
    kind: "PodDisruptionBudget",
    metadata: { name, labels },
    spec: { maxUnavailable: 1, selector: { matchLabels: labels } },
  };
}

function mountsOf(input: ExportInput, name: string): { volumes: Yaml; mounts: Yaml } {
  const { secrets, credentials, envFiles } = mountedFiles(input);
  const volumes: Yaml[] = [{ name: "run", emptyDir: {} }];
  const mounts: Yaml[] = [{ name: "run", mountPath: RUN_FOLDER }];
  const add = (of: string, secretName: string, files: typeof secrets) => {
    if (files.length === 0) return;
    volumes.push({ name: of, secret: { secretName } });
    for (const { path, key } of files) mounts.push({ name: of, mountPath: path, subPath: key, readOnly: true });
  };
  add("secrets", `${name}-secrets`, secrets);
  add("env-files", `${name}-env-files`, envFiles);
  if (credentials.length > 0) {
    // A credential keeps its name as a file, whatever its key.
    const items = credentials.map(({ key, name: path }) => ({ key, path }));
    volumes.push({ name: "credentials", secret: { secretName: `${name}-credentials`, items } });
    mounts.push({ name: "credentials", mountPath: CREDENTIALS, readOnly: true });
  }
  return { volumes, mounts };
}

/** The values are not included, because a Secret in a repository's file is not secret. */
function secretNotes(name: string, { secrets, credentials, envFiles }: ReturnType<typeof mountedFiles>): string[] {
  const create = (secret: string, keys: readonly string[]) =>
    keys.length === 0
      ? []
      : [
          `kubectl create secret generic ${name}-${secret} ${keys.map((key) => shellWord(`--from-file=${key}=PATH`)).join(" ")}`,
        ];
  const commands = [
    ...create(
      "secrets",
      secrets.map(({ key }) => key),
    ),
    ...create(
      "env-files",
      envFiles.map(({ key }) => key),
    ),
    ...create(
      "credentials",
      credentials.map(({ key }) => key),
    ),
  ];
  const of = [...secrets, ...envFiles, ...credentials.map(({ key, name: path }) => ({ key, path }))];
  const renamed = of.filter(({ key, path }) => !`/${path}`.endsWith(`/${key}`));
  return [
    `Variables of the Secret ${name}-secret-env, if it exists, are in the environment of the app.`,
    ...(commands.length === 0
      ? []
      : ["Before the first apply, create the Secrets:", ...commands.map((line) => `  ${line}`)]),
    ...renamed.map(({ key, path }) => `The key ${key} is for ${path}.`),
  ];
}
