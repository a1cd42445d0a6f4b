import { describe, expect, test } from "bun:test";
import { array, assert, integer, property, tuple } from "fast-check";
import { systemPorts, TransporterError } from "../kit/mod.ts";
import { type Arrangement, arrange, describeRef, type KubeObject, refOf } from "./mod.ts";

interface Parts {
  readonly wave?: number;
  readonly on?: string;
  readonly namespace?: string;
  readonly [field: string]: unknown;
}

function make(apiVersion: string, kind: string, name: string, { wave, on, namespace, ...rest }: Parts = {}): KubeObject {
  const annotations = {
    ...(wave === undefined ? {} : { "transporter.dev/wave": String(wave) }),
    ...(on === undefined ? {} : { "config.kubernetes.io/depends-on": on }),
  };
  return { apiVersion, kind, metadata: { name, annotations, ...(namespace === undefined ? {} : { namespace }) }, ...rest };
}

const config = (name: string, parts: Parts = {}): KubeObject => make("v1", "ConfigMap", name, { namespace: "web", ...parts });
const app = (name: string, parts: Parts = {}): KubeObject =>
  make("apps/v1", "Deployment", name, { namespace: "web", spec: { template: { metadata: { labels: { app: name } } } }, ...parts });

function order(...objects: readonly KubeObject[]): Arrangement<KubeObject> {
  return arrange(objects, (object) => ({ ref: refOf(object), object, plural: `${object.kind.toLowerCase()}s` }));
}

function names(objects: readonly KubeObject[]): string {
  return objects.map(({ metadata }) => metadata.name).join(" ");
}

/** `wave 0, section 0: a b`, with `after c` where something has to be ready before. */
function told({ batches }: Arrangement<KubeObject>): string[] {
  return batches.map(({ objects, wave, section, awaits, awaitsOutside }) => {
    const after = [names(awaits), ...awaitsOutside.map(({ name }) => `${name}!`)].filter((text) => text !== "").join(" ");
    return `${wave}/${section}: ${names(objects)}${after === "" ? "" : ` after ${after}`}`;
  });
}

function refusal(...objects: readonly KubeObject[]): TransporterError {
  try {
    order(...objects);
  } catch (error) {
    if (error instanceof TransporterError) return error;
    throw error;
  }
  throw new Error("it was arranged");
}

const onApp = (name: string): string => `apps/namespaces/web/Deployment/${name}`;
const onConfig = (name: string): string => `/namespaces/web/ConfigMap/${name}`;

describe("without a word about order", () => {
  test("kinds go in stages, and namespaces and definitions are ready before what leans on them", () => {
    const crd = make("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com", {
      spec: {
        group: "example.com",
        scope: "Namespaced",
        names: { kind: "Widget", plural: "widgets" },
        versions: [{ name: "v1", served: true }],
      },
    });
    const widget = make("example.com/v1", "Widget", "widget", { namespace: "web" });
    expect(told(order(widget, app("app"), config("b"), config("a"), crd, make("v1", "Namespace", "web")))).toEqual([
      "0/0: web",
      "0/0: widgets.example.com after web",
      "0/0: b a after widgets.example.com",
      "0/0: app",
      "0/0: widget",
    ]);
  });

  test("a namespace and a definition that nothing leans on are not waited for", () => {
    expect(told(order(make("v1", "Namespace", "other"), config("a")))).toEqual(["0/0: other", "0/0: a"]);
  });

  test("objects of which only the names are known go by their kinds", () => {
    const refs = [app("app"), config("a")].map(refOf);
    const { batches } = arrange(refs, (ref) => ({ ref, object: undefined, plural: undefined }));
    expect(batches.map(({ objects }) => objects.map(({ name }) => name))).toEqual([["a"], ["app"]]);
  });
});

