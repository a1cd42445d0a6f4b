import { TransporterError } from "../../../kit/mod.ts";

const NAME = /^[a-z0-9](?:[a-z0-9_.-]{0,126}[a-z0-9])?$/;

/** A name as the broker keeps it: in lower case. Throws QUEUE_INVALID for one that it would refuse, so that it is said before anything is sent. */
export function memphisName(what: "station" | "consumer" | "producer", text: string): string {
  const name = text.toLowerCase();
  if (!NAME.test(name))
    throw new TransporterError("QUEUE_INVALID", `the name of the Memphis ${what} ${JSON.stringify(text)} cannot be used`, {
      remedy: "Give 1 to 128 letters, digits, dots, dashes and underscores, a letter or digit first and last.",
    });
  return name;
}

/** As it stands in the names of streams, durables and subjects, where a dot would divide. */
export function internalName(name: string): string {
  return name.replaceAll(".", "#");
}

/** One of the streams that a station consists of. */
export interface Partition {
  /** From 1 on. A station of a very old broker has no numbers; what must say one says 1. */
  readonly number: number;
  readonly stream: string;
  /** What is published to and consumed from. */
  readonly subject: string;
}

/** The streams of a station, given the list of partitions that the broker answered. */
export function partitionsOf(station: string, numbers: readonly number[]): Partition[] {
  const internal = internalName(station);
  if (numbers.length === 0) return [{ number: 1, stream: internal, subject: `${internal}.final` }];
  return numbers.map((number) => ({ number, stream: `${internal}$${number}`, subject: `${internal}$${number}.final` }));
}
