/** Runs attempts at orders: account, trusted roots, deadline, and responses to challenges. The CA's client is loaded on demand. */
import { type Challenges, readRegularFile } from "@paceline/wire";
import { externalKeyProblem } from "../config/automatic.js";
import { readSecret } from "../config/secrets.js";
import type { ChallengeKind, OrderFailure } from "../core/acme-plan.js";
import type { AutomaticConfig } from "../core/model.js";
import type { AcmeFiles } from "./acme-files.js";
import type * as Orders from "./acme-order.js";
import { alpnCertificate } from "./acme-x509.js";
import { newKey, pemOf } from "./x509.js";

/** The deadline of an order in milliseconds. It is long, because some CAs verify slowly. */
const ORDER_MS = 5 * 60_000;
const ASK_MS = 60_000;
const MAX_CA_BYTES = 1 << 20;

/** Receives challenges, and sends them to all balancers. Each method resolves when the balancers have them. */
export interface ChallengeSink {
  challenge(added: Partial<Challenges>): Promise<void>;
  unchallenge(ended: { tokens?: readonly string[]; names?: readonly string[] }): Promise<void>;
}

type CaClient = Pick<typeof Orders, "obtain" | "askRenewal">;

interface AttemptsOptions {
  files: AcmeFiles;
  sink: ChallengeSink;
  userAgent: string;
  /** Ends all attempts. */
  signal: AbortSignal;
  now(): number;
  loadOrders: (() => Promise<CaClient>) | undefined;
}

interface Attempt {
  name: string;
  challenges: readonly ChallengeKind[];
  directory: string;
  onStaging: boolean;
  /** The certificate that is renewed, in PEM. */
  replaces: string | undefined;
}

export class OrderAttempts {
  constructor(private readonly options: AttemptsOptions) {}

  /** @throws Error, which `orderFailureOf` explains */
  async order(config: AutomaticConfig, attempt: Attempt): Promise<Orders.Obtained> {
    const { files } = this.options;
    const { directory, onStaging, ...rest } = attempt;
    const { obtain } = await this.client();
    const run = () =>
      obtain({
        ...this.caOptions(config, directory, ORDER_MS),
        ...rest,
        account: files.account(directory),
        email: config.email,
        externalAccount: onStaging ? null : externalAccountOf(config),
        onAccount: (account) => files.storeAccount(directory, account),
        respond: (response) => this.respond(response),
      });
    const { url } = files.account(directory);
    try {
      return await run();
    } catch (error) {
      if ((error as KnownError).more?.type !== "accountDoesNotExist") throw error;
      // The CA has forgotten the account. Another order may have replaced it meanwhile.
      if (files.account(directory).url === url) files.removeAccount(directory);
      return await run();
    }
  }

  /** Asks the CA when it wants a renewal. Returns undefined if it could not be asked. */
  async askRenewal(config: AutomaticConfig, certificatePem: string): Promise<Orders.RenewalAdvice | undefined> {
    try {
      const { askRenewal } = await this.client();
      return await askRenewal(this.caOptions(config, config.directory, ASK_MS), certificatePem);
    } catch {
      return undefined; // The usual time applies, and the CA is asked again after some hours.
    }
  }

  private client(): Promise<CaClient> {
    return this.options.loadOrders?.() ?? import("./acme-order.js");
  }

  private caOptions({ caFile }: AutomaticConfig, directory: string, deadlineMs: number) {
    const { signal, userAgent } = this.options;
    return {
      directory,
      ca: caFile === null ? undefined : readRegularFile(caFile, { maxBytes: MAX_CA_BYTES }).toString(),
      signal: AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]),
      userAgent,
    };
  }

  /** Resolves when all balancers respond to the challenge, with a function that removes it. */
  private async respond({ kind, name, token, keyAuthorization }: Orders.ChallengeResponse): Promise<() => void> {
    const { sink, now } = this.options;
    if (kind === "http-01") {
      await sink.challenge({ http01: [{ token, keyAuthorization }] });
      return () => void sink.unchallenge({ tokens: [token] });
    }
    const key = newKey();
    const certificatePem = alpnCertificate(name, keyAuthorization, key, now());
    await sink.challenge({ alpn01: [{ name, certificatePem, keyPem: pemOf(key) }] });
    return () => void sink.unchallenge({ names: [name] });
  }
}

function externalAccountOf({ externalAccount }: AutomaticConfig): { keyId: string; hmacKey: string } | null {
  if (externalAccount === null) return null;
  const { keyId, key } = externalAccount;
  const read = typeof key === "string" ? { text: key } : readSecret(key);
  const failed = (problem: string) => new Error(`tls.automatic.externalAccount.key: ${problem}`);
  if ("problem" in read) throw failed(read.problem);
  // The file may have changed since it was checked.
  const problem = externalKeyProblem(read.text);
  if (problem !== undefined) throw failed(problem);
  return { keyId, hmacKey: read.text };
}

/** The fields of AcmeError and ChallengeFailed, whose code is loaded on demand. */
interface KnownError extends Error {
  kind?: Exclude<OrderFailure["kind"], "challenge">;
  more?: { type?: string; retryAfterMs?: number };
  challenge?: ChallengeKind;
}

export function orderFailureOf(error: KnownError, onStaging: boolean): OrderFailure {
  const { message, kind = "local", more, challenge } = error;
  if (challenge !== undefined) return { kind: "challenge", challenge, message, onStaging };
  return { kind, message, retryAfterMs: more?.retryAfterMs, onStaging };
}
