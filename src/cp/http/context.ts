import type { Logger, Ports } from "../../kit/mod.ts";
import type { Metrics } from "../../metrics/mod.ts";
import type { VersionView } from "../../protocol/mod.ts";
import type { Security } from "../../security/mod.ts";
import type { Store } from "../../stores/mod.ts";
import type { Bell } from "../bell.ts";
import type { CloudEvents } from "../cloud-events.ts";
import type { Dispatcher } from "../dispatcher.ts";
import type { Gateway } from "../gateway.ts";
import type { Intake } from "../intake.ts";
import type { Legacy } from "../legacy.ts";
import type { OpenGauge } from "../open-gauge.ts";
import type { Membership } from "../membership.ts";
import type { Permits } from "../permits.ts";
import type { QueueIntake } from "../queue-intake.ts";
import type { Registry } from "../registry.ts";
import type { BodyBudget } from "./body.ts";

/** What the endpoints work on. */
export interface HttpContext {
  /** Undefined where nobody is asked who they are. */
  readonly security: Security | undefined;
  readonly permits: Permits;
  readonly store: Store;
  readonly registry: Registry;
  readonly dispatcher: Dispatcher;
  readonly gateway: Gateway;
  readonly membership: Membership;
  readonly intake: Intake;
  /** Undefined where nobody comes in without an identity, or everybody does. */
  readonly legacy: Legacy | undefined;
  /** Undefined where events come over HTTP alone. */
  readonly queue: Pick<QueueIntake, "view"> | undefined;
  readonly bell: Bell;
  readonly cloudEvents: CloudEvents;
  readonly gauge: OpenGauge;
  readonly metrics: Metrics;
  readonly ports: Ports;
  readonly log: Logger;
  readonly version: VersionView;
  readonly maxEventBytes: number;
  readonly bodyBudget: BodyBudget;
  readonly isStopping: () => boolean;
  /** About to stop: agents are to connect elsewhere, and whoever spreads requests is to send none here. */
  readonly isDraining: () => boolean;
}