describe("waves", () => {
  test("go up, and the whole of one is ready before the next", () => {
    expect(
      told(
        order(app("late", { wave: 2 }), config("also", { wave: 2 }), app("first", { wave: -1 }), config("early", { wave: -1 }), app("mid")),
      ),
    ).toEqual(["-1/0: early", "-1/0: first", "0/1: mid after early first", "2/2: also after mid", "2/2: late"]);
  });

  test("a later wave against a dependency is a cycle that is told with both ends", () => {
    const error = refusal(config("a", { on: onApp("b") }), app("b", { wave: 1 }));
    expect(error.code).toBe("DEPENDENCY_CYCLE");
    expect(error.message).toBe(
      "objects wait for each other: ConfigMap web/a depends on Deployment web/b, which waits in wave 1 until all of wave 0 is ready, and ConfigMap web/a is of wave 0",
    );
    expect(error.remedy).toBe("Give Deployment web/b a wave of 0 at most, or ConfigMap web/a one of 1 at least.");
  });

  test("and so is a namespace of a later wave than what is in it", () => {
    expect(refusal(config("a", { wave: -5 }), make("v1", "Namespace", "web")).message).toContain(
      "ConfigMap web/a is in Namespace web, which waits in wave 0 until all of wave -5 is ready",
    );
  });

  test("a dependency on an earlier wave changes nothing", () => {
    expect(told(order(config("a", { on: onApp("b") }), app("b", { wave: -1 })))).toEqual(["-1/0: b", "0/1: a after b"]);
  });
});

describe("depends-on", () => {
  test("goes before the order of kinds, and holds nothing else up", () => {
    const objects = [config("a", { on: onApp("db") }), app("db"), app("user", { on: onConfig("a") }), app("stranger"), config("other")];
    expect(told(order(...objects))).toEqual(["0/0: other", "0/0: db stranger", "0/1: a after db", "0/2: user after a"]);
  });

  test("what is needed by several is awaited once, by the first of them", () => {
    const objects = [app("db"), config("a", { on: onApp("db") }), app("x", { on: `${onApp("db")},${onConfig("other")}` }), config("other")];
    expect(told(order(...objects))).toEqual(["0/0: other", "0/0: db", "0/1: a after db", "0/1: x after other"]);
  });

  test("on what is in the event in another version is the same object", () => {
    expect(told(order(app("x", { on: onApp("db") }), make("apps/v1beta1", "Deployment", "db", { namespace: "web" })))).toEqual([
      "0/0: db",
      "0/1: x after db",
    ]);
  });

  test("on what the event does not have is told, and awaited only by what depends on it", () => {
    const x = app("x", { on: onApp("elsewhere") });
    const arrangement = order(x, app("y"), config("z", { on: onApp("elsewhere") }));
    expect(told(arrangement)).toEqual(["0/0: y", "0/1: z after elsewhere!", "0/1: x"]);
    expect(arrangement.outside.get(x)).toEqual([{ group: "apps", kind: "Deployment", namespace: "web", name: "elsewhere" }]);
  });

  test("whoever leans on whom can be asked", () => {
    const [db, x] = [app("db"), app("x", { on: onApp("db") })];
    const space = make("v1", "Namespace", "web");
    const { leansOn } = order(db, x, space);
    expect(leansOn(x)).toEqual([
      { on: db, why: "depends_on" },
      { on: space, why: "namespace" },
    ]);
  });

  test("a cycle is told as a way round", () => {
    const error = refusal(
      config("first", { on: onConfig("a") }),
      config("a", { on: onConfig("b") }),
      config("b", { on: onApp("c") }),
      app("c", { on: onConfig("a") }),
    );
    expect(error.code).toBe("DEPENDENCY_CYCLE");
    expect(error.message).toBe(
      "objects wait for each other: ConfigMap web/a depends on ConfigMap web/b; ConfigMap web/b depends on Deployment web/c; Deployment web/c depends on ConfigMap web/a",
    );
    expect(error.details).toEqual({ objects: ["ConfigMap web/a", "ConfigMap web/b", "Deployment web/c"] });
  });

  test("an object on itself, and a namespace on what is in it", () => {
    expect(refusal(config("a", { on: onConfig("a") })).message).toBe(
      "objects wait for each other: ConfigMap web/a depends on ConfigMap web/a",
    );
    expect(refusal(make("v1", "Namespace", "web", { on: onConfig("a") }), config("a")).message).toBe(
      "objects wait for each other: Namespace web depends on ConfigMap web/a; ConfigMap web/a is in Namespace web",
    );
  });

  test("a cycle of thousands is told in part", () => {
    const ring = Array.from({ length: 3_000 }, (_, index) => config(`n${index}`, { on: onConfig(`n${(index + 1) % 3_000}`) }));
    const error = refusal(...ring);
    expect(error.message).toContain("ConfigMap web/n0 depends on ConfigMap web/n1; ");
    expect(error.message).toEndWith("; and 2988 more steps back to the first");
    expect(error.message.length).toBeLessThan(1_000);
  });
});

