import { describe, expect, test } from "bun:test";
import { actorRefusal } from "./actor-error.ts";
import { errorOfAnswer } from "./status-error.ts";

const JANE = { user: "jane", groups: ["release managers"], uid: "7", extra: { "example.com/scope": ["a"] } };
const ACCOUNT = { user: "system:serviceaccount:shop:deployer", groups: [], uid: undefined, extra: {} };

describe("who was refused", () => {
  // As API servers say it: until 1.35, and from 1.36 on, which looks for rights to certain acts first.
  test.each([
    'forbidden: User "system:serviceaccount:t:agent" cannot impersonate-on:serviceaccount:get path "/api"',
    'groups "system:masters" is forbidden: User "system:serviceaccount:t:agent" cannot impersonate resource "groups" in API group "" at the cluster scope',
    'serviceaccounts "deployer" is forbidden: User "system:serviceaccount:t:agent" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "shop"',
    'configmaps "a" is forbidden: User "system:serviceaccount:t:agent" cannot impersonate-on:serviceaccount:patch resource "configmaps" in API group "" in the namespace "shop"',
    'serviceaccounts.authentication.k8s.io "deployer" is forbidden: User "system:serviceaccount:t:agent" cannot impersonate:serviceaccount resource "serviceaccounts" in API group "authentication.k8s.io" in the namespace "shop"',
  ])("the agent: %s", (message) => {
    const answer = { status: 403, headers: new Headers(), text: JSON.stringify({ message, reason: "Forbidden" }), actor: ACCOUNT };
    const error = errorOfAnswer(answer, "ConfigMap shop/a");
    expect(error.code).toBe("FORBIDDEN");
    expect(error.message).toStartWith(
      'ConfigMap shop/a: the agent\'s account "system:serviceaccount:t:agent" may not act as system:serviceaccount:shop:deployer: it cannot impersonate',
    );
    expect(error.remedy).toContain("--preset impersonator --impersonate shop/deployer`");
  });

  test("somebody with groups and more: all that the role has to name, as a shell takes it", () => {
    const { text, remedy } = actorRefusal(
      'users "jane" is forbidden: User "me" cannot impersonate resource "users" in API group "" at the cluster scope',
      JANE,
    );
    expect(text).toContain("may not act as jane of the group release managers");
    expect(remedy).toContain(
      " --impersonate user:jane --impersonate 'group:release managers' --impersonate uid:7 --impersonate extra:example.com/scope=a`",
    );
  });

  test("the one who is acted as", () => {
    const message = 'configmaps "a" is forbidden: User "jane" cannot patch resource "configmaps" in API group "" in the namespace "shop"';
    const answer = { status: 403, headers: new Headers(), text: JSON.stringify({ message, reason: "Forbidden" }) };
    expect(errorOfAnswer({ ...answer, actor: JANE }, "ConfigMap shop/a")).toMatchObject({
      code: "FORBIDDEN",
      message: `ConfigMap shop/a: ${message}`,
      remedy: expect.stringContaining("carried out as jane of the group release managers"),
    });
    // Without anybody else it is the agent's own right that is missing.
    expect(errorOfAnswer(answer, "ConfigMap shop/a").remedy).not.toContain("jane");
  });

  test("an object that is about impersonation is not taken for a refusal of it", () => {
    const message = 'admission webhook "names" denied the request: a role must not say that it cannot impersonate resource';
    const error = errorOfAnswer({ status: 403, headers: new Headers(), text: JSON.stringify({ message }), actor: JANE }, "Role shop/a");
    expect(error.code).toBe("ADMISSION_DENIED");
  });
});
