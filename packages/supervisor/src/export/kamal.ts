/** A config/deploy.yml for Kamal 2: containers on several machines, each behind the kamal-proxy of its machine. */
import { isIPv6 } from "node:net";
import { shellWord } from "../core/words.js";
import {
  containerStart,
  deadlines,
  dnsName,
  type ExportInput,
  mountedFiles,
  tcpAddress,
  wholeSeconds,
} from "./facts.js";
import { notesFor } from "./notes.js";
import { yaml } from "./yaml.js";

const MARGIN_S = 5;

export function kamal(input: ExportInput): string {
  const { config, boxes } = input;
  const name = dnsName(config.name);
  const { startMs, stopMs } = deadlines(config);
  const { limits, probes } = config.balancer;
  const serverMs = (limits.upstreamResponseTimeoutMs ?? 0) + (limits.upstreamConnectTimeoutMs ?? 0);
  const { secrets, credentials, envFiles } = mountedFiles(input);
  const outside = [...secrets, ...envFiles];
  const serves = config.listen.length > 0;
  const grace = wholeSeconds(stopMs) + MARGIN_S;
  const image = imageParts(input.image ?? `registry.example/${name}`);
  const text = yaml(
    {
      service: name,
      "#i": "Kamal puts registry.server before it, and its own tag behind it.",
      image: image.name,
      servers: {
        web: {
          hosts: boxes.map(({ host }) => sshHost(host)),
          "#": "After the ENTRYPOINT of the Dockerfile in docs/operations.md, which ends with `start`; its WORKDIR has the fleet's folder.",
          // Kamal passes this text and the volumes through a shell.
          cmd: containerStart(input).slice(1).map(shellWord).join(" "),
          options: { "stop-timeout": grace },
          proxy: serves ? undefined : false,
        },
      },
      proxy: serves
        ? {
            "#": "Add `host`, and `ssl: true`, for certificates on the box.",
            app_port: tcpAddress(config)?.port ?? 8080,
            "#2": "kamal-proxy asks only until the new container is up.",
            healthcheck: {
              path: probes?.ready ?? config.pools.find(({ serves }) => serves)?.health.healthPath ?? "/",
              interval: 1,
              timeout: 5,
            },
            response_timeout: wholeSeconds(serverMs) + MARGIN_S,
            "#3": "Bodies pass as they come, streams too; the fleet itself waits for slow clients.",
            buffering: { requests: false, responses: false },
          }
        : undefined,
      deploy_timeout: wholeSeconds(startMs),
      "#": "kamal-proxy lets requests finish for this long, then the old container stops.",
      drain_timeout: grace,
      env: { clear: { NODE_ENV: "production", PACELINE_RUN_DIR: "/tmp/paceline" } },
      volumes:
        outside.length === 0 ? undefined : outside.map(({ key, path }) => shellWord(`/etc/${name}/${key}:${path}:ro`)),
      registry: {
        server: image.server,
        username: image.server === undefined && image.name.includes("/") ? image.name.replace(/\/.*/, "") : name,
        password: ["KAMAL_REGISTRY_PASSWORD"],
      },
      builder: { arch: "amd64" },
    },
    [
      `Kamal 2, config/deploy.yml of the fleet ${config.name}: paceline export kamal`,
      "Set image, hosts and registry; --image NAME and --box ADDRESS do. Check it with kamal config.",
      ...(image.tag === undefined ? [] : [`The tag of --image, ${image.tag}, is omitted: Kamal tags images itself.`]),
      ...notesFor("container", config),
      ...(serves && probes?.ready === undefined
        ? ["Kamal needs a health check: without `balancer.probes`, it asks the app itself."]
        : []),
      ...(outside.length > 0 ? [`Put the files of secrets and env files on each machine, in /etc/${name}.`] : []),
      ...(credentials.length > 0
        ? [
            `systemd's credentials (${credentials.map(({ name }) => name).join(", ")}) do not exist in a container: use { file } in \`env\`.`,
          ]
        : []),
    ],
  );
  // Kamal reads the file as an ERB template.
  return text.replaceAll("<%", "<%%");
}

/** Splits the name of an image into its parts. An image without a server is on Docker Hub. */
export function imageParts(image: string): { server: string | undefined; name: string; tag: string | undefined } {
  const [, place = "", tag] = /^(.*?)((?::[^/:@]*)?(?:@.*)?)$/s.exec(image) ?? [];
  const slash = place.indexOf("/");
  const first = place.slice(0, Math.max(0, slash));
  // Docker distinguishes a server from a user in the same way.
  const hasServer = first === "localhost" || /[.:]/.test(first);
  return {
    server: hasServer ? first : undefined,
    name: hasServer ? place.slice(slash + 1) : place,
    tag: tag === "" ? undefined : tag,
  };
}

/** Kamal reads the text after a colon as a port, unless it is an IPv6 address in brackets with a port. */
function sshHost(host: string): string {
  return isIPv6(host) ? `[${host}]:22` : host;
}
