/**
 * Queues in front of the control planes, and the way back out for statuses: one port, a driver for each engine. A driver is loaded only when
 * its URL is used. Refuses a URL that it does not know. A message is settled after the store has its event, never before, and is never given
 * back for what the control plane cannot do just now.
 */
export * from "./port.ts";
export {
  openOutlet,
  openQueue,
  openQueueObserver,
  openQueueWriter,
  type DriverOptions,
  type QueueOptions,
  type QueueSecrets,
} from "./open.ts";
