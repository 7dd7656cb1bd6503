/** The jobs that wait for an idle server: their order, which of them are dropped for an equal one, and the bound. Pure. */
import { isDeepStrictEqual } from "node:util";
import { Fifo } from "@paceline/wire/fifo";
import { QueuedArguments } from "./queued-arguments.js";

export type JobFunction = (argument: unknown) => unknown;

export interface DeferredJob {
  readonly fn: JobFunction;
  readonly argument: unknown;
  /** When it was queued, on the clock of `performance.now()`. */
  readonly queuedAtMs: number;
}

/** What became of a job: it waits, or was dropped since an equal one waits already, or there was no room. */
type AddOutcome = "queued" | "dropped" | "full";

/** A job is queued until it is taken: one that runs is none of them. */
export class DeferredQueue<Job extends DeferredJob = DeferredJob> {
  private readonly jobs = new Fifo<Job>();
  /** The only job of a function, or the arguments of all: most functions are made for one job, and their maps would be most of its memory. */
  private readonly byFunction = new Map<JobFunction, Job | QueuedArguments>();

  get length(): number {
    return this.jobs.length;
  }

  /** The job that is next. */
  get oldest(): Job | undefined {
    return this.jobs.first;
  }

  /** With `isCombined`, it is dropped when its function waits with a deeply equal argument, whoever queued that. */
  add(job: Job, isCombined: boolean, maxJobs: number): AddOutcome {
    const queued = this.byFunction.get(job.fn);
    if (isCombined && queued !== undefined && hasEqual(queued, job.argument)) return "dropped";
    if (this.jobs.length >= maxJobs) return "full";
    this.jobs.push(job);
    if (queued === undefined) this.byFunction.set(job.fn, job);
    else if (queued instanceof QueuedArguments) queued.add(job.argument);
    else this.byFunction.set(job.fn, argumentsOf(queued, job));
    return "queued";
  }

  take(): Job | undefined {
    const job = this.jobs.shift();
    if (job === undefined) return undefined;
    const queued = this.byFunction.get(job.fn);
    if (queued instanceof QueuedArguments) queued.removeOldest(job.argument);
    if (!(queued instanceof QueuedArguments) || queued.size === 0) this.byFunction.delete(job.fn);
    return job;
  }

  [Symbol.iterator](): IterableIterator<Job> {
    return this.jobs[Symbol.iterator]();
  }
}

function hasEqual(queued: DeferredJob | QueuedArguments, argument: unknown): boolean {
  if (queued instanceof QueuedArguments) return queued.has(argument);
  return isDeepStrictEqual(queued.argument, argument);
}

function argumentsOf(...jobs: DeferredJob[]): QueuedArguments {
  const queued = new QueuedArguments();
  for (const { argument } of jobs) queued.add(argument);
  return queued;
}
