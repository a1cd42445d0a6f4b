import type { ControlPlaneProcess, Answer } from "./control-plane.ts";
import { type History, keyOf } from "./history.ts";
import type { Network } from "./network.ts";
import type { Dice } from "./random.ts";
import type { Wish } from "./workload.ts";
import type { World } from "./world.ts";

const PATIENCE_MS = 8_000;
/** Answers after which the same request can have another. */
const TRY_AGAIN = new Set(["STORE_FULL", "STORE_UNAVAILABLE", "TOO_MANY_REQUESTS", "SHUTTING_DOWN"]);

export interface ClientsOptions {
  readonly world: World;
  readonly network: Network;
  /** Any of them will do. */
  readonly controlPlanes: readonly ControlPlaneProcess[];
  readonly history: History;
  readonly dice: Dice;
}

/** Those who hand events in: stubborn, so that whoever gets no answer asks again with the same id. */
export class Clients {
  readonly #options: ClientsOptions;
  /** Requests that somebody still wants an answer to. */
  open = 0;

  constructor(options: ClientsOptions) {
    this.#options = options;
  }

  /** Hands an event in until there is an answer. */
  submit(wish: Wish, then: (accepted: boolean) => void): void {
    const { history, world } = this.#options;
    const { id } = wish.plan;
    history.counts.submitted += 1;
    this.#insist(
      `submit ${id}`,
      (controlPlane) => controlPlane.submit(wish.body),
      (answer) => {
        if (answer.status === 202) {
          const key = keyOf(id, 1);
          if (!history.accepted.has(key)) history.accepted.set(key, world.nowMs);
        } else {
          history.counts.refused += 1;
          if (history.hasLost(id)) world.note(`${id} was refused, and has been lost before`);
          else if (answer.code !== "EVENT_EXPIRED") history.violate(`${id} was refused: ${answer.status} ${answer.code}`);
          else if (history.accepted.has(keyOf(id, 1))) history.violate(`${id} was accepted, and refused as expired when handed in again`);
        }
        then(answer.status === 202);
      },
    );
  }

  /** The same id with other content must be refused. */
  submitOther(wish: Wish): void {
    const { history } = this.#options;
    this.#insist(
      `submit other ${wish.plan.id}`,
      (controlPlane) => controlPlane.submit(wish.otherBody),
      (answer) => {
        // One that was made long ago may be refused for that.
        const isRefused = answer.code === "EVENT_CONFLICT" || answer.code === "EVENT_EXPIRED";
        if (!isRefused && !history.hasLost(wish.plan.id))
          history.violate(`other content for ${wish.plan.id} was answered ${answer.status} ${answer.code}`);
      },
    );
  }

  cancel(id: string): void {
    const { history, world } = this.#options;
    this.#insist(
      `cancel ${id}`,
      (controlPlane) => controlPlane.call("DELETE /v1/events/:id", id),
      (answer) => {
        if (answer.status === 202 && !history.cancelWished.has(id)) history.cancelWished.set(id, world.nowMs);
        else if (![200, 202, 409].includes(answer.status) && !history.hasLost(id))
          history.violate(`cancelling ${id} was answered ${answer.status} ${answer.code}`);
      },
    );
  }

  retry(id: string, then: (accepted: boolean) => void): void {
    const { history } = this.#options;
    history.counts.retried += 1;
    this.#insist(
      `retry ${id}`,
      (controlPlane) => controlPlane.call("POST /v1/events/:id/retry", id),
      (answer) => {
        if (answer.status === 202) history.retriesAccepted.set(id, (history.retriesAccepted.get(id) ?? 0) + 1);
        else if (answer.status !== 409 && !history.hasLost(id))
          history.violate(`retrying ${id} was answered ${answer.status} ${answer.code}`);
        then(answer.status === 202);
      },
    );
  }

  agent(action: "pause" | "resume" | "remove", agentId: string, wanted: () => boolean = () => true): void {
    const route = action === "remove" ? "DELETE /v1/agents/:id" : `POST /v1/agents/:id/${action}`;
    this.#insist(
      `${action} ${agentId}`,
      (controlPlane) => controlPlane.call(route, agentId),
      () => undefined,
      wanted,
    );
  }

  #insist(
    label: string,
    ask: (controlPlane: ControlPlaneProcess) => Promise<Answer>,
    then: (answer: Answer) => void,
    wanted = () => true,
  ): void {
    const { world, dice, history } = this.#options;
    this.open += 1;
    const attempt = (): void => {
      if (!wanted()) {
        this.open -= 1;
        return;
      }
      this.#once(label, ask, (answer) => {
        if (answer === undefined) history.counts.unanswered += 1;
        if (answer === undefined || TRY_AGAIN.has(answer.code)) {
          world.after(dice.long(50, 4_000), undefined, label, attempt);
          return;
        }
        world.note(`${label} -> ${answer.status} ${answer.code}`);
        this.open -= 1;
        then(answer);
      });
    };
    attempt();
  }

  /** One request; its answer, or undefined when none comes: then nobody knows what became of it. */
  #once(label: string, ask: (controlPlane: ControlPlaneProcess) => Promise<Answer>, then: (answer: Answer | undefined) => void): void {
    const { world, network, controlPlanes, dice } = this.#options;
    const [only] = controlPlanes;
    const controlPlane = controlPlanes.length === 1 && only !== undefined ? only : dice.pick(controlPlanes);
    let over = false;
    const end = (answer: Answer | undefined): void => {
      if (over) return;
      over = true;
      patience.cancel();
      then(answer);
    };
    const patience = world.after(PATIENCE_MS, undefined, "patience", () => end(undefined));
    const lost = (): boolean => network.weather.partitioned || dice.chance(network.weather.drop);
    world.after(network.latency(), undefined, label, () => {
      const { life } = controlPlane;
      if (lost()) return;
      if (life === undefined || !controlPlane.listening) {
        world.after(network.latency(), undefined, "refused", () => end(undefined));
        return;
      }
      const served = async (): Promise<void> => {
        const answer = await ask(controlPlane);
        if (!life.dead && !lost()) world.after(network.latency(), undefined, "answer", () => end(answer));
      };
      world.asSoon(life, "request", () => void served());
    });
  }
}
