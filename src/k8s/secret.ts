import { TransporterError } from "../kit/mod.ts";
import type { KubeClient } from "./http/client.ts";
import { parseRecord, recordOf, textOf } from "./http/json.ts";
import { errorOfAnswer } from "./http/status-error.ts";
import type { KubeAnswer } from "./http/transport.ts";

export interface SecretName {
  readonly namespace: string;
  readonly name: string;
}

/** What a Secret holds, decoded, and which version of it that is. */
export interface SecretContent {
  readonly data: Readonly<Record<string, string>>;
  readonly resourceVersion: string;
}

function pathOf({ namespace, name }: SecretName): string {
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets/${encodeURIComponent(name)}`;
}

function failure(answer: KubeAnswer, of: SecretName): TransporterError {
  return errorOfAnswer(answer, `Secret ${of.namespace}/${of.name}`);
}

function contentOf(answer: KubeAnswer): SecretContent {
  const secret = parseRecord(answer.text);
  // Not a plain object's prototype: names in a Secret are its writer's.
  const data: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of Object.entries(recordOf(secret["data"])))
    if (typeof value === "string") data[name] = Buffer.from(value, "base64").toString("utf8");
  return { data, resourceVersion: textOf(recordOf(secret["metadata"])["resourceVersion"]) ?? "" };
}

/** Reads a Secret; undefined where there is none. Throws FORBIDDEN, KUBE_UNAVAILABLE and what else `send` throws. */
export async function readSecret(client: KubeClient, of: SecretName): Promise<SecretContent | undefined> {
  const answer = await client.send({ method: "GET", path: pathOf(of) });
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw failure(answer, of);
  return contentOf(answer);
}

/**
 * Writes these entries into a Secret and leaves what else is in it; null removes one. `expect` is the version that it must still have;
 * undefined: it must not be there, and is made. Answers the new version, or undefined where somebody else was quicker.
 */
export async function writeSecret(
  client: KubeClient,
  of: SecretName,
  entries: Readonly<Record<string, string | null>>,
  expect: string | undefined,
): Promise<SecretContent | undefined> {
  const data: Record<string, string | null> = {};
  for (const [name, text] of Object.entries(entries)) {
    if (text !== null) data[name] = Buffer.from(text, "utf8").toString("base64");
    else if (expect !== undefined) data[name] = null;
  }
  const answer =
    expect === undefined
      ? await client.send({
          method: "POST",
          path: `/api/v1/namespaces/${encodeURIComponent(of.namespace)}/secrets`,
          contentType: "application/json",
          body: JSON.stringify({ apiVersion: "v1", kind: "Secret", type: "Opaque", metadata: { name: of.name }, data }),
        })
      : await client.send({
          method: "PATCH",
          path: pathOf(of),
          contentType: "application/merge-patch+json",
          // With the version a patch is refused where somebody else wrote since.
          body: JSON.stringify({ metadata: { resourceVersion: expect }, data }),
          repeatable: true,
        });
  // Gone meanwhile is another state than was expected, too.
  if (answer.status === 409 || (expect !== undefined && answer.status === 404)) return undefined;
  if (answer.status !== 200 && answer.status !== 201) throw failure(answer, of);
  return contentOf(answer);
}

/** Whether the account may do that with this Secret. Throws KUBE_UNAVAILABLE and what else `send` throws. */
export async function maySecret(client: KubeClient, of: SecretName, verb: "get" | "patch" | "create"): Promise<boolean> {
  // Who makes one says no name in the request that is judged.
  const name = verb === "create" ? {} : { name: of.name };
  const answer = await client.send({
    method: "POST",
    path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    contentType: "application/json",
    repeatable: true,
    body: JSON.stringify({
      apiVersion: "authorization.k8s.io/v1",
      kind: "SelfSubjectAccessReview",
      spec: { resourceAttributes: { namespace: of.namespace, verb, resource: "secrets", ...name } },
    }),
  });
  if (answer.status !== 201) throw failure(answer, of);
  return recordOf(parseRecord(answer.text)["status"])["allowed"] === true;
}
