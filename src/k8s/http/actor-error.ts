import type { ActingIdentity } from "../../protocol/mod.ts";

/** What a refusal says of who asked. */
export interface ActorRefusal {
  readonly text: string;
  readonly remedy: string;
  readonly details: Readonly<Record<string, unknown>>;
}

const ACCOUNT = /^system:serviceaccount:([^:]+):([^:]+)$/;
/** `cannot impersonate resource …`, and, since Kubernetes 1.36 looks for narrower rights first, `cannot impersonate-on:serviceaccount:get …`. */
const MAY_NOT_ACT = /^(?:\S+ (?:"[^"]*" )?is )?forbidden: User "((?:[^"\\]|\\.)*)" cannot impersonate(?:-on)?(?::\S+)? /;

/** The arguments of `agent rbac --preset impersonator` that allow this identity. */
function grants({ user, groups, uid, extra }: ActingIdentity): readonly string[] {
  const [, namespace, name] = ACCOUNT.exec(user) ?? [];
  return [
    namespace === undefined || name === undefined ? `user:${user}` : `${namespace}/${name}`,
    ...groups.map((group) => `group:${group}`),
    ...(uid === undefined ? [] : [`uid:${uid}`]),
    ...Object.entries(extra).flatMap(([key, values]) => values.map((value) => `extra:${key}=${value}`)),
  ];
}

function quoted(text: string): string {
  return /^[\w:/.@=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The same identity for people: `system:serviceaccount:shop:deployer`, `jane of the groups devs, ops`. */
export function describeIdentity({ user, groups }: ActingIdentity): string {
  return groups.length === 0 ? user : `${user} of the group${groups.length === 1 ? "" : "s"} ${groups.join(", ")}`;
}

/** What a refusal (403) of a request for somebody else's means: the agent may not be that one, or that one may not do it. Pure. */
export function actorRefusal(message: string, actor: ActingIdentity): ActorRefusal {
  const who = describeIdentity(actor);
  const [, own] = MAY_NOT_ACT.exec(message) ?? [];
  if (own === undefined)
    return {
      text: message,
      remedy: `The event is carried out as ${who}: grant that one the verb on the resource, and look whether it is the one that was meant.`,
      details: { identity: actor.user },
    };
  const flags = grants(actor).map((grant) => ` --impersonate ${quoted(grant)}`);
  return {
    text: `the agent's account ${JSON.stringify(own)} may not act as ${who}: it ${message.slice(message.indexOf("cannot impersonate"))}`,
    remedy: `Let it: \`transporter agent rbac --preset impersonator${flags.join("")}\` prints the role, with the verb impersonate.`,
    details: { identity: actor.user, account: own },
  };
}

/** Whether the API server says that whoever asks may not be the one that is named. */
export function mayNotAct(message: string): boolean {
  return MAY_NOT_ACT.test(message);
}
