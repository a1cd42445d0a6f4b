import { TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { parseRecord, recordOf } from "../http/json.ts";
import { forEachLimited } from "../http/limiter.ts";
import type { Target } from "../apply/target.ts";

/** Something that an account will have to do to objects of one kind in one place. */
export interface Need {
  readonly verb: "create" | "delete" | "patch";
  /** One of those objects. */
  readonly example: Target;
}

/** Collects what will have to be done, once for each kind and place. */
export class Needs {
  readonly #needs = new Map<string, Need>();

  add(verb: Need["verb"], example: Target): void {
    const { group, plural } = example.type;
    const key = `${verb} ${group}/${plural} ${example.ref.namespace ?? ""}`;
    if (!this.#needs.has(key)) this.#needs.set(key, { verb, example });
  }

  get all(): readonly Need[] {
    return [...this.#needs.values()];
  }
}

/** What the API server says, of all objects of the kind or of one by its name; undefined where it does not answer such questions. */
async function isAllowed(
  client: KubeClient,
  { verb, example }: Need,
  name: string | undefined,
  signal: AbortSignal | undefined,
): Promise<boolean | undefined> {
  const { group, version, plural: resource } = example.type;
  const { namespace } = example.ref;
  const answer = await client.send({
    method: "POST",
    path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    contentType: "application/json",
    body: JSON.stringify({
      apiVersion: "authorization.k8s.io/v1",
      kind: "SelfSubjectAccessReview",
      spec: {
        resourceAttributes: {
          group,
          version,
          resource,
          verb,
          ...(namespace === undefined ? {} : { namespace }),
          ...(name === undefined ? {} : { name }),
        },
      },
    }),
    repeatable: true,
    signal,
  });
  return answer.status === 201 ? recordOf(parseRecord(answer.text)["status"])["allowed"] === true : undefined;
}

/** Throws FORBIDDEN that names everything the account may not do; `why` says what for. */
export async function demandRights(
  client: KubeClient,
  needs: readonly Need[],
  why: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const lacking: Need[] = [];
  await forEachLimited(needs, client.maxInFlight, async (need) => {
    if ((await isAllowed(client, need, undefined, signal)) !== false) return;
    // A role may name the objects that it is for; one is asked for in place of all.
    if ((await isAllowed(client, need, need.example.ref.name, signal)) === false) lacking.push(need);
  });
  if (lacking.length === 0) return;
  const texts = lacking.map(({ verb, example: { type, ref } }) => {
    const kind = type.group === "" ? type.plural : `${type.plural}.${type.group}`;
    return `${verb} ${kind}${ref.namespace === undefined ? "" : ` in namespace ${ref.namespace}`}`;
  });
  throw new TransporterError("FORBIDDEN", `the account may not ${texts.join(", nor ")}, and ${why}`, {
    details: { lacking: texts },
    remedy: "Grant the account these verbs, or send the event without on_failure: rollback.",
  });
}
