/** Serves a fetch app over lanes: the balancers of the fleet are its only clients. */

import type { FetchHandler } from "../app.js";
import { RequestCounter } from "../request-counter.js";
import { listenError } from "../runtime/listen-error.js";
import type { RunningServer, RuntimeOptions } from "../runtime/running-server.js";
import type { AnswerReader } from "./answers.js";
import { LaneConnection, type LaneServices } from "./lane-connection.js";
import { type LaneListener, listenForLanes } from "./lane-socket.js";

/**
 * Starts the server on the unix socket of its address.
 *
 * @param answers from `prepareAnswers()`, which must have run before the app was loaded.
 * @throws ServerError `address-in-use` or `cannot-listen`
 */
export async function serveLanes(
  handler: FetchHandler,
  answers: AnswerReader,
  options: RuntimeOptions,
): Promise<RunningServer> {
  const { address, limits, onError } = options;
  const lanes = new Set<LaneConnection>();
  const active = (): number => {
    let count = 0;
    for (const lane of lanes) count += lane.active;
    return count;
  };
  let isLeaving = false;
  const counter = new RequestCounter(active);
  const services: LaneServices = {
    handler,
    answers,
    counter,
    limits,
    active,
    isLeaving: () => isLeaving,
    onError,
    onChange: (lane) => {
      if (lane.isGone) lanes.delete(lane);
    },
  };
  let listener: LaneListener;
  try {
    listener = await listenForLanes(address.kind === "unix" ? address.path : "", (socket) => {
      const lane = new LaneConnection(socket, services);
      lanes.add(lane);
      return lane;
    });
  } catch (cause) {
    throw listenError(address, cause);
  }
  return {
    address,
    // Until a balancer has said that it sends no more, a request may be on its way.
    inFlight: () => active() + (isLeaving ? [...lanes].filter((lane) => lane.owesGoaway).length : 0),
    takeStats: () => counter.take(),
    markAnswersClose: () => {
      isLeaving = true;
      for (const lane of lanes) lane.goaway();
    },
    stopAccepting: () => listener.close(),
    closeNow: () => {
      counter.stop();
      listener.close();
      for (const lane of lanes) lane.destroy();
    },
  };
}