describe("whatever leans on whatever", () => {
  /** For each of up to 30 objects: its wave, whether it is an app, and two numbers of objects that it depends on. */
  const events = array(
    tuple(integer({ min: -1, max: 1 }), integer({ min: 0, max: 1 }), integer({ min: 0, max: 40 }), integer({ min: 0, max: 40 })),
    {
      maxLength: 30,
    },
  );

  function eventOf(shape: readonly (readonly [number, number, number, number])[], upwards: boolean): KubeObject[] {
    return shape.map(([wave, isApp, one, other], index) => {
      const wanted = [one, other].filter((target) => target < shape.length && (!upwards || target < index));
      const waves = upwards ? {} : { wave };
      const on = wanted.map((target) => (shape[target]?.[1] === 1 ? onApp(`n${target}`) : onConfig(`n${target}`))).join(",");
      return (isApp === 1 ? app : config)(`n${index}`, { ...waves, ...(on === "" ? {} : { on }) });
    });
  }

  function expectGood(objects: readonly KubeObject[], { batches, leansOn }: Arrangement<KubeObject>): void {
    expect(batches.flatMap((batch) => batch.objects).toSorted((a, b) => objects.indexOf(a) - objects.indexOf(b))).toEqual([...objects]);
    const awaited = new Set<KubeObject>();
    const begun = new Set<KubeObject>();
    let wave = Number.NEGATIVE_INFINITY;
    for (const batch of batches) {
      expect(batch.wave).toBeGreaterThanOrEqual(wave);
      wave = batch.wave;
      for (const one of batch.awaits) {
        expect(begun.has(one)).toBe(true);
        expect(awaited.has(one)).toBe(false);
        awaited.add(one);
      }
      for (const one of batch.objects) for (const { on } of leansOn(one)) expect(awaited.has(on)).toBe(true);
      for (const one of batch.objects) begun.add(one);
    }
  }

  test("nothing begins before what it depends on was awaited, and nothing is lost or doubled", () => {
    assert(
      property(events, (shape) => {
        const objects = eventOf(shape, true);
        expectGood(objects, order(...objects));
      }),
    );
  });

  test("what cannot be arranged is refused with a way round that is one", () => {
    assert(
      property(events, (shape) => {
        const objects = eventOf(shape, false);
        try {
          expectGood(objects, order(...objects));
        } catch (error) {
          if (!(error instanceof TransporterError)) throw error;
          const told = error.details["objects"] as string[];
          const byName = new Map(objects.map((object) => [describeRef(refOf(object)), object]));
          for (const [index, name] of told.entries()) {
            const next = byName.get(told[(index + 1) % told.length] ?? "");
            const on = byName.get(name)?.metadata.annotations?.["config.kubernetes.io/depends-on"] ?? "";
            const closes = error.message.includes("waits in wave") && index === 1;
            expect(closes || on.split(",").some((one) => one.endsWith(`/${next?.kind}/${next?.metadata.name}`))).toBe(true);
          }
        }
      }),
    );
  });
});

describe("quick enough for every event", () => {
  test("ten thousand objects, a chain of thousands and thousands that depend on one", () => {
    const chain = Array.from({ length: 5_000 }, (_, index) => config(`c${index}`, index === 0 ? {} : { on: onConfig(`c${index - 1}`) }));
    const fan = Array.from({ length: 5_000 }, (_, index) => app(`f${index}`, { on: onConfig("c0"), wave: 0 }));
    const begin = systemPorts.clock.monotonic();
    const { batches } = order(...chain, ...fan);
    const tookMs = systemPorts.clock.monotonic() - begin;
    // The second round is the chain's second link, and all of the fan.
    expect(batches).toHaveLength(5_001);
    // 200 ms on a quiet machine; others may be at work on this one.
    expect(tookMs).toBeLessThan(4_000);
  });
});
